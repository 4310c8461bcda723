"""Requests in flight, counted over all processes of a server: what `--limit-concurrency` is about.

The processes share a piece of memory in which each has a slot that nobody else writes to while it lives. So there is no
lock between processes for one of them to die with, and a count does not outlive its process: whoever forks gives out
the slots, and clears the one of a process that has ended.
"""

import errno
from heapq import heappop, heappush
from mmap import mmap
from threading import Lock

from septet import forked
from septet.processes.acceptors import WaitingThreads
from septet.processes.spool import Spool

SLOTS = 1 << 16
"""For as many processes; memory that is not written to is not taken (256 KiB in all)."""

_HIGHEST = 0
"""Where the number of the highest slot that was ever given out stands: as far as a sum must go."""


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
