"""The interface of a file backend: seven operations on paths and descriptors; and functions that all backends use."""

import errno
import io
import os
import stat
from typing import Protocol

StrPath = str | os.PathLike[str]

FIRST_READ = 64 * 1024
"""Bytes of the first read of a file: most files end within it, so that their size need not be asked with fstat(2)
first.
"""


def encoded(path: StrPath) -> bytes:
    """Encode a path as bytes for the kernel.

    Raises:
        ValueError: it contains a null byte, at which the kernel would cut it off.
    """
    name = os.fsencode(path)
    if b"\0" in name:
        raise ValueError(f"embedded null byte in {path!r}")
    return name


def position(fd: int, path: StrPath) -> int:
    """Return the position of an open file, in bytes.

    Raises:
        io.UnsupportedOperation: `fd` is a pipe, a socket or a terminal, which has no position.
    """
    try:
        return os.lseek(fd, 0, os.SEEK_CUR)
    except OSError as exc:
        raise io.UnsupportedOperation(f"{os.fspath(path)} has no position: it is no file, but a stream") from exc


def refuse_directory(fd: int, path: StrPath) -> None:
    """Raise IsADirectoryError, with the path, if `fd` is a directory.

    open(2) accepts a directory, and the error of read(2) would lack the path.
    """
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))


class FileBackend(Protocol):
    """The operations of a file backend. All methods raise OSError, with the path if they take one."""

    async def open(self, path: StrPath, flags: int, permissions: int) -> int:
        """Open `path` with these `flags` of open(2), and return the descriptor. If the caller is cancelled before it
        receives the descriptor, the descriptor is closed.
        """

    async def close(self, fd: int) -> None:
        """Close the descriptor, also if the caller is cancelled."""

    async def stat(self, path: StrPath, follow_symlinks: bool) -> os.stat_result:
        """Return what os.stat() returns."""

    async def read(self, fd: int, size: int, offset: int) -> bytes:
        """Read at most `size` bytes from `offset` on; fewer at the end of the file or after a signal."""

    async def read_whole(self, path: StrPath) -> bytes:
        """Open a file, read it to its end, and close it. Raises io.UnsupportedOperation for pipes, sockets and
        terminals.
        """

    async def write(self, fd: int, data: bytes, offset: int) -> int:
        """Write `data` at `offset`; returns the number of bytes written, at least one, perhaps fewer than all."""

    async def fsync(self, fd: int, data_only: bool) -> None:
        """Call fsync(2), or fdatasync(2) if `data_only`."""
