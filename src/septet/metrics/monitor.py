"""What a process tells of itself in its row of the table, beside its requests: that it goes on, and how busy it is."""

from asyncio import AbstractEventLoop
from collections.abc import Iterator
from contextlib import contextmanager
from signal import SIG_BLOCK, pthread_sigmask, valid_signals
from threading import Event, Thread, get_native_id
from time import monotonic_ns

from septet.metrics.lanes import (
    BEAT_NS,
    CAPACITY,
    KIND,
    LAG,
    LAG_NS,
    LAG_SUM_NS,
    LOOP_THREAD,
    REASONS,
    RESTARTS,
    RETIRING,
    SUPERVISOR,
    bucket,
)
from septet.metrics.observer import RequestMetrics, request_metrics
from septet.metrics.table import Table

BEAT_S = 0.25
"""How often a process shows that it goes on. In an event loop a timer does so, which shows how late the loop is."""


class Monitor:
    """The table, as the processes that serve use it. Made before the fork."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.requests: RequestMetrics = request_metrics(table)

    def supervise(self) -> None:
        """This process is the supervisor."""
        self.table.row[KIND] = SUPERVISOR

    def retiring(self, reason: str) -> None:
        """This process wants to be replaced; reason: one of `lanes.REASONS`."""
        self.table.row[RETIRING] = 1 + REASONS.index(reason)

    def restarted(self, reason: str) -> None:
        """A worker has ended, and is replaced; reason: one of `lanes.REASONS`. In the supervisor."""
        self.table.row[RESTARTS + REASONS.index(reason)] += 1

    def describe(self, capacity: int) -> None:
        """This process can run so many requests at the same time; 0: without a bound."""
        self.table.row[CAPACITY] = capacity

    def beat_on(self, loop: AbstractEventLoop, runs_application: bool) -> None:
        """Beat by a timer of this loop, which the calling thread runs. `runs_application`: in this thread alone, so
        that the share of the time for which the thread runs is the share for which the process is busy."""
        if runs_application:
            self.table.row[LOOP_THREAD] = get_native_id()
        self._beat(loop, loop.time())

    def _beat(self, loop: AbstractEventLoop, due: float) -> None:
        row = self.table.row
        row[BEAT_NS] = monotonic_ns()
        self.requests.flush()
        lag_ns = max(0, int((loop.time() - due) * 1e9))
        row[LAG_NS] = lag_ns
        row[LAG + bucket(lag_ns)] += 1
        row[LAG_SUM_NS] += lag_ns
        due = loop.time() + BEAT_S
        loop.call_at(due, self._beat, loop, due)

    @contextmanager
    def connection(self) -> Iterator[None]:
        """Count one connection while it lasts."""
        self.requests.connected()
        try:
            yield
        finally:
            self.requests.disconnected()

    @contextmanager
    def serving(self, capacity: int, beats: bool) -> Iterator[None]:
        """For a process whose threads wait for their clients. beats: from a thread, because there is no event loop."""
        self.describe(capacity)
        if not beats:
            yield
            return
        over = Event()
        thread = Thread(target=self._beat_until, args=(over,), name="septet-beat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _beat_until(self, over: Event) -> None:
        pthread_sigmask(SIG_BLOCK, valid_signals())  # they are for the main thread
        row = self.table.row
        while True:
            row[BEAT_NS] = monotonic_ns()
            self.requests.flush()
            if over.wait(BEAT_S):
                return
