"""File operations through the ring. io_uring gains most here: epoll(7) does not support files, so other asyncio loops
pass file operations to threads, which costs about thirty times as much as the system call.

The kernel completes an operation at once if the page cache has the data, and otherwise in a kernel thread.
"""

import os
from collections.abc import Callable
from typing import Any

from septet.pollers import _uring_abi as abi

Callback = Callable[[int, int, bytes], object]
"""`callback(res, flags, data)`: the result (-errno if negative), the completion's flags (`MORE`: another one will
follow), and the data of a receive (b"" for every other operation)."""

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_EMPTY_PATH = 0x1000
STATX_BASIC_STATS = 0x7FF
POSITION = 2**64 - 1
"""An `offset` that means the file's own position, which advances. Needed for pipes and terminals."""


class FileOperations:
    """The file operations of `Ring`. Each method prepares an operation and returns its token, by which it can be
    cancelled.
    """

    _pinned: dict[int, object]
    _prepare: Callable[..., int]

    def openat2(
        self, path: bytes, flags: int, mode: int, callback: Callback, *, resolve: int = 0, dir_fd: int = AT_FDCWD
    ) -> int:
        """Prepare openat2(2), and return the operation's token. The result that `callback` gets is the descriptor.
        `resolve` restricts the path, as RESOLVE_BENEATH (8) does.
        """
        how = bytearray(abi.OPEN_HOW.pack(flags, mode, resolve))
        token = self._prepare(
            callback,
            abi.OP_OPENAT2,
            dir_fd,
            abi.address_of_bytes(path),
            abi.OPEN_HOW.size,
            offset=abi.address(how),
        )
        self._pinned[token] = path, how
        return token

    def statx(
        self, path: bytes, status: bytearray, callback: Callback, *, flags: int = 0, dir_fd: int = AT_FDCWD
    ) -> int:
        """Prepare statx(2), which writes into `status`, a buffer of 256 bytes that `stat_result` decodes. Returns the
        operation's token.
        """
        token = self._prepare(
            callback,
            abi.OP_STATX,
            dir_fd,
            abi.address_of_bytes(path),
            STATX_BASIC_STATS,
            op_flags=flags,
            offset=abi.address(status),
        )
        self._pinned[token] = path, status
        return token

    def read(
        self,
        fd: int,
        buffer: bytearray,
        callback: Callback,
        offset: int = POSITION,
        *,
        size: int | None = None,
    ) -> int:
        """Prepare pread(2) of at most `size` bytes (default: the size of `buffer`), and return the operation's token.
        The result that `callback` gets is the number of bytes read, 0 at the end of the file.

        `buffer` must not be resized before the operation is complete.
        """
        length = len(buffer) if size is None else min(size, len(buffer))
        at = abi.address(buffer) if buffer else 0
        token = self._prepare(callback, abi.OP_READ, fd, at, length, offset=offset)
        self._pinned[token] = buffer
        return token

    def write(self, fd: int, data: bytes, callback: Callback, offset: int = POSITION) -> int:
        """Prepare pwrite(2), and return the operation's token. The result that `callback` gets is the number of bytes
        written, which may be fewer than `data` has.
        """
        at = abi.address_of_bytes(data)
        token = self._prepare(callback, abi.OP_WRITE, fd, at, len(data), offset=offset)
        self._pinned[token] = data
        return token

    def fsync(self, fd: int, callback: Callback, *, data_only: bool = False) -> int:
        """Prepare fsync(2), or fdatasync(2) if `data_only`, and return the operation's token."""
        return self._prepare(callback, abi.OP_FSYNC, fd, op_flags=abi.FSYNC_DATASYNC if data_only else 0)


def stat_result(status: bytearray) -> os.stat_result:
    """Return the result of os.stat(), from the 256 bytes that `statx` has filled in."""
    fields: tuple[Any, ...] = abi.STATX.unpack(status)
    blksize, nlink, uid, gid, mode, ino, size, blocks = fields[:8]
    (atime, atime_ns, _, _, ctime, ctime_ns, mtime, mtime_ns) = fields[8:16]
    rdev, dev = os.makedev(*fields[16:18]), os.makedev(*fields[18:20])
    times = [seconds * 10**9 + ns for seconds, ns in ((atime, atime_ns), (mtime, mtime_ns), (ctime, ctime_ns))]
    whole = (mode, ino, dev, nlink, uid, gid, size, atime, mtime, ctime)
    return os.stat_result((*whole, *(ns * 1e-9 for ns in times), *times, blksize, blocks, rdev))
