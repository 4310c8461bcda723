"""The kernel interface of io_uring, as far as Septet uses it: numbers, layouts, three system calls.

Source: io_uring_setup(2), io_uring_enter(2), io_uring_register(2) and <linux/io_uring.h>. The C library has no wrappers
for these calls, so they go through syscall(2). ctypes releases the GIL during the call.
"""

import ctypes
import os
import struct
from typing import NoReturn

# The same numbers on every architecture except alpha.
SYS_SETUP, SYS_ENTER, SYS_REGISTER = 425, 426, 427

SETUP_CQSIZE = 1 << 3
SETUP_R_DISABLED = 1 << 6
SETUP_SUBMIT_ALL = 1 << 7
SETUP_COOP_TASKRUN = 1 << 8
SETUP_TASKRUN_FLAG = 1 << 9
SETUP_SINGLE_ISSUER = 1 << 12
SETUP_DEFER_TASKRUN = 1 << 13

FEAT_SINGLE_MMAP = 1 << 0
FEAT_NODROP = 1 << 1
FEAT_EXT_ARG = 1 << 8
FEAT_CQE_SKIP = 1 << 11

ENTER_GETEVENTS = 1 << 0
ENTER_EXT_ARG = 1 << 3

REGISTER_PROBE = 8
REGISTER_ENABLE_RINGS = 12
REGISTER_PBUF_RING = 22

MMAP_RINGS = 0
MMAP_SQES = 0x1000_0000

OP_FSYNC = 3
OP_POLL_ADD = 6
OP_ACCEPT = 13
OP_ASYNC_CANCEL = 14
OP_STATX = 21
OP_READ = 22
OP_WRITE = 23
OP_RECV = 27
OP_OPENAT2 = 28

SQE_BUFFER_SELECT = 1 << 5
SQE_CQE_SKIP_SUCCESS = 1 << 6
ACCEPT_MULTISHOT = 1 << 0
RECV_MULTISHOT = 1 << 1
CANCEL_ALL = 1 << 0
CANCEL_FD = 1 << 1
CANCEL_ANY = 1 << 2
FSYNC_DATASYNC = 1 << 0

CQE_BUFFER = 1 << 0  # the upper 16 bits of the flags are the number of a provided buffer
CQE_MORE = 1 << 1  # the request stays in the kernel and will complete again

PARAMS = struct.Struct("<7I12x10I10I")
"""struct io_uring_params: sq_entries, cq_entries, flags, (cpu), (idle), features, (wq_fd), then the offsets of the
submission queue (head, tail, mask, entries, flags, dropped, array, ...) and of the completion queue (head, tail, mask,
entries, overflow, cqes, flags, ...)."""

SQE = struct.Struct("<BBHiQQIIQH22x")
"""struct io_uring_sqe: opcode, flags, ioprio, fd, off, addr, len, op_flags, user_data, buf_group."""

CQE = struct.Struct("<QiI")
"""struct io_uring_cqe: user_data, res, flags."""

BUF = struct.Struct("<QIH")
"""struct io_uring_buf: addr, len, bid. The two remaining bytes of the first entry are the ring's tail."""

BUF_REG = struct.Struct("<QIHH24x")
"""struct io_uring_buf_reg: ring_addr, ring_entries, bgid, flags."""

OPEN_HOW = struct.Struct("<QQQ")
"""struct open_how of openat2(2): flags, mode, resolve."""

STATX = struct.Struct("<4xI8xIIIH2xQQQ8x" + "qI4x" * 4 + "IIII112x")
"""struct statx: blksize, nlink, uid, gid, mode, ino, size, blocks, then seconds and nanoseconds of atime, btime, ctime
and mtime, then the major and minor numbers of rdev and dev. 256 bytes."""

_libc = ctypes.CDLL(None, use_errno=True)

_syscall = _libc["syscall"]
_syscall.argtypes = [ctypes.c_long] * 7
_syscall.restype = ctypes.c_long

_syscall_of_ints = _libc["syscall"]
"""syscall(2) for arguments of the kernel's type `unsigned int`, and for ctypes objects; its result is an int. Without
`argtypes` ctypes makes no object of each argument, and the call takes half as long. An argument of 64 bits must be a
ctypes object: of an int, the lower 32 bits are passed, and what the upper ones are is not defined.
"""


def setup(entries: int, params: bytearray) -> int:
    """io_uring_setup(2): returns the ring's descriptor and fills in `params` (a `PARAMS`).

    Raises:
        OSError: the system call failed.
    """
    fd: int = _syscall(SYS_SETUP, entries, address(params), 0, 0, 0, 0)
    return fd if fd >= 0 else _fail()


def enter(
    fd: int,
    to_submit: int,
    min_complete: int,
    flags: int,
    arg: ctypes.c_void_p | None = None,
    arg_size: ctypes.c_size_t | None = None,
) -> int:
    """io_uring_enter(2): the number of submissions taken, or -errno. No exception, because a time-out is normal.
    `arg` and `arg_size` are for ENTER_EXT_ARG.
    """
    submitted: int = _syscall_of_ints(SYS_ENTER, fd, to_submit, min_complete, flags, arg, arg_size)
    return submitted if submitted >= 0 else -ctypes.get_errno()


def register(fd: int, opcode: int, arg: int, count: int) -> None:
    """Call io_uring_register(2).

    Raises OSError if the system call fails.
    """
    if _syscall(SYS_REGISTER, fd, opcode, arg, count, 0, 0) < 0:
        _fail()


def address(buffer: bytearray) -> int:
    """Return the address of a writable buffer. While the address is in use, the caller must keep the buffer alive
    and must not resize it.
    """
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def address_of_bytes(data: bytes) -> int:
    """Return the address of the bytes of `data`. While the address is in use, the caller must keep `data` alive."""
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0


def timespec(seconds: float) -> tuple[int, int]:
    """Return a duration as whole seconds and nanoseconds."""
    whole = int(seconds)
    return whole, int((seconds - whole) * 1e9)


def _fail() -> NoReturn:
    code = ctypes.get_errno()
    raise OSError(code, os.strerror(code))
