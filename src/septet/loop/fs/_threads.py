"""The file backend of loops without a ring: threads of the loop's executor. A thread opens, reads and closes a whole
file in one call, so that the task waits once and not for each of these steps.
"""

import asyncio
import os
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import TypeVar

from septet.loop.fs._backend import StrPath, position, refuse_directory

T = TypeVar("T")


class ThreadFiles:
    """The file backend of one loop, by threads. A thread cannot be stopped: if its task is cancelled, it still finishes
    its call.
    """

    def __init__(self) -> None:
        self._locks: dict[int, _DescriptorLock] = {}
        """For each open descriptor on which a thread has worked, by its number: the lock that keeps `close` from
        running at the same time as another call.
        """

    def _lock_of(self, fd: int) -> "_DescriptorLock":
        return self._locks.setdefault(fd, _DescriptorLock())

    async def open(self, path: StrPath, flags: int, permissions: int) -> int:
        opening = _in_thread(_open, path, flags, permissions)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_unwanted)
            raise

    async def close(self, fd: int) -> None:
        # Shielded: cancelling the task would drop the call if no thread has begun it yet.
        guard = self._lock_of(fd)
        del self._locks[fd]
        await asyncio.shield(_in_thread(guard.close, fd))

    async def stat(self, path: StrPath, follow_symlinks: bool) -> os.stat_result:
        return await _in_thread(partial(os.stat, path, follow_symlinks=follow_symlinks))

    async def read(self, fd: int, size: int, offset: int) -> bytes:
        return await _in_thread(self._lock_of(fd).do, os.pread, fd, size, offset)

    async def read_whole(self, path: StrPath) -> bytes:
        return await _in_thread(_read_whole, path)

    async def write(self, fd: int, data: bytes, offset: int) -> int:
        return await _in_thread(self._lock_of(fd).do, os.pwrite, fd, data, offset)

    async def fsync(self, fd: int, data_only: bool) -> None:
        await _in_thread(self._lock_of(fd).do, os.fdatasync if data_only else os.fsync, fd)


class _DescriptorLock:
    """Keeps close() from running at the same time as another operation on one descriptor: a thread may still be working
    after its task was cancelled.

    Operations that begin after close() are refused, because another file may have got the descriptor's number.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._closed = False

    def do(self, call: Callable[..., T], fd: int, *args: object) -> T:
        with self._lock:
            if self._closed:
                raise ValueError("the file is closed")  # its task was cancelled, so that no caller sees this
            return call(fd, *args)

    def close(self, fd: int) -> None:
        with self._lock:
            self._closed = True
            os.close(fd)


def _in_thread(call: Callable[..., T], *args: object) -> "asyncio.Future[T]":
    return asyncio.get_running_loop().run_in_executor(None, call, *args)


def _open(path: StrPath, flags: int, permissions: int) -> int:
    """Call os.open(), but do not wait for the other end of a pipe: the thread could wait for ever."""
    try:
        fd = os.open(path, flags | os.O_NONBLOCK, permissions)
    except BlockingIOError:
        return os.open(path, flags, permissions)  # a lease (fcntl(2)), which the kernel breaks after lease-break-time
    os.set_blocking(fd, True)
    return fd


def _read_whole(path: StrPath) -> bytes:
    fd = _open(path, os.O_RDONLY | os.O_CLOEXEC, 0)
    try:
        position(fd, path)
        refuse_directory(fd, path)
        with open(fd, "rb", 0, closefd=False) as file:
            return file.read()
    finally:
        os.close(fd)


def _close_unwanted(opening: "asyncio.Future[int]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        os.close(opening.result())
