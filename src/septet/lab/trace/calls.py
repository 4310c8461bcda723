"""What a system call is about, by its number: the numbers of x86-64 and of the generic table (aarch64 and others).

Only calls in which a server's thread may block for any time. Source: arch/x86/entry/syscalls/syscall_64.tbl and
include/uapi/asm-generic/unistd.h of Linux.
"""

from __future__ import annotations

import platform
from enum import Enum, auto


class About(Enum):
    """What its first arguments are, and so where to look on."""

    DESCRIPTOR = auto()  # the first is a descriptor that it reads, writes or connects
    POLL = auto()  # the first is an array of struct pollfd, the second its length
    EPOLL = auto()  # the first is an epoll descriptor
    RING = auto()
    FUTEX = auto()  # the first is the address of the word that it waits for
    SLEEP = auto()
    CHILD = auto()  # or a signal, which is how a parent waits for all of them
    FILE = auto()  # a path or a disk file, in whatever argument
    SELECT = auto()
    LOCK = auto()  # of a file


_X86_64 = {
    About.DESCRIPTOR: (0, 1, 19, 20, 40, 42, 43, 44, 45, 46, 47, 288, 299, 307),
    About.POLL: (7, 271),
    About.EPOLL: (232, 281, 441),
    About.RING: (426,),
    About.FUTEX: (202, 449),
    About.SLEEP: (35, 230),
    About.CHILD: (34, 61, 128, 130, 247),
    About.FILE: (2, 4, 5, 6, 17, 18, 74, 75, 77, 82, 83, 87, 257, 262, 263, 277, 285, 295, 296, 332, 437),
    About.SELECT: (23, 270),
    About.LOCK: (72, 73),
}
_GENERIC = {
    About.DESCRIPTOR: (63, 64, 65, 66, 71, 202, 203, 206, 207, 211, 212, 242, 243, 269),
    About.POLL: (73,),
    About.EPOLL: (22, 441),
    About.RING: (426,),
    About.FUTEX: (98, 449),
    About.SLEEP: (101, 115),
    About.CHILD: (95, 133, 137, 260),
    About.FILE: (35, 45, 46, 47, 56, 67, 68, 69, 70, 79, 80, 81, 82, 83, 291, 437),
    About.SELECT: (72,),
    About.LOCK: (25, 32),
}


def _by_number(table: dict[About, tuple[int, ...]]) -> dict[int, About]:
    return {number: about for about, numbers in table.items() for number in numbers}


ABOUT = _by_number(_X86_64 if platform.machine() == "x86_64" else _GENERIC)
