"""Threads that wait for clients, counted over all processes of a server: whether an idle client must leave.

A thread that holds an idle connection sees that a client has connected, but not whether another thread, perhaps of
another process, is about to accept it. So each process counts its waiting threads in a slot of shared memory that no
other process writes to, as `InFlight` does with requests, whose slots these are.

A count does not tell that a process is stopped, or that its interpreter is held by a computation in C. So accepted
clients are counted, too: threads that accept nobody for a while, though clients wait, are not free.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, lockf
from mmap import mmap
from os import close, memfd_create
from threading import Lock
from typing import Protocol

from septet import forked

_HIGHEST = 0
"""Where the number of the highest slot stands."""


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
