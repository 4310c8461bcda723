"""What the kernel can answer from its caches is answered at once, in the loop's own thread, for it waits for nothing.

openat2(2) opens what the cache of names knows (RESOLVE_CACHED), preadv2(2) reads what the page cache holds
(RWF_NOWAIT), and both say so where they would have to wait. io_uring tries the same before it hands an operation to a
thread of its own; asked directly, it costs no queue, no Future and no switch of tasks, nor a thread of the executor.
All the rest, and every error, is left to the backend, which may wait.
"""

import asyncio
import ctypes
import os

from septet.loop.fs._backend import FIRST_READ, FileBackend, StrPath, encoded, position
from septet.pollers._uring_abi import OPEN_HOW

ANSWERS_PER_YIELD = 64
"""Answers at once, until others have their turn: who reads a thousand cached files would else keep them all waiting."""

READ_ONLY = os.O_RDONLY | os.O_CLOEXEC

_RESOLVE_CACHED = 0x20

# Python's `os` has no openat2, and neither have older C libraries, so the call goes through syscall(2).
# It does not wait, so it need not let go of the GIL: PyDLL. Arguments that are ctypes objects already, where others
# declare `argtypes`, save a third of the call.
_syscall = ctypes.PyDLL(None).syscall
_syscall.restype = ctypes.c_long
_SYS_OPENAT2 = ctypes.c_long(437)  # the same number on every architecture except alpha
_AT_FDCWD = ctypes.c_long(-100)
_HOW_SIZE = ctypes.c_size_t(OPEN_HOW.size)


class CachedOpener:
    """Opens any path with the same flags of open(2), if that waits for nothing."""

    def __init__(self, flags: int) -> None:
        self._how = ctypes.create_string_buffer(OPEN_HOW.pack(flags | os.O_CLOEXEC, 0, _RESOLVE_CACHED))
        self._how_at = ctypes.c_void_p(ctypes.addressof(self._how))

    def open(self, path: bytes) -> int:
        """The descriptor; or -1, also for an error of whatever kind, which the ordinary way will name.

        `path` must not contain a null byte: the kernel would read up to there.
        """
        fd: int = _syscall(_SYS_OPENAT2, _AT_FDCWD, path, self._how_at, _HOW_SIZE)
        return fd


# O_NONBLOCK is for pipes, devices and leases, whose open(2) may wait for somebody else.
_opener = CachedOpener(os.O_RDONLY | os.O_NONBLOCK)
_path_opener = CachedOpener(os.O_PATH)
_link_opener = CachedOpener(os.O_PATH | os.O_NOFOLLOW)


class CachedFiles:
    """The caches before another backend, for one loop."""

    def __init__(self, backend: FileBackend) -> None:
        self._backend = backend
        self._buffer = memoryview(bytearray(FIRST_READ))
        self._answers = 0

    def _must_yield(self) -> bool:
        """Counts one more."""
        self._answers += 1
        return not self._answers % ANSWERS_PER_YIELD

    async def open(self, path: StrPath, flags: int, permissions: int) -> int:
        if flags == READ_ONLY:
            fd = _opener.open(encoded(path))
            if fd >= 0:
                os.set_blocking(fd, True)
                return fd
        return await self._backend.open(path, flags, permissions)

    async def close(self, fd: int) -> None:
        await self._backend.close(fd)

    async def stat(self, path: StrPath, follow_symlinks: bool) -> os.stat_result:
        if self._must_yield():
            await asyncio.sleep(0)
        fd = (_path_opener if follow_symlinks else _link_opener).open(encoded(path))
        if fd < 0:
            return await self._backend.stat(path, follow_symlinks)
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    async def read(self, fd: int, size: int, offset: int) -> bytes:
        if self._must_yield():
            await asyncio.sleep(0)
        if size <= FIRST_READ:
            try:
                length = os.preadv(fd, [self._buffer[:size]], offset, os.RWF_NOWAIT)
                return bytes(self._buffer[:length])
            except OSError:  # EAGAIN; EOPNOTSUPP, as on tmpfs
                pass
        return await self._backend.read(fd, size, offset)

    async def read_whole(self, path: StrPath) -> bytes:
        if self._must_yield():
            await asyncio.sleep(0)
        fd = _opener.open(encoded(path))
        if fd < 0:
            return await self._backend.read_whole(path)
        try:
            data = self._read_cached(fd)
            if data is None:
                position(fd, path)
        finally:
            os.close(fd)
        return await self._backend.read_whole(path) if data is None else data

    def _read_cached(self, fd: int) -> bytes | None:
        """A small file; None if it is no such file, or not all of it is in the page cache."""
        try:
            length = os.preadv(fd, [self._buffer], 0, os.RWF_NOWAIT)
            return bytes(self._buffer[:length]) if length == os.lseek(fd, 0, os.SEEK_END) else None
        except OSError:
            return None

    async def write(self, fd: int, data: bytes, offset: int) -> int:
        return await self._backend.write(fd, data, offset)

    async def fsync(self, fd: int, data_only: bool) -> None:
        await self._backend.fsync(fd, data_only)
