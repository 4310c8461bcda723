"""File operations that do not block the loop, which asyncio does not have.

    status = await fs.stat(path)
    data = await fs.read_bytes(path)
    async with await fs.open(path, "r+b") as file:
        await file.write(data)
        await file.fsync()
    async with fs.watch(directory) as changes:
        async for change in changes: ...

Data in the kernel's caches is read at once, in the loop's thread. Everything else is done by the kernel through
the ring of a `UringLoop`, and by threads of the executor on every other loop, asyncio's own included. Calls and results
are the same on all loops. Errors are the OSErrors that the functions of `os` raise, with the path.
"""

import asyncio
import os
from typing import Any, cast

from septet.loop.fs._backend import FileBackend, StrPath
from septet.loop.fs._cached import CachedFiles
from septet.loop.fs._file import File, flags_of
from septet.loop.fs._ring import RingFiles
from septet.loop.fs._threads import ThreadFiles
from septet.loop.fs._watch import Change, Watch

__all__ = ["Change", "File", "Watch", "listdir", "open", "read_bytes", "stat", "watch", "write_bytes"]


def _files() -> FileBackend:
    """Return the file backend of the running loop, which is kept as an attribute of the loop."""
    loop: Any = asyncio.get_running_loop()
    try:
        return loop._septet_files  # type: ignore[no-any-return]
    except AttributeError:
        files = loop._septet_files = CachedFiles(_backend(loop))
        return files


def _backend(loop: asyncio.AbstractEventLoop) -> FileBackend:
    """Return the backend for operations that may have to wait because the kernel's caches do not have the data: the
    ring of a `UringLoop`, threads on any other loop.
    """
    ring = getattr(loop, "ring", None)
    return ThreadFiles() if ring is None else RingFiles(ring)


async def stat(path: StrPath, *, follow_symlinks: bool = True) -> os.stat_result:
    """The result of os.stat(path).

    Raises:
        OSError: as os.stat().
        ValueError: `path` contains a null byte. So do all functions here that take a path.
    """
    return await _files().stat(path, follow_symlinks)


async def read_bytes(path: StrPath) -> bytes:
    """The contents of a file. Not atomic: a concurrent write may be seen in part.

    Raises:
        OSError: as open() and read().
        io.UnsupportedOperation: `path` is a pipe, a socket or a terminal.
    """
    return await _files().read_whole(path)


async def write_bytes(path: StrPath, data: bytes) -> int:
    """Truncate or create the file, write `data`, and return its length.

    Not atomic: to replace a file atomically, write another file and rename it.
    """
    async with await open(path, "wb") as file:
        return await file.write(data)


async def open(path: StrPath, mode: str = "rb", *, permissions: int = 0o666) -> File:
    """Open a file for reading or writing bytes.

    Args:
        mode: a binary mode of the built-in open(): rb, r+b, wb, w+b, ab, a+b, xb or x+b.
        permissions: those of a file that is created, less the process's umask.

    Raises:
        OSError: as os.open().
        ValueError: there is no such mode.
        io.UnsupportedOperation: `path` is a pipe or a terminal; use the loop's connect_read_pipe().
    """
    flags = flags_of(mode)
    files = _files()
    fd = await files.open(path, flags | os.O_CLOEXEC, permissions)
    return File(files, fd, path)


async def listdir(path: StrPath = ".") -> list[str]:
    """The names in a directory, in no order. Uses a thread on every loop, because io_uring has no such operation."""
    loop = asyncio.get_running_loop()
    return cast(list[str], await loop.run_in_executor(None, os.listdir, os.fsdecode(path)))


def watch(path: StrPath) -> Watch:
    """Watch a file, or a directory and the files in it, for changes; see `Watch`."""
    return Watch(path)
