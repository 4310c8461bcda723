"""FileBackend without blocking the loop. asyncio has none.

    status = await fs.stat(path)
    data = await fs.read_bytes(path)
    async with await fs.open(path, "r+b") as file:
        await file.write(data)
        await file.fsync()
    async with fs.watch(directory) as changes:
        async for change in changes: ...

What the kernel can answer from its caches is answered at once, without giving way to other tasks more than now and
then. The rest the kernel does on a `UringLoop` while the loop goes on, and hands back what is done together with all
other completions. On every other loop, asyncio's own included, the threads of the loop's executor do it. What is called
and what comes back is the same; errors are the OSErrors of `os`, with the path.
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
    """Who moves the bytes for the running loop, which keeps it: it lives as long as the loop."""
    loop: Any = asyncio.get_running_loop()
    try:
        return loop._septet_files  # type: ignore[no-any-return]
    except AttributeError:
        files = loop._septet_files = CachedFiles(_backend(loop))
        return files


def _backend(loop: asyncio.AbstractEventLoop) -> FileBackend:
    """Who may wait for the disk."""
    ring = getattr(loop, "ring", None)
    return ThreadFiles() if ring is None else RingFiles(ring)


async def stat(path: StrPath, *, follow_symlinks: bool = True) -> os.stat_result:
    """What os.stat() tells of `path`."""
    return await _files().stat(path, follow_symlinks)


async def read_bytes(path: StrPath) -> bytes:
    """The whole of a file, as it was while it was read."""
    return await _files().read_whole(path)


async def write_bytes(path: StrPath, data: bytes) -> int:
    """Make the file anew with this content, and return its length. Not atomic: for that, write beside and rename."""
    async with await open(path, "wb") as file:
        return await file.write(data)


async def open(path: StrPath, mode: str = "rb", *, permissions: int = 0o666) -> File:
    """A file open for reading or writing, always of bytes.

    Args:
        mode: as in the built-in open(): rb, r+b, wb, w+b, ab, a+b, xb or x+b.
        permissions: of a file that is made, less the process's umask.

    Raises:
        ValueError: there is no such mode.
        io.UnsupportedOperation: it is a pipe or a terminal, which the loop's connect_read_pipe() is for.
    """
    flags = flags_of(mode)
    files = _files()
    fd = await files.open(path, flags | os.O_CLOEXEC, permissions)
    return File(files, fd, path)


async def listdir(path: StrPath = ".") -> list[str]:
    """The names in a directory, in no order; by a thread on every loop, since io_uring has no such operation."""
    loop = asyncio.get_running_loop()
    return cast(list[str], await loop.run_in_executor(None, os.listdir, os.fsdecode(path)))


def watch(path: StrPath) -> Watch:
    """What happens to a file, or to a directory and the files in it; see `Watch`."""
    return Watch(path)
