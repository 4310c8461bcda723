"""The interface of a file backend: seven operations on paths and descriptors; and functions that all backends use."""

import errno
import io
import os
import stat
from typing import Protocol

StrPath = str | os.PathLike[str]

FIRST_READ = 64 * 1024
"""Bytes to read from a file of unknown size: enough for most files, whose size need not be asked for then."""


def encoded(path: StrPath) -> bytes:
    """The path as bytes for the kernel.

    Raises:
        ValueError: it contains a null byte, where the kernel would end it.
    """
    name = os.fsencode(path)
    if b"\0" in name:
        raise ValueError(f"embedded null byte in {path!r}")
    return name


def position(fd: int, path: StrPath) -> int:
    """The position of an open file, in bytes.

    Raises:
        io.UnsupportedOperation: it is a pipe, a socket or a terminal, which has no position.
    """
    try:
        return os.lseek(fd, 0, os.SEEK_CUR)
    except OSError as exc:
        raise io.UnsupportedOperation(f"{os.fspath(path)} has no position: it is no file, but a stream") from exc


def refuse_directory(fd: int, path: StrPath) -> None:
    """open(2) accepts a directory, and the error of read(2) would lack the path.

    Raises:
        IsADirectoryError: it is one.
    """
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))


class FileBackend(Protocol):
    """All methods raise OSError, with the path if they take one."""

    async def open(self, path: StrPath, flags: int, permissions: int) -> int:
        """Return a descriptor. If the caller is cancelled before, the descriptor is closed."""

    async def close(self, fd: int) -> None:
        """Close the descriptor, also if the caller is cancelled."""

    async def stat(self, path: StrPath, follow_symlinks: bool) -> os.stat_result:
        """As os.stat()."""

    async def read(self, fd: int, size: int, offset: int) -> bytes:
        """At most `size` bytes from `offset` on; fewer at the end of the file or after a signal."""

    async def read_whole(self, path: StrPath) -> bytes:
        """Open, read to the end and close. io.UnsupportedOperation for pipes, sockets and terminals."""

    async def write(self, fd: int, data: bytes, offset: int) -> int:
        """Return the number of bytes written, at least one."""

    async def fsync(self, fd: int, data_only: bool) -> None:
        """As os.fsync() or os.fdatasync()."""
