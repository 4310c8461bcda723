"""An open file: a descriptor and a position. The position is kept here, so that a cancelled read loses no data."""

import asyncio
import io
import os
import warnings
from types import TracebackType
from typing import Self

from septet.loop.fs._backend import FileBackend, StrPath, position

CHUNK = 256 * 1024
"""Bytes per read once the size that fstat(2) gave has been read: files in /proc have no size, and others may have
grown.
"""

_FLAGS = {
    "r": os.O_RDONLY,
    "w": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    "a": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
    "x": os.O_WRONLY | os.O_CREAT | os.O_EXCL,
}


def flags_of(mode: str) -> int:
    """Return the flags of open(2) for a binary mode of the built-in open().

    Raises:
        ValueError: there is no such mode, or it is not binary.
    """
    kind, rest = mode[:1], "".join(sorted(mode[1:]))
    if kind not in _FLAGS or rest not in ("b", "+b"):
        raise ValueError(f"mode {mode!r}: it must be rb, wb, ab or xb, or one of these with +")
    flags = _FLAGS[kind]
    return flags & ~os.O_ACCMODE | os.O_RDWR if "+" in rest else flags


class File:
    """An open file, made by `septet.loop.fs.open`; an asynchronous context manager.

    One operation at a time: two concurrent reads would return the same bytes. After close() all operations raise
    ValueError.
    """

    def __init__(self, files: FileBackend, fd: int, path: StrPath) -> None:
        self._files = files
        self._fd = fd
        self._path = path
        try:
            self._position = position(fd, path)
        except io.UnsupportedOperation:
            os.close(fd)
            self._fd = -1
            raise

    def fileno(self) -> int:
        """Return the descriptor; -1 after close()."""
        return self._fd

    def tell(self) -> int:
        """Return the position of the next read or write, in bytes. In mode `a`, writes go to the end of the file."""
        return self._position

    def seek(self, position: int) -> None:
        """Set the position of the next read or write, in bytes from the beginning.

        Raises:
            ValueError: it is negative.
        """
        if position < 0:
            raise ValueError(f"negative position {position}")
        self._position = position

    async def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes, b"" at the end of the file; without `size`, everything to the end."""
        if size < 0:
            return await self._read_rest()
        data = await self._files.read(self._open(), size, self._position)
        self._position += len(data)
        return data

    async def _read_rest(self) -> bytes:
        pieces: list[bytes] = []
        start = self._position
        try:
            while True:
                left = os.fstat(self._open()).st_size - self._position
                data = await self.read(left + 1 if left > 0 else CHUNK)
                if not data:
                    return b"".join(pieces)
                pieces.append(data)
        except asyncio.CancelledError:
            self._position = start  # what was read is discarded
            raise

    async def write(self, data: bytes) -> int:
        """Write all of `data`, and return its length."""
        rest = bytes(data)
        while rest:
            written = await self._files.write(self._open(), rest, self._position)
            self._position += written
            rest = rest[written:]
        return len(data)

    async def fsync(self, *, data_only: bool = False) -> None:
        """Wait until the data is on the disk: fsync(2), or fdatasync(2) if `data_only`."""
        await self._files.fsync(self._open(), data_only)

    def stat(self) -> os.stat_result:
        """Return the result of os.fstat(), which does not wait for the disk."""
        return os.fstat(self._open())

    async def close(self) -> None:
        """Close the file. Further calls do nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            await self._files.close(fd)

    def _open(self) -> int:
        if self._fd < 0:
            raise ValueError(f"{os.fspath(self._path)} is closed")
        return self._fd

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        if self._fd >= 0:
            warnings.warn(f"unclosed file {self._path}", ResourceWarning, stacklevel=2, source=self)
            os.close(self._fd)
