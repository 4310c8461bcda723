"""The file backend of `UringLoop`: an operation is submitted to io_uring, and its completion wakes the task.

Paths and buffers belong to the kernel until the completion, even after a cancellation; `Ring` keeps them alive.
"""

import asyncio
import os
from collections.abc import Callable
from functools import partial
from stat import S_ISREG
from typing import Any

from septet.loop.fs._backend import FIRST_READ, StrPath, encoded, position, refuse_directory
from septet.pollers._file_operations import AT_SYMLINK_NOFOLLOW, stat_result
from septet.pollers.ring import Ring

MAX_SPARE_BUFFERS = 32
"""The largest number of buffers of FIRST_READ bytes that are kept for later reads, because making a buffer takes ten
times as long as a read into it.
"""

MAX_READ = 1 << 30
"""The largest number of bytes of one read; read(2) on Linux transfers less than 2 GiB at a time."""


class RingFiles:
    """The file backend of one `UringLoop`. If a task is cancelled, its operation is cancelled in the ring, too."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._spare: list[bytearray] = []

    async def open(self, path: StrPath, flags: int, permissions: int) -> int:
        # openat2(2) refuses permissions where no file is created.
        permissions = permissions & 0o7777 if flags & os.O_CREAT else 0
        return await self._complete(self._ring.openat2, encoded(path), flags, permissions, path=path, gives_fd=True)

    async def close(self, fd: int) -> None:
        # Not through the ring: close(2) of a file hardly ever blocks, and must happen even after a cancellation.
        os.close(fd)

    async def stat(self, path: StrPath, follow_symlinks: bool) -> os.stat_result:
        status = bytearray(256)
        flags = 0 if follow_symlinks else AT_SYMLINK_NOFOLLOW
        await self._complete(partial(self._ring.statx, flags=flags), encoded(path), status, path=path)
        return stat_result(status)

    async def read(self, fd: int, size: int, offset: int) -> bytes:
        small = size <= FIRST_READ
        if not small:
            size = _useful_size(fd, size, offset)
        buffer = self._spare.pop() if small and self._spare else bytearray(FIRST_READ if small else size)
        length = await self._complete(partial(self._ring.read, offset=offset, size=size), fd, buffer)
        data = bytes(memoryview(buffer)[:length])
        if small and len(self._spare) < MAX_SPARE_BUFFERS:
            self._spare.append(buffer)  # not after a cancellation: the kernel may still write to it
        return data

    async def read_whole(self, path: StrPath) -> bytes:
        fd = await self.open(path, os.O_RDONLY | os.O_CLOEXEC, 0)
        try:
            position(fd, path)
            refuse_directory(fd, path)
            pieces = [await self.read(fd, FIRST_READ, 0)]
            offset = len(pieces[0])
            size = os.fstat(fd).st_size
            # The end is reached when as many bytes have come as fstat(2) says and the last read was short. Files of
            # proc(5) and sysfs(5) have no size or a wrong one and come a page at a time: only b"" is their end.
            while pieces[-1] and not (offset == size and len(pieces[-1]) < FIRST_READ):
                pieces.append(await self.read(fd, max(size - offset, FIRST_READ), offset))
                offset += len(pieces[-1])
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        finally:
            os.close(fd)

    async def write(self, fd: int, data: bytes, offset: int) -> int:
        return await self._complete(partial(self._ring.write, offset=offset), fd, data)

    async def fsync(self, fd: int, data_only: bool) -> None:
        await self._complete(partial(self._ring.fsync, data_only=data_only), fd)

    async def _complete(
        self, prepare: Callable[..., int], *args: Any, path: StrPath | None = None, gives_fd: bool = False
    ) -> int:
        operation = _Operation(path, gives_fd)
        token = prepare(*args, operation.completed)
        try:
            return await operation.future
        except asyncio.CancelledError:
            operation.abandon()
            self._ring.cancel(token)
            raise


def _useful_size(fd: int, size: int, offset: int) -> int:
    """Return the size in bytes of the buffer for a read of `size` bytes at `offset`: for a regular file, not much more
    than the file still has from there on, because allocating a buffer fills it with zeros.
    """
    status = os.fstat(fd)
    if S_ISREG(status.st_mode):
        size = min(size, max(status.st_size - offset, FIRST_READ))
    return min(size, MAX_READ)


class _Operation:
    """An operation in the ring, and the future that its task awaits."""

    __slots__ = ("_gives_fd", "_path", "future")

    def __init__(self, path: StrPath | None, gives_fd: bool) -> None:
        self._path = path
        self._gives_fd = gives_fd
        self.future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def completed(self, res: int, flags: int, data: bytes) -> None:
        """Called by the ring when the operation is complete: sets the future's result to `res`, or to an OSError if
        `res` is a negative error number. `flags` and `data` are not used.
        """
        if self.future.cancelled():
            if self._gives_fd and res >= 0:
                os.close(res)  # opened after the task was cancelled
        elif res >= 0:
            self.future.set_result(res)
        else:
            self.future.set_exception(OSError(-res, os.strerror(-res), self._path))

    def abandon(self) -> None:
        """Called when the task is cancelled. If the operation has opened a file, whose descriptor the task will not
        receive, close the descriptor.
        """
        future = self.future
        if self._gives_fd and future.done() and not future.cancelled() and future.exception() is None:
            os.close(future.result())
