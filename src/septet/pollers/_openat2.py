"""openat2(2) with RESOLVE_CACHED (Linux 5.12): open what the kernel's cache of names knows, or say that it does not.

The kernel made this for io_uring, which tries it before it hands an operation to a thread, and offers it to everybody.
Python's `os` has no openat2, and neither have older C libraries, so the call goes through syscall(2).
"""

import ctypes
import os

from septet.pollers._uring_abi import OPEN_HOW

_RESOLVE_CACHED = 0x20

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
