"""What a backend of files does: seven verbs on paths and descriptors; and what all backends need for it."""

import errno
import io
import os
import stat
from typing import Protocol

StrPath = str | os.PathLike[str]

FIRST_READ = 64 * 1024
"""Bytes that are asked of a file of unknown size: most files come whole, and their size need not be asked for."""


def encoded(path: StrPath) -> bytes:
    """The path as the kernel takes it, up to its null byte: a path that contains one would be another file's."""
    name = os.fsencode(path)
    if b"\0" in name:
        raise ValueError(f"embedded null byte in {path!r}")
    return name


def position(fd: int, path: StrPath) -> int:
    """Where the next read of an open file begins.

    Raises:
        io.UnsupportedOperation: it is a pipe, a socket or a terminal: it has none.
    """
    try:
        return os.lseek(fd, 0, os.SEEK_CUR)
    except OSError as exc:
        raise io.UnsupportedOperation(f"{os.fspath(path)} has no position: it is no file, but a stream") from exc


def refuse_directory(fd: int, path: StrPath) -> None:
    """Say so with the path, which read(2) does not know. open(2) has nothing against a directory.

    Raises:
        IsADirectoryError: it is one.
    """
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))


class FileBackend(Protocol):
    """All raise OSError, with the path where there is one."""

    async def open(self, path: StrPath, flags: int, permissions: int) -> int:
        """A descriptor. If the caller is cancelled meanwhile, it is closed when it comes."""

    async def close(self, fd: int) -> None:
        """Also if the caller is cancelled."""

    async def stat(self, path: StrPath, follow_symlinks: bool) -> os.stat_result:
        """As os.stat()."""

    async def read(self, fd: int, size: int, offset: int) -> bytes:
        """At most `size` bytes from `offset` on; fewer at the end of the file, or where a signal came."""

    async def read_whole(self, path: StrPath) -> bytes:
        """Open, read to the end, close; io.UnsupportedOperation for what has no end."""

    async def write(self, fd: int, data: bytes, offset: int) -> int:
        """How many bytes were written, at least one."""

    async def fsync(self, fd: int, data_only: bool) -> None:
        """As os.fsync() or os.fdatasync()."""
