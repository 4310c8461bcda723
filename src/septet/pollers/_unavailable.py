"""The error when io_uring cannot be used: one sentence with the reason and the remedy.

It is common, since most container engines forbid io_uring.
"""

import errno
import os

NEEDS = "io_uring needs Linux 6.1 or newer"
"""The beginning of the message that is shown where the kernel is too old. 6.1 is the first release with
IORING_SETUP_DEFER_TASKRUN.
"""

_SWITCH = "/proc/sys/kernel/io_uring_disabled"


class RingUnavailable(OSError):
    """io_uring cannot be used on this machine; str() is one sentence with the reason and the remedy."""

    def __str__(self) -> str:
        return str(self.strerror)


def unavailable(code: int) -> RingUnavailable:
    """Return the exception for an error number from io_uring_setup(2) or io_uring_register(2)."""
    return RingUnavailable(code, _sentence(code, _switch()))


def _sentence(code: int, switch: str) -> str:
    release = os.uname().release
    if code == errno.EPERM and switch == "2":
        return "io_uring is switched off on this machine: set `sysctl kernel.io_uring_disabled=0`, or choose epoll"
    if code == errno.EPERM and switch == "1":
        return (
            "io_uring is switched off for unprivileged users: set `sysctl kernel.io_uring_disabled=0`, "
            "join the group of `sysctl kernel.io_uring_group`, or choose epoll"
        )
    if code == errno.EPERM:
        return (
            "io_uring is forbidden by a security filter, as container engines set by default: permit io_uring_setup, "
            "io_uring_enter and io_uring_register (docker run --security-opt seccomp=PROFILE), or choose epoll"
        )
    if code == errno.ENOSYS:
        return f"{NEEDS}, and this kernel ({release}) or the container's filter does not offer it: choose epoll"
    if code in (errno.EINVAL, errno.EOPNOTSUPP):
        return f"{NEEDS}, and this kernel ({release}) lacks a part of it: upgrade, or choose epoll"
    if code == errno.ENOMEM:
        return "io_uring may not lock enough memory: raise RLIMIT_MEMLOCK (`ulimit -l`), or choose epoll"
    return f"io_uring cannot be set up: {os.strerror(code)}"


def _switch() -> str:
    """Return the value of kernel.io_uring_disabled (Linux 6.6); "" where there is no such switch."""
    try:
        with open(_SWITCH, encoding="ascii") as switch:
            return switch.read().strip()
    except OSError:
        return ""
