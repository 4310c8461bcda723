"""Has the kernel copy the pages that each child writes to when the child is forked, all at once, and not one after the
other when parent or child writes to them.

Parent and child share all pages until one of them writes; then a page fault copies that page. A Python that serves one
request writes to some 600 pages in the child and 170 in the parent, since it counts references in its objects; these
faults were half of what a client of the model forking cost. But pages that are pinned, as memory for devices is, belong
to the parent alone: fork(2) copies them at once, and neither has a fault (`copy_present_page` in the kernel's
mm/memory.c; Linux 5.12). The buffers that are registered with an io_uring are pinned (`FOLL_PIN` in
Documentation/core-api/pin_user_pages.rst), and any memory of one's own can be registered.

So the first children, when they have served, note in shared memory which pages have become theirs alone, and the parent
registers these. What is pinned counts against RLIMIT_MEMLOCK, unless the process has CAP_IPC_LOCK. Where that is too
little, or where io_uring is forbidden, as container engines do, nothing is changed.
"""

import logging
import os
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from mmap import PAGESIZE, mmap
from typing import NoReturn

from septet import forked
from septet.pollers import _uring_abi as abi

CHILDREN = 3
"""Number of children that note their pages. What only one of them happens to write to is some hundredth."""

MOST_PAGES = 1 << 16
"""Pages of writable memory. In a process that has more, they are not looked at: it takes some 10 ns for each."""

_ENTRY = 8
"""Bytes of an entry of /proc/PID/pagemap. The highest byte has the flags (proc_pid_pagemap(5))."""
_PRESENT, _OF_A_FILE, _EXCLUSIVE = 0x80, 0x20, 0x01
_IS_PRESENT = bytes(bool(flags & _PRESENT) for flags in range(256))
_IS_OWN = bytes(flags & (_PRESENT | _OF_A_FILE | _EXCLUSIVE) == _PRESENT | _EXCLUSIVE for flags in range(256))
_RUN = re.compile(b"\1+")
_IOVEC = struct.Struct("@PN")

log = logging.getLogger("septet")


class EarlyCopies:
    """What the children of one process write to, and the pages that are pinned because of it. For the main thread of a
    parent that has no other thread, before its first fork.
    """

    def __init__(self) -> None:
        self._ring = -1
        self._ranges: list[tuple[int, int]] = []
        """The first page and the number of pages of each range of writable memory."""
        self._written: mmap | None = None
        """Memory that is shared with the children: the number of children that have noted their pages, then a byte for
        each page, 1 if one of them has had a copy of it. None: it is not, or no longer, found out which pages those
        are.
        """
        try:
            self._ranges = list(_writable_memory())
            pages = sum(count for _, count in self._ranges)
            if 0 < pages <= MOST_PAGES:
                self._written = mmap(-1, 1 + pages)
        except (OSError, ValueError):  # no /proc
            pass
        forked.register(self)

    def close_in_child(self) -> None:
        """Close this process's copy of the ring's descriptor. Called in a child that the application has forked."""
        ring, self._ring = self._ring, -1
        if ring >= 0:
            os.close(ring)

    def note(self) -> None:
        """In a child that is about to end: note which pages it has copies of, if its parent wants to know. Does not
        raise.
        """
        written = self._written
        if written is None or written[0] >= CHILDREN:
            return
        try:
            for at, own in zip(_places(self._ranges), _pages(self._ranges, _IS_OWN), strict=True):
                for run in _RUN.finditer(own):
                    written[1 + at + run.start() : 1 + at + run.end()] = run[0]
            written[0] += 1
        except (OSError, ValueError):  # /proc may be hidden from a process that has changed its user
            written[0] = CHILDREN  # no other child tries it

    def pin_what_is_known(self) -> None:
        """In the parent, when it is about to fork: if enough children have noted their pages, pin those. Does not
        raise.
        """
        written = self._written
        if written is None or written[0] < CHILDREN:
            return
        self._written = None
        try:
            if ranges := list(self._to_pin(written)):
                self._pin(ranges)
        except (OSError, ValueError, AttributeError) as error:  # another C library has no syscall(2)
            log.debug("children share pages until they write: %s", error)
        written.close()

    def _to_pin(self, written: mmap) -> Iterator[tuple[int, int]]:
        """Yield address and size of each range of memory that children write to and that the parent has."""
        for (first, count), at, present in zip(
            self._ranges, _places(self._ranges), _pages(self._ranges, _IS_PRESENT), strict=True
        ):
            noted = int.from_bytes(written[1 + at : 1 + at + count], "little")
            both = noted & int.from_bytes(present, "little")
            for run in _RUN.finditer(both.to_bytes(count, "little")):
                yield (first + run.start()) * PAGESIZE, len(run[0]) * PAGESIZE

    def _pin(self, ranges: list[tuple[int, int]]) -> None:
        """Pin the memory. Raises OSError if io_uring or so much pinned memory is not allowed."""
        vector = bytearray(b"".join(_IOVEC.pack(*each) for each in ranges))
        ours, theirs = socket.socketpair()
        with ours, theirs:
            child = forked.fork()
            if not child:
                _try_a_ring(ours, theirs)
            # While a child shares it, a page that is pinned is first copied, out of the huge page that it may lie in.
            # Else each fork would copy the whole of that.
            try:
                theirs.close()
                if not ours.recv(1):
                    raise OSError("io_uring cannot be used")
                self._ring = abi.setup(1, bytearray(abi.PARAMS.size))
                abi.register(self._ring, abi.REGISTER_BUFFERS, abi.address(vector), len(ranges))
            except BaseException:
                self.close_in_child()
                raise
            finally:
                ours.close()  # the child ends
                with suppress(ChildProcessError):  # the application has waited for it
                    os.waitpid(child, 0)


def _try_a_ring(parents: socket.socket, own: socket.socket) -> NoReturn:
    """In a child: send a byte to the parent if there can be an io_uring, and end when the parent has closed its socket.
    A filter of system calls may kill a process that asks for an io_uring (systemd's SystemCallFilter=).
    """
    try:
        parents.close()
        os.close(abi.setup(1, bytearray(abi.PARAMS.size)))
        own.sendall(b".")
        own.recv(1)
    finally:
        os._exit(0)


def _writable_memory() -> Iterator[tuple[int, int]]:
    """Yield the first page and the number of pages of each range of addresses that is writable memory of this process
    alone (proc_pid_maps(5)).
    """
    with open("/proc/self/maps") as maps:
        for line in maps:
            addresses, rights, _ = line.split(None, 2)
            if rights == "rw-p":
                begin, end = (int(address, 16) // PAGESIZE for address in addresses.split("-"))
                yield begin, end - begin


def _places(ranges: list[tuple[int, int]]) -> Iterator[int]:
    """Yield for each range the number of pages in those before it."""
    at = 0
    for _, count in ranges:
        yield at
        at += count


def _pages(ranges: list[tuple[int, int]], table: bytes) -> Iterator[bytes]:
    """Yield for each range a byte for each page: what `table` has for the page's flags."""
    with open("/proc/self/pagemap", "rb", buffering=0) as entries:
        for first, count in ranges:
            found = os.pread(entries.fileno(), count * _ENTRY, first * _ENTRY)
            yield found[_ENTRY - 1 :: _ENTRY].ljust(count, b"\0").translate(table)
