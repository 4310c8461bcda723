"""Counts over all processes of a server, in shared memory: requests in flight (for `--limit-concurrency`), and threads
that wait for clients.

Each process has a slot, an index into the shared arrays, and no other process writes to it while that process lives. So
no lock between processes is needed, which would stay locked if its holder died. A count does not outlive its process:
the process that forks gives out the slots, and clears the slot of a process that has ended.

A process with several interpreters has a slot for each of them, side by side (`width`): each interpreter has a lock of
its own, so that two of them cannot change one count. They are lent the arrays as `Shared`.
"""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, lockf
from heapq import heappop, heappush
from mmap import mmap
from os import EFD_CLOEXEC, EFD_NONBLOCK, EFD_SEMAPHORE, close, eventfd, eventfd_read, eventfd_write, memfd_create
from threading import Lock
from typing import NamedTuple, Protocol

from septet import forked
from septet.metrics.lanes import WORKER
from septet.metrics.table import Table
from septet.processes.spool import Spool

SLOTS = 1 << 16
"""Number of slots, each for the counts of one process or interpreter. The array takes 256 KiB, of which the kernel
gives only pages that are written to.
"""

_HIGHEST = 0
"""Index of the element of each shared array that holds the highest slot number ever given out. Counts are summed up
over slots 1 to that number.
"""


class AcceptingThread(Protocol):
    """A thread that accepts clients, as far as `WaitingThreads`, which counts such threads, needs to know it."""

    is_free: bool
    """True if the thread is counted among those that wait for a client. Only `WaitingThreads` sets it."""


class Shared(NamedTuple):
    """What the main interpreter of a process gives to another one of it, so that both count requests and waiting
    threads in the same memory.
    """

    in_flight: memoryview
    waiting: memoryview
    """The memory of two arrays, one after the other: how many threads wait for a client, and how many clients were
    accepted. Each process or interpreter has an element of either array.
    """
    lock: int
    """Descriptor of a file by which processes exclude each other (`WaitingThreads`): the one that holds a lock of
    the file may decide whether another thread is needed to accept clients.
    """
    token: int
    """An eventfd(2) that is used as a lock: one interpreter of the process can hold it at a time. It is needed because
    a lock of the kind of lockf(3) does not exclude the threads of one process from each other.
    """


class WaitingThreads:
    """Counts the threads that wait for clients, over all processes, so that a thread whose client is idle can see
    whether it has to close that connection and accept another client.

    Such a thread sees that a client has connected, but not whether another thread, perhaps of another process, is
    about to accept the client. So each process counts its waiting threads.

    The count does not show that a process is stopped, or that a computation in C keeps its threads from running. So
    accepted clients are counted, too: if none is accepted for a while though clients wait, the waiting threads are
    ignored.
    """

    def __init__(self, slots: int) -> None:
        self.counts = memoryview(mmap(-1, 8 * slots)).cast("I")
        self._waiting, self._accepted = self.counts[:slots], self.counts[slots:]
        self._slot = 1
        self.extend(1)
        self._lock = Lock()
        """Keeps two threads of this process from changing its counts at the same time."""
        self._volunteer: AcceptingThread | None = None
        """The thread of this process that is inside `_locked`, or is trying to get in; None: no thread is."""
        self._processes = memfd_create("septet-acceptors")
        """Descriptor of a file by which processes exclude each other in `_locked`. The kernel releases the lock of a
        process that dies (fcntl(2)).
        """
        self._token = -1
        """Descriptor of an eventfd by which the interpreters of this process exclude each other in `_locked`; -1 in a
        process with one interpreter.
        """
        forked.register(self)

    def close_in_child(self) -> None:
        close(self._processes)

    # For the threads that accept

    # The count and `thread.is_free` change without a call in between: an exception that another thread raises in this
    # one (PyThreadState_SetAsyncExc) comes before or after both.

    def wait(self, thread: AcceptingThread) -> None:
        """From now on count the calling thread, which is `thread`, among those that wait for a client. Does nothing if
        it is counted already.
        """
        with self._lock:
            if not thread.is_free:
                self._waiting[self._slot] += 1
                thread.is_free = True

    def accept(self, thread: AcceptingThread) -> None:
        """The calling thread, which is `thread`, has accepted a client: count that client, and no longer count the
        thread among those that wait for one.
        """
        with self._lock:
            if thread.is_free:
                self._waiting[self._slot] -= 1
                thread.is_free = False
            self._count_accepted()

    def leave(self, thread: AcceptingThread) -> None:
        """The calling thread, which is `thread`, does not wait for a client any more: no longer count it among those
        that do.
        """
        with self._lock:
            if thread.is_free:
                self._waiting[self._slot] -= 1
                thread.is_free = False

    def _count_accepted(self) -> None:
        self._accepted[self._slot] = (self._accepted[self._slot] + 1) & 0xFFFFFFFF

    @property
    def waiting(self) -> int:
        """Number of threads that wait for a client, in all processes."""
        return sum(self._waiting[1 : self._waiting[_HIGHEST] + 1])

    @property
    def accepted(self) -> int:
        """Number of clients that all processes together have accepted; each process counts modulo 2**32. It is only
        compared with an earlier value, to see whether a client was accepted meanwhile.
        """
        return sum(self._accepted[1 : self._waiting[_HIGHEST] + 1])

    def volunteer(self, thread: AcceptingThread, needed: Callable[[], bool], stalled_at: int | None = None) -> bool:
        """Called by a thread that serves an idle client, to ask whether it must accept another one instead. Returns
        True, and counts the thread as waiting from now on, if `needed()` is true and no other thread waits for a
        client. Of several threads that ask at the same time, only one gets True.

        `stalled_at` is a value that `accepted` had earlier. If `accepted` still has it, no client was accepted since:
        then other waiting threads are taken for stalled and are ignored. None: they are not ignored.
        """
        with self._locked(thread) as locked:
            # `needed` last: a thread that accepts the waiting client counts as waiting until it has accepted it.
            if not locked or (self.waiting and self.accepted != stalled_at) or not needed():
                return False
            self.wait(thread)
            self._count_accepted()  # else the next volunteer would take the same threads for stalled again
            return True

    @contextmanager
    def _locked(self, thread: AcceptingThread) -> Iterator[bool]:
        """Context manager that lets one thread of all processes in at a time. It yields True if the calling thread is
        that one, and False, without waiting, if another thread is in, because that one may be in a process that is
        stopped.
        """
        with self._lock:
            if self._volunteer is None:
                self._volunteer = thread
        # (It may be this thread already, if an exception has interrupted the end of this function.)
        if self._volunteer is not thread:
            yield False
            return
        try:
            try:
                if self._token >= 0:
                    eventfd_read(self._token)
            except BlockingIOError:
                yield False
                return
            try:
                with self._locked_against_processes() as locked:
                    yield locked
            finally:
                if self._token >= 0:
                    eventfd_write(self._token, 1)
        finally:
            self._volunteer = None

    @contextmanager
    def _locked_against_processes(self) -> Iterator[bool]:
        try:
            lockf(self._processes, LOCK_EX | LOCK_NB)
        except OSError:
            yield False
            return
        try:
            yield True
        finally:
            lockf(self._processes, LOCK_UN)

    # For `InFlight`, which gives out the slots

    def lend(self, in_flight: memoryview) -> Shared:
        """Return what the other interpreters of this process need to count waiting threads and requests in the same
        memory. `in_flight` is the array in which `InFlight` counts. Raises OSError.
        """
        if self._token < 0:
            self._token = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE)
        return Shared(in_flight, self.counts, self._processes, self._token)

    def borrow(self, shared: Shared, slot: int) -> None:
        """Called in an interpreter other than the main one: from now on count waiting threads in `shared`, the memory
        that the main interpreter has given to this one, in slot `slot`.
        """
        close(self._processes)
        self.counts = shared.waiting.cast("B").cast("I")
        half = len(self.counts) // 2
        self._waiting, self._accepted = self.counts[:half], self.counts[half:]
        self._processes, self._token, self._slot = shared.lock, shared.token, slot

    def extend(self, highest: int) -> None:
        self._waiting[_HIGHEST] = highest

    def occupy(self, slot: int) -> None:
        self._slot = slot

    def vacate(self, slot: int, width: int) -> None:
        for each in range(slot, slot + width):
            self._waiting[each] = 0


class InFlight:
    """Counts requests in flight, over all processes, for `--limit-concurrency`; implements `rules.Admission`. It
    also gives each process a slot, an index into all shared arrays of counts; a process that does not fork uses
    slot 1.

    `limit`: most requests in flight in all processes together. `spool_limit`: most bytes in temporary files, see
    `Spool`; 0: no limit. `table`: the table of metrics. `width`: how many slots a process has, one for each of its
    interpreters.
    """

    def __init__(self, limit: int = 0, spool_limit: int = 0, table: Table | None = None, width: int = 1) -> None:
        self._limit = limit
        self._table = table
        """The table of metrics, which is memory that all processes share: each process that has a slot here also has a
        row there. None: there is no table.
        """
        self._rows: dict[int, int] = {}
        """The number of each process's row in the table of metrics, found by its slot (its index into the shared
        arrays of counts).
        """
        self._counts = memoryview(mmap(-1, 4 * SLOTS)).cast("I")
        self._width = width
        self._counts[_HIGHEST] = width
        self._slot = 1
        self._free: list[int] = []
        self._next = 1
        self._lock = Lock()
        """Keeps two threads of this process from changing its count at the same time."""
        self.waiting_threads = WaitingThreads(SLOTS)
        """Counts the threads that wait for clients. A process has the same slot (index) in its arrays as in that of
        the requests in flight; all these elements are cleared when the process has ended.
        """
        self.waiting_threads.extend(width)
        self.spool = Spool(SLOTS, spool_limit)
        """Counts the bytes in temporary files. A process has the same slot (index) in its array as in that of the
        requests in flight; the element is cleared when the process has ended, for then the kernel frees the files.
        """
        forked.register(self)

    def close_in_child(self) -> None:
        """Called in a child that the application has forked: from now on the child counts in memory of its own, so
        that it changes no count of the server.
        """
        self._counts = memoryview(bytearray(8)).cast("I")
        self._slot = 1
        self._lock = Lock()

    def enter(self) -> bool:
        """Count a request and return True; if the limit over all processes is reached, return False and count nothing.

        The request is counted before the counts of all processes are added up. So if two processes reach the limit at
        the same instant, both may return False.

        An exception of another thread or of a signal handler may come until `enter` has returned, as the lock is let go
        for instance: then nothing is counted.
        """
        counts, slot = self._counts, self._slot
        counted = False
        try:
            with self._lock:
                counts[slot] += 1
                counted = True
                if sum(counts[1 : counts[_HIGHEST] + 1]) <= self._limit:
                    return True
                counts[slot] -= 1
                counted = False
                return False
        except BaseException:
            if counted:
                with self._lock:
                    counts[slot] -= 1
            raise

    def leave(self) -> None:
        """Take a request out of the count. Called once for each call of `enter` that returned True, when the request
        is over; and again if it has raised, as `enter` may: then it is still counted.
        """
        left = False
        try:
            with self._lock:
                self._counts[self._slot] -= 1
                left = True
        except BaseException:
            if left:
                with self._lock:
                    self._counts[self._slot] += 1
            raise

    # For a process with several interpreters

    def lend(self) -> Shared:
        """Return what the other interpreters of this process need to count requests and waiting threads in the same
        memory. Raises OSError.
        """
        return self.waiting_threads.lend(self._counts)

    @property
    def slot(self) -> int:
        """The number of this process's slot, its index into the shared arrays of counts. If the process has a slot for
        each of several interpreters, it is the lowest of their numbers.
        """
        return self._slot

    def borrow(self, shared: Shared, slot: int) -> None:
        """Called in an interpreter other than the main one: from now on count requests and waiting threads in
        `shared`, the memory that the main interpreter has given to this one, in slot `slot`.
        """
        self._counts = shared.in_flight.cast("B").cast("I")
        self._slot = slot
        self.waiting_threads.borrow(shared, slot)

    # For the process that forks: its main thread, with SIGCHLD blocked if a handler of it calls `vacate`

    def allot(self) -> int:
        """Return the number of a free slot, an index into the shared arrays, at which a process that is about to be
        forked will count. Raises OSError (EAGAIN) if none is free.
        """
        slot = self._take_slot()
        if self._table is not None:
            try:
                self._rows[slot] = self._table.allot()
            except BaseException:
                heappush(self._free, slot)
                raise
        return slot

    @property
    def counts(self) -> bool:
        """True if requests are counted here, for `--limit-concurrency` or for metrics: then a process that serves needs
        a slot.
        """
        return bool(self._limit) or self._table is not None

    def _take_slot(self) -> int:
        if self._free:
            return heappop(self._free)  # the lowest, so that sums are short
        if self._next + self._width > SLOTS:
            raise OSError(errno.EAGAIN, "there are too many processes")
        slot = self._next
        self._next += self._width
        highest = self._next - 1
        self._counts[_HIGHEST] = highest
        self.waiting_threads.extend(highest)
        self.spool.extend(highest)
        return slot

    def occupy(self, slot: int, kind: int = WORKER) -> None:
        """Called in a child process that was just forked: from now on count in slot `slot` of the shared arrays.
        `kind` says what the child is, for the table of metrics: one of the constants such as WORKER and CHILD.
        """
        if self._table is not None:
            self._table.occupy(self._rows[slot], kind)
        self._slot = slot
        self.waiting_threads.occupy(slot)
        self.spool.occupy(slot)

    def vacate(self, slot: int) -> int | None:
        """Called when the process that counted in slot `slot` of the shared arrays has ended, or could not be forked:
        set these counts to 0, so that another process can be given the slot. Returns how many requests the process had
        in flight; None if no table of metrics counts them.
        """
        lost = None
        if self._table is not None:
            row = self._rows.pop(slot)
            lost = self._table.in_flight_of_process(row)
            self._table.retire(row)
        for each in range(slot, slot + self._width):
            self._counts[each] = 0
        self.waiting_threads.vacate(slot, self._width)
        self.spool.vacate(slot)
        heappush(self._free, slot)
        return lost
