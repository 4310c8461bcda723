"""Requests in flight, counted over all processes of a server: what `--limit-concurrency` is about.

The processes share a piece of memory in which each has a slot that nobody else writes to while it lives. So there is no
lock between processes for one of them to die with, and a count does not outlive its process: whoever forks gives out
the slots, and clears the one of a process that has ended.
"""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, lockf
from heapq import heappop, heappush
from mmap import mmap
from os import close, memfd_create
from threading import Lock
from typing import Protocol

from septet import forked
from septet.processes.spool import Spool

SLOTS = 1 << 16
"""For as many processes; memory that is not written to is not taken (256 KiB in all)."""

_HIGHEST = 0
"""Where the number of the highest slot that was ever given out stands: as far as a sum must go."""


class AcceptingThread(Protocol):
    """A thread that accepts clients."""

    is_free: bool
    """It is counted among those that wait for one."""


class WaitingThreads:
    def __init__(self, slots: int) -> None:
        counts = memoryview(mmap(-1, 8 * slots)).cast("I")
        self._waiting, self._accepted = counts[:slots], counts[slots:]
        self._slot = 1
        self.extend(1)
        self._lock = Lock()
        """Of this process, which share its slot."""
        self._volunteer: AcceptingThread | None = None
        """The thread that is about to decide."""
        self._processes = memfd_create("septet-acceptors")
        """For a lock between processes, which the kernel takes from one that dies (fcntl(2))."""
        forked.register(self)

    def close_in_child(self) -> None:
        close(self._processes)

    # For the threads that accept

    # A count and the thread's own word change in one stretch without a call: an exception that another thread raises in
    # this one (PyThreadState_SetAsyncExc) comes before or after both.

    def wait(self, thread: AcceptingThread) -> None:
        """The calling thread waits for a client from now on, if it did not already."""
        with self._lock:
            if not thread.is_free:
                self._waiting[self._slot] += 1
                thread.is_free = True

    def accept(self, thread: AcceptingThread) -> None:
        """It waits no more: it has accepted one."""
        with self._lock:
            if thread.is_free:
                self._waiting[self._slot] -= 1
                thread.is_free = False
            self._count_accepted()

    def leave(self, thread: AcceptingThread) -> None:
        """It waits no more."""
        with self._lock:
            if thread.is_free:
                self._waiting[self._slot] -= 1
                thread.is_free = False

    def _count_accepted(self) -> None:
        self._accepted[self._slot] = (self._accepted[self._slot] + 1) & 0xFFFFFFFF

    @property
    def waiting(self) -> int:
        return sum(self._waiting[1 : self._waiting[_HIGHEST] + 1])

    @property
    def accepted(self) -> int:
        """A number that changes with each client who is accepted."""
        return sum(self._accepted[1 : self._waiting[_HIGHEST] + 1])

    def volunteer(self, thread: AcceptingThread, needed: Callable[[], bool], stalled_at: int | None = None) -> bool:
        """Let the calling thread, which has an idle client, wait for another one, if it is `needed` and no other
        thread waits: of many that ask, one at a time is taken.

        `stalled_at` is the number of accepted clients at which those that wait appear to stand still.
        """
        with self._locked(thread) as locked:
            # In this order: a thread that has just accepted the client has been counted until then.
            if not locked or (self.waiting and self.accepted != stalled_at) or not needed():
                return False
            self.wait(thread)
            self._count_accepted()  # or the next one would take the same threads for stalled at once
            return True

    @contextmanager
    def _locked(self, thread: AcceptingThread) -> Iterator[bool]:
        """Whether no other thread or process is in here; not waited for, as a process may be stopped inside."""
        with self._lock:
            if self._volunteer is None:
                self._volunteer = thread
        if self._volunteer is not thread:  # (it may be still, where an exception has kept it from leaving)
            yield False
            return
        try:
            try:
                lockf(self._processes, LOCK_EX | LOCK_NB)
            except OSError:
                yield False
                return
            try:
                yield True
            finally:
                lockf(self._processes, LOCK_UN)
        finally:
            self._volunteer = None

    # For `InFlight`, which gives out the slots

    def extend(self, highest: int) -> None:
        self._waiting[_HIGHEST] = highest

    def occupy(self, slot: int) -> None:
        self._slot = slot

    def vacate(self, slot: int) -> None:
        self._waiting[slot] = 0


class InFlight:
    """Implements `session.Admission`. A process that forks none has the first slot for itself."""

    def __init__(self, limit: int = 0, spool_limit: int = 0) -> None:
        self._limit = limit
        self._counts = memoryview(mmap(-1, 4 * SLOTS)).cast("I")
        self._counts[_HIGHEST] = 1
        self._slot = 1
        self._free: list[int] = []
        self._next = 1
        self._lock = Lock()
        """Of this process, which share its slot."""
        self.waiting_threads = WaitingThreads(SLOTS)
        """In the same slots: who has ended waits for no client either."""
        self.spool = Spool(SLOTS, spool_limit)
        """And the kernel has freed its temporary files."""
        forked.register(self)

    def close_in_child(self) -> None:
        """In a child that the application has forked: what it does is no request of the server's."""
        self._counts = memoryview(bytearray(8)).cast("I")
        self._slot = 1
        self._lock = Lock()

    def enter(self) -> bool:
        """Count a request, unless as many as the limit allows are in flight.

        Counted first and looked at then: two processes that reach the limit at the same instant may both refuse.
        """
        counts, slot = self._counts, self._slot
        with self._lock:
            counts[slot] += 1
            admitted = False
            try:
                admitted = sum(counts[1 : counts[_HIGHEST] + 1]) <= self._limit
                return admitted
            finally:
                if not admitted:
                    counts[slot] -= 1

    def leave(self) -> None:
        """A request that was counted is in flight no more."""
        with self._lock:
            self._counts[self._slot] -= 1

    # For the process that forks: its main thread, with SIGCHLD blocked if a handler of it calls `vacate`

    def allot(self) -> int:
        """A slot for a process that is about to be forked. Raises OSError (EAGAIN) when there is none."""
        if self._free:
            return heappop(self._free)  # the lowest, for sums to be short
        if self._next == SLOTS:
            raise OSError(errno.EAGAIN, "there are too many processes")
        slot = self._next
        self._next += 1
        self._counts[_HIGHEST] = slot
        self.waiting_threads.extend(slot)
        self.spool.extend(slot)
        return slot

    def occupy(self, slot: int) -> None:
        """In the child: from now on this is our slot."""
        self._slot = slot
        self.waiting_threads.occupy(slot)
        self.spool.occupy(slot)

    def vacate(self, slot: int) -> None:
        """The process that had the slot has ended, or could not be forked."""
        self._counts[slot] = 0
        self.waiting_threads.vacate(slot)
        self.spool.vacate(slot)
        heappush(self._free, slot)
