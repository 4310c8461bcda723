"""What a process records about itself in its row of the table of metrics, besides its requests: that it is not stuck,
and how busy it is.
"""

from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from signal import SIG_BLOCK, pthread_sigmask, valid_signals
from threading import Event, Lock, get_native_id
from time import monotonic_ns, time
from typing import Any, Protocol

from septet.metrics.gil import GilSampler, sample_beside
from septet.metrics.lanes import (
    BEAT_NS,
    CAPACITY,
    CERTIFICATE_ENDS,
    GENERATION,
    KIND,
    LAG,
    LAG_NS,
    LAG_SUM_NS,
    LOOP_THREAD,
    MOST_CERTIFICATES,
    MOST_OTHER_LOOPS,
    OTHER_LOOPS,
    PID,
    POOL_BUSY_NS,
    POOL_REQUESTS,
    POOL_THREADS,
    REASONS,
    RESTARTS,
    SERVER,
    SUPERVISOR,
    WORKER,
    WORKER_RANGE,
    bucket,
)
from septet.metrics.observer import RequestMetrics, request_metrics
from septet.metrics.table import Table
from septet.metrics.traffic import TrafficMetrics, traffic_metrics
from septet.thread import ServerThread

BEAT_S = 0.25
"""Seconds between two beats. By a beat, the present time in its row of the table, a process shows that it is not stuck.
In an event loop a timer makes them, which also shows how late the loop is.
"""


class Presented(Protocol):
    """What the monitor needs to know of a server's certificates (`net.certificates.Certificates`)."""

    @property
    def ends(self) -> Sequence[float]:
        """When each certificate expires, in seconds since 1970, in the order of the options."""


class Pool(Protocol):
    """What the monitor needs to know of the threads beside an event loop that run WSGI applications."""

    @property
    def limit(self) -> int:
        """Most threads."""

    def requests(self) -> int:
        """Return how many requests run in a thread, or wait for one."""


class Monitor:
    """The table of metrics, and what a process writes about itself into its row. Made before the processes are forked,
    so that all of them share the table.
    """

    def __init__(self, table: Table, counts: bool = True) -> None:
        """`counts`: True to count requests and connections, too; False to record only that processes are not stuck."""
        self.table = table
        self.events: deque[dict[str, Any]] = deque(maxlen=20)
        """The last 20 events, the newest last: each has `at`, in seconds since 1970, and `text`, a sentence such as
        that a worker has ended, and why. Filled in the supervisor.
        """
        self.tell: Callable[[str], object] = self.note
        """The function that is called with a sentence about each event, such as that a worker was replaced."""
        self.on_beat: Callable[[], None] | None = None
        """A function that is called whenever this process shows that it is not stuck, or looks after its workers, and
        at least every `on_beat_s` seconds. It tells the service manager's watchdog that the server works. None: nothing
        is called.
        """
        self.on_beat_s = float("inf")
        self.requests: RequestMetrics | None = request_metrics(table) if counts else None
        self.traffic: TrafficMetrics | None = traffic_metrics(table) if counts else None
        self._certificates: Presented | None = None
        self._beats: dict[AbstractEventLoop, int] = {}
        """When each event loop of this process has last shown, by its timer, that it is not stuck; in nanoseconds of
        CLOCK_MONOTONIC.
        """
        self._pools: dict[AbstractEventLoop, Pool] = {}
        """The threads beside each event loop of this process that run WSGI applications."""
        self._beating = Lock()
        """Held while `_beats` is changed: the process may have several event loops, each in a thread of its own."""

    def supervise(self) -> None:
        """Record that this process is a supervisor."""
        if self.table.row[KIND] != GENERATION:
            self.table.row[KIND] = SUPERVISOR

    def workers_between(self, least: int, most: int) -> None:
        """Record the least and the most workers that are allowed. Called in their supervisor."""
        self.table.row[WORKER_RANGE] = most << 32 | least

    def serving_workers(self) -> list[int]:
        """Return the pids of the workers of all generations. (A generation is a process that loads the application and
        forks workers; during a reload there are two.)
        """
        return [row.lanes[PID] for row in self.table.snapshot().rows if row.lanes[KIND] == WORKER]

    def serves(self, within_s: float) -> bool:
        """True if a process that serves clients has shown within this many seconds that it is not stuck. A process that
        has never shown it counts as well: it has just started, or only forks for its clients. Called in the supervisor.
        """
        now_ns = monotonic_ns()
        beats = [row.lanes[BEAT_NS] for row in self.table.snapshot().rows if row.lanes[KIND] in (SERVER, WORKER)]
        return any(not beat or now_ns - beat < within_s * 1e9 for beat in beats)

    def restarted(self, reason: str, text: str = "") -> None:
        """Count that a worker is replaced. `reason`: one of `lanes.REASONS`. `text`: the sentence that `tell` is called
        with. Called in the supervisor.
        """
        self.table.row[RESTARTS + REASONS.index(reason)] += 1
        self.tell(text)

    def note(self, text: str) -> None:
        """Keep a sentence about an event, with the present time, to be shown by the console."""
        self.events.append({"at": round(time(), 1), "text": text})

    def describe(self, capacity: int) -> None:
        """Record how many requests this process can run at the same time; 0: there is no bound."""
        self.table.row[CAPACITY] = capacity

    def beat_on(
        self, loop: AbstractEventLoop, runs_application: bool, number: int = 0, pool: Pool | None = None
    ) -> None:
        """Show regularly, by a timer of this loop, that the loop is not stuck; the process counts as not stuck if none
        of its loops is. Called in the thread that runs the loop. `runs_application`: True if the application runs in
        this thread only; then the process is as busy as this thread. `number`: which of the process's loops it is, from
        0. `pool`: the threads beside the loop that run WSGI applications; None: there are none.
        """
        if pool is not None:
            with self._beating:
                self._pools[loop] = pool
                self.table.row[POOL_THREADS] = sum(each.limit for each in self._pools.values())
        if runs_application and number <= MOST_OTHER_LOOPS:
            self.table.row[OTHER_LOOPS + number - 1 if number else LOOP_THREAD] = get_native_id()
        if self.requests is not None and number == 0:
            sample_beside(loop, self.table, BEAT_S, self.requests.note_running)
        self._beat(loop, loop.time())

    def _beat(self, loop: AbstractEventLoop, due: float) -> None:
        try:
            self._note_beat(loop, due)
        finally:  # also after an exception, such as a MemoryError: without beats the process would be taken for dead
            due = loop.time() + BEAT_S
            loop.call_at(due, self._beat, loop, due)

    def _note_beat(self, loop: AbstractEventLoop, due: float) -> None:
        self._flush()
        if self.on_beat is not None:
            self.on_beat()
        lag_ns = max(0, int((loop.time() - due) * 1e9))
        with self._beating:
            now_ns, row = monotonic_ns(), self.table.row
            if pool := self._pools.get(loop):
                row[POOL_BUSY_NS] += min(pool.limit, pool.requests()) * (now_ns - self._beats.get(loop, now_ns))
                row[POOL_REQUESTS] = sum(each.requests() for each in self._pools.values())
            self._beats[loop] = now_ns
            row[BEAT_NS] = min(self._beats.values())
            row[LAG_NS] = lag_ns
            row[LAG + bucket(lag_ns)] += 1
            row[LAG_SUM_NS] += lag_ns

    def _flush(self) -> None:
        if self.requests is not None:
            self.requests.flush()
        if self.traffic is not None:
            self.traffic.flush()
        if self._certificates is not None:
            for lane, end in enumerate(self._certificates.ends[:MOST_CERTIFICATES], CERTIFICATE_ENDS):
                self.table.row[lane] = int(end)

    def presents(self, certificates: Presented | None) -> None:
        """Set the certificates that the server presents to its clients, whose expiry is recorded."""
        self._certificates = certificates
        self._flush()

    def connected(self) -> None:
        """Count a client that was accepted."""
        if self.requests is not None:
            self.requests.connected()

    def disconnected(self) -> None:
        """Count a connection that has ended."""
        if self.requests is not None:
            self.requests.disconnected()
        if self.traffic is not None:
            self.traffic.flush()

    @contextmanager
    def connection(self) -> Iterator[None]:
        """Context manager: count one connection while it is entered."""
        self.connected()
        try:
            yield
        finally:
            self.disconnected()

    @contextmanager
    def serving(self, capacity: int, beats: bool) -> Iterator[None]:
        """Context manager for a process whose threads wait for their clients: record its capacity (requests at the same
        time; 0: no bound). `beats`: True to show from a thread of its own that the process is not stuck, because there
        is no event loop whose timer does so.
        """
        self.describe(capacity)
        if not beats:
            yield
            return
        over = Event()
        thread = ServerThread(self._beat_until, "septet-beat", (over,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.table.row[BEAT_NS] = 0  # what follows, the application's end, is not watched

    def _beat_until(self, over: Event) -> None:
        pthread_sigmask(SIG_BLOCK, valid_signals())  # they are for the main thread
        row = self.table.row
        sampler = GilSampler(self.table)
        while True:
            try:
                row[BEAT_NS] = monotonic_ns()
                self._flush()
                if self.requests is not None:
                    self.requests.note_running()
                if self.on_beat is not None:
                    self.on_beat()
                if sampler.sample(over, BEAT_S):
                    return
            except MemoryError:  # without beats the process would be taken for dead
                if over.wait(BEAT_S):
                    return
