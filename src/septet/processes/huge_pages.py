"""Puts the memory of a process that forks for every client into huge pages.

A fork copies an entry of the page table for each page of the process's own memory, and the end of the child undoes
that: 20 MB of small pages make a third of what a bare fork costs. In huge pages (2 MiB on x86-64) there is one entry
for 512 of them. When parent or child writes, only the small page that is written to is copied, as before.

Only whole huge pages at multiples of their size can be had, so what they cover, some 10 of 20 MB, depends on where the
kernel has put Python's memory.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import suppress

MADV_COLLAPSE = 25
"""madvise(2), Linux 6.1: put the memory into huge pages now. An older kernel refuses it, and nothing is changed."""

_SETTINGS = "/sys/kernel/mm/transparent_hugepage"


def use_huge_pages() -> None:
    """Put as much of this process's own memory into huge pages as is possible, unless the system's administrator has
    turned them off (transparent_hugepage=never). Takes some 10 ms of CPU time, and longer where the CPUs are busy, for
    the kernel lets each of them put its lists in order first. Does not raise.
    """
    with suppress(OSError, ValueError, AttributeError):  # no /sys or /proc; another kernel's format; another C library
        with open(f"{_SETTINGS}/enabled") as enabled:
            if "[never]" in enabled.read():
                return
        with open(f"{_SETTINGS}/hpage_pmd_size") as huge:
            size = int(huge.read())
        libc = ctypes.CDLL(None)
        libc.malloc_trim(0)  # also joins what is free; a child would do it, and write all over the heap
        madvise = libc.madvise
        madvise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
        for begin, end in list(_own_memory()):
            first, last = -(-begin // size) * size, end // size * size
            if first < last:
                madvise(first, last - first, MADV_COLLAPSE)


def _own_memory() -> Iterator[tuple[int, int]]:
    """Yield begin and end of each range of addresses that is writable memory of this process alone, without a file: the
    heap, and what Python and the C library have mapped (proc_pid_maps(5)).
    """
    with open(f"/proc/{os.getpid()}/maps") as maps:
        for line in maps:
            addresses, rights, _, _, inode, *name = line.split(None, 5)
            if rights == "rw-p" and inode == "0" and (not name or name[0].strip() in ("", "[heap]")):
                begin, end = addresses.split("-")
                yield int(begin, 16), int(end, 16)
