"""Reads files from the kernel's caches at once, in the loop's thread, because that cannot block.

openat2(2) with RESOLVE_CACHED (Linux 5.12) opens only what the cache of names has, preadv2(2) with RWF_NOWAIT reads
only what the page cache has; both fail where they would have to wait. io_uring tries the same before it uses a kernel
thread. Done directly, it needs no queue, no Future, no task switch and no thread. Everything else, and every
error, is left to another backend.
"""

import asyncio
import ctypes
import os

from septet.loop.fs._backend import FIRST_READ, FileBackend, StrPath, encoded, position
from septet.pollers._uring_abi import OPEN_HOW

ANSWERS_PER_YIELD = 64
"""Number of operations done from the caches after which other tasks may run. Otherwise a task that reads a thousand
cached files would keep them waiting.
"""

READ_ONLY = os.O_RDONLY | os.O_CLOEXEC

_RESOLVE_CACHED = 0x20

# Python's `os` has no openat2, and neither have older C libraries, so the call goes through syscall(2).
# The call does not block and so need not release the GIL: PyDLL. Passing ctypes objects instead of declaring `argtypes`
# saves a third of its cost.
_syscall = ctypes.PyDLL(None).syscall
_syscall.restype = ctypes.c_long
_SYS_OPENAT2 = ctypes.c_long(437)  # the same number on every architecture except alpha
_AT_FDCWD = ctypes.c_long(-100)
_HOW_SIZE = ctypes.c_size_t(OPEN_HOW.size)


class CachedOpener:
    """Opens paths with the given flags of open(2), where that does not block."""

    def __init__(self, flags: int) -> None:
        self._how = ctypes.create_string_buffer(OPEN_HOW.pack(flags | os.O_CLOEXEC, 0, _RESOLVE_CACHED))
        self._how_at = ctypes.c_void_p(ctypes.addressof(self._how))

    def open(self, path: bytes) -> int:
        """Open `path`; returns the descriptor, or -1 for every error, also if it would block.

        The caller then uses the other backend, which raises the error. `path` must not contain a null byte.
        """
        fd: int = _syscall(_SYS_OPENAT2, _AT_FDCWD, path, self._how_at, _HOW_SIZE)
        return fd


# O_NONBLOCK, because open(2) of pipes, devices and leased files may block.
_opener = CachedOpener(os.O_RDONLY | os.O_NONBLOCK)
_path_opener = CachedOpener(os.O_PATH)
_link_opener = CachedOpener(os.O_PATH | os.O_NOFOLLOW)


class CachedFiles:
    """The file backend of every loop: tries the caches first, then the loop's other backend."""

    def __init__(self, backend: FileBackend) -> None:
        self._backend = backend
        self._buffer = memoryview(bytearray(FIRST_READ))
        self._answers = 0

    def _must_yield(self) -> bool:
        """Count an operation. Returns True for every ANSWERS_PER_YIELD-th: the caller must let other tasks run before
        it.
        """
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
        """Return the contents of a file of at most FIRST_READ bytes; None if the file is larger or not completely in
        the page cache.
        """
        try:
            length = os.preadv(fd, [self._buffer], 0, os.RWF_NOWAIT)
            return bytes(self._buffer[:length]) if length == os.lseek(fd, 0, os.SEEK_END) else None
        except OSError:
            return None

    async def write(self, fd: int, data: bytes, offset: int) -> int:
        return await self._backend.write(fd, data, offset)

    async def fsync(self, fd: int, data_only: bool) -> None:
        await self._backend.fsync(fd, data_only)
