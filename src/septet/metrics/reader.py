"""Computes figures of the whole server and of each process from the table of metrics, as plain values.

Shares and rates refer to the last interval between two samples; quantiles and means to the last WINDOW_S. Samples are
taken once a second, when `tick` is called, and not when a client asks, so that two clients do not disturb each other's
figures.
"""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from septet import __version__
from septet.metrics.histogram import Histogram, durations, histogram
from septet.metrics.lanes import (
    ABORTED,
    ACCEPTED,
    ANSWERS,
    ANSWERS_END,
    BEAT_NS,
    BEGUN,
    CAPACITY,
    CHILD,
    CLASSES,
    CLOSED,
    DURATION_NS,
    GIL_WAIT,
    GIL_WAIT_NS,
    IDLE_KINDS,
    KIND,
    KINDS,
    LAG,
    LAG_NS,
    LAG_SUM_NS,
    LEFT_BEHIND,
    LEFT_SERVING,
    LOOP_THREAD,
    LOST,
    METHODS,
    MOST_OTHER_LOOPS,
    OTHER_LOOPS,
    PID,
    POOL_BUSY_NS,
    POOL_REQUESTS,
    POOL_THREADS,
    QUEUE_WAIT,
    QUEUE_WAIT_NS,
    REASONS,
    RESTARTS,
    SENT,
    STARTED_NS,
    TIMED_OUT,
    WORKER,
    WORKER_RANGE,
)
from septet.metrics.proc import connections_dropped, listen_queue, proportional_bytes, usage, wanted_cpu_s
from septet.metrics.standstill import stands_still_s
from septet.metrics.table import Row, Snapshot, Table
from septet.metrics.traffic_read import http2_status, tls_status, websocket_status
from septet.metrics.window import WINDOW_S, Sums, Window

SAMPLE_S = 1.0

PSS_S = 10.0
"""Seconds for which a process's memory (PSS) that was read is used again, because reading it is slow."""

DESCRIBED = 64
"""The largest number of processes whose details are read from /proc; the others are only included in sums."""


MOST_RUNNING = 50
"""The largest number of requests in flight that are described, the oldest of all processes."""


class Listening(Protocol):
    """What the reader needs to know of a `net.listener.Listener`."""

    sock: Any


def answers(lanes: memoryview) -> dict[tuple[str, int], int]:
    """Return the numbers of answers by method and class of status, without those that are 0. `lanes`: a row of the
    metrics table, or a sum of rows.
    """
    found = {}
    for index, method in enumerate(METHODS):
        for kind in range(CLASSES):
            if count := lanes[ANSWERS + index * CLASSES + kind]:
                found[method, kind] = count
    return found


def answered(lanes: memoryview) -> int:
    """Return the number of answers. `lanes`: a row of the metrics table, or a sum of rows."""
    return sum(lanes[ANSWERS:ANSWERS_END])


def in_flight(lanes: memoryview) -> int:
    """Return the number of requests in flight. `lanes`: a row of the metrics table, or a sum of rows. At least 0: a row
    is copied while its process writes to it, so it may be inconsistent.
    """
    return max(0, lanes[BEGUN] - lanes[ABORTED] - answered(lanes))


@dataclass(slots=True)
class _Seen:
    """The figures of a process in one sample of the metrics table."""

    at_s: float
    cpu_s: float
    loops_s: tuple[float | None, ...]
    """CPU seconds that the thread of each event loop has used, or waited for; None: not known."""
    served_s: float
    """The sum of the durations of the requests that the process has answered, in seconds."""
    answered: int
    pool_busy_s: float
    """For how many seconds threads of the pool beside the event loops were busy, summed over the threads."""


@dataclass(slots=True, frozen=True)
class Shares:
    """How busy a process was between two samples. Each share is from 0 to 1, except `cpu`."""

    cpu: float = 0.0
    """The number of CPUs that the process's threads used on average; more than 1 if several run at the same time."""
    saturation: float = 0.0
    """How busy the process was, the largest of: the share of its capacity (requests at the same time) that was in use;
    the mean busy share of its event loops; that of the threads beside them that run WSGI applications; and, if it has
    none of them, `cpu`. At most 1. 1 if it stands still, or, if it has several loops, at least the share of one of
    them.
    """
    serves: bool = True
    """True if the process serves clients; False for a supervisor, and for a process that loads the application and only
    forks workers.
    """
    loops: tuple[float, ...] = ()
    """For each event loop that runs the application in its own thread: the share of the time for which it was busy."""
    stands_still: bool = False
    """True if the process, or one of its event loops, has not shown for `standstill.STILL_S` that it is not stuck."""


class Reader:
    """Computes figures from the table of metrics, in the one process that answers questions about them. `tick` must be
    called about once a second.
    """

    def __init__(self, table: Table, state: Callable[[], str]) -> None:
        """`state`: returns what /readyz answers, "starting", "ready" or "draining"."""
        self._table = table
        self.listeners: tuple[tuple[str, Any], ...] = ()
        self.certificates: tuple[str, ...] = ()
        self.state = state
        self.events: Iterable[dict[str, Any]] = ()
        """What has happened to processes lately, the newest last."""
        self.orders: Callable[[], dict[str, Any]] = dict
        """Returns how the last order to reload or to upgrade has ended (`console.outcomes`)."""
        self.on_sample: Callable[[], object] | None = None
        """Called after each sample, if it is set."""
        self._facts: dict[str, Any] = {"model": "", "app": None}
        self._began_s = time.monotonic()
        self._dropped_before = connections_dropped()
        self._seen: dict[int, _Seen] = {}
        self._shares: dict[int, Shares] = {}
        self._pss: dict[int, tuple[float, int | None]] = {}
        """When the PSS of a process was read (seconds of `time.monotonic`), and its bytes, by pid."""
        self._last: tuple[float, Snapshot] | None = None
        self._before: tuple[float, Snapshot] | None = None
        self._waited_s = 0.0
        """For how long requests have waited for a thread, in seconds, summed over the requests."""
        self._window = Window(Sums(self._began_s, self.snapshot().total, 0.0))
        """The sums of the last minute. They begin with the present state, since a table that was taken over (USR2) has
        older counts.
        """

    def describe(self, listeners: Sequence[Listening], certificates: Sequence[str] = (), **facts: Any) -> None:
        """Set what is served from now on. listeners: the addresses that are shown, with their queues. certificates: the
        files of the certificates. facts: values that `status` shows as they are, such as `model`.
        """
        self.certificates = tuple(certificates)
        self.listeners = tuple((str(listener), listener.sock) for listener in listeners)
        self._facts |= facts

    def hand_over(self) -> dict[str, Any]:
        """Return, as values for JSON, what `adopt` needs in the program that replaces this one in the same process (an
        upgrade, ordered by the signal USR2).
        """
        addresses = [name for name, _ in self.listeners]
        known = {"addresses": addresses, "certificates": list(self.certificates), "facts": self._facts}
        return {**known, "began_s": self._began_s, "dropped_before": self._dropped_before}

    def adopt(self, state: dict[str, Any]) -> None:
        """Take over what the previous program in this process served (before an upgrade, ordered by the signal USR2),
        to be shown until `describe` is called. state: what its `hand_over` has returned. The queues of its listeners
        are not known.
        """
        self.listeners = tuple((name, None) for name in state["addresses"])
        self.certificates = tuple(state["certificates"])
        self._facts |= state["facts"]
        self._began_s = state["began_s"]  # the clock of `monotonic` is that of the machine
        self._dropped_before = state.get("dropped_before", self._dropped_before)

    def tick(self, now_s: float) -> None:
        """Take a sample of the whole table if the last one is SAMPLE_S old or older. now_s: `time.monotonic`."""
        if self._last is not None and now_s - self._last[0] < SAMPLE_S:
            return
        snapshot = self._table.snapshot()
        if self._last is not None:
            self._waited_s += (waiting(snapshot) or 0) * (now_s - self._last[0])
        self._window.add(Sums(now_s, snapshot.total, self._waited_s))
        self._before, self._last = self._last, (now_s, snapshot)
        seen = {row.lanes[PID]: self._look_at(row, now_s) for row in self.described(snapshot)}
        self._shares = {
            pid: _shares(self._seen[pid], each, row_of(snapshot, pid))
            for pid, each in seen.items()
            if pid in self._seen
        }
        self._seen = seen
        if self.on_sample is not None:
            self.on_sample()

    def described(self, snapshot: Snapshot) -> list[Row]:
        """Return the rows of the processes whose details are shown: at most DESCRIBED, without those that live for one
        connection.
        """
        begun = [row for row in snapshot.rows if row.lanes[STARTED_NS]]  # others are being forked
        return [row for row in begun if row.lanes[KIND] != CHILD][:DESCRIBED]

    def _look_at(self, row: Row, now_s: float) -> _Seen:
        pid = row.lanes[PID]
        used = usage(pid)
        loops_s = tuple(wanted_cpu_s(pid, thread) for thread in loop_threads(row.lanes))
        served_s = row.lanes[DURATION_NS] / 1e9
        cpu_s, pool_busy_s = used.cpu_s if used else 0.0, row.lanes[POOL_BUSY_NS] / 1e9
        return _Seen(now_s, cpu_s, loops_s, served_s, answered(row.lanes), pool_busy_s)

    def shares(self, pid: int) -> Shares:
        """Return how busy this process was between the last two samples."""
        return self._shares.get(pid, Shares())

    def has_share(self, pid: int) -> bool:
        """True if two samples of this process were taken, so that its shares are known."""
        return pid in self._shares

    def dropped(self) -> int | None:
        """Return how many connections the queues of this network namespace, those of other servers included, have
        dropped since this server began. None if the kernel does not tell.
        """
        now = connections_dropped()
        return None if now is None or self._dropped_before is None else max(0, now - self._dropped_before)

    def snapshot(self) -> Snapshot:
        return self._table.snapshot()

    def saturation(self) -> float:
        """Return how busy the processes that serve clients are on average (the mean of `Shares.saturation`), from 0 to
        1.
        """
        found = [share.saturation for share in self._shares.values() if share.serves]
        return sum(found) / len(found) if found else 0.0

    # For /status.json

    def status(self) -> dict[str, Any]:
        """Return all figures as plain values for JSON, for /status.json. Durations are in seconds, sizes in bytes."""
        snapshot = self.snapshot()
        total = snapshot.total
        return {
            "septet": __version__,
            **self._facts,
            "pid": os.getpid(),
            "state": self.state(),
            "uptime_s": round(time.monotonic() - self._began_s, 1),
            "saturation": round(self.saturation(), 3),
            "requests": self._requests(snapshot),
            "window_s": WINDOW_S,
            "durations": self._lately(snapshot, durations),
            "workers": workers(snapshot),
            "queue_wait": self._lately(snapshot, lambda lanes: histogram(lanes, QUEUE_WAIT, QUEUE_WAIT_NS)),
            "thread_wait": self._thread_wait(snapshot),
            "loop_lag": self._lately(snapshot, lambda lanes: histogram(lanes, LAG, LAG_SUM_NS)),
            "gil_wait": self._lately(snapshot, lambda lanes: histogram(lanes, GIL_WAIT, GIL_WAIT_NS)),
            "connections": {"accepted": total[ACCEPTED], "open": connections(snapshot)},
            "sent_bytes": total[SENT],
            "tls": tls_status(snapshot, self.certificates, time.time()),
            "http2": http2_status(snapshot),
            "websockets": websocket_status(snapshot),
            "connections_dropped": self.dropped(),
            "listeners": [self._listener(name, sock) for name, sock in self.listeners],
            "restarts": {reason: total[RESTARTS + index] for index, reason in enumerate(REASONS)},
            "running": self._table.running()[:MOST_RUNNING],
            "slowest": self._table.slowest(),
            "events": list(self.events),
            "orders": self.orders(),
            "processes": [self._process(row) for row in self.described(snapshot)],
            "children": sum(row.lanes[KIND] == CHILD for row in snapshot.rows),
        }

    def _requests(self, snapshot: Snapshot) -> dict[str, Any]:
        total = snapshot.total
        by_method: dict[str, int] = {}
        by_status: dict[str, int] = {}
        for (method, kind), count in answers(total).items():
            by_method[method] = by_method.get(method, 0) + count
            by_status[f"{kind}xx"] = by_status.get(f"{kind}xx", 0) + count
        return {
            "answered": sum(by_status.values()),
            "per_s": round(self._per_s(), 1),
            "in_flight": sum(map(in_flight, (row.lanes for row in snapshot.rows))),
            "aborted": total[ABORTED] - total[LOST],
            "lost": total[LOST],
            "timed_out": total[TIMED_OUT],
            "threads_left_behind": left_behind(snapshot),
            "by_status": by_status,
            "by_method": by_method,
        }

    def _per_s(self) -> float:
        if self._before is None or self._last is None:
            return 0.0
        (then_s, before), (now_s, now) = self._before, self._last
        return (answered(now.total) - answered(before.total)) / (now_s - then_s)

    def _lately(self, snapshot: Snapshot, read: Callable[[memoryview], Histogram]) -> dict[str, Any]:
        """Return count, mean and quantiles of the samples of the last WINDOW_S. read: makes the histogram from a row of
        the metrics table.
        """
        late = read(snapshot.total).less(read(self._window.beginning.total))
        return {
            "count": late.count,
            "mean_s": late.sum_s / late.count if late.count else None,
            **{f"p{int(share * 100)}_s": late.quantile(share) for share in (0.5, 0.9, 0.99)},
        }

    def _thread_wait(self, snapshot: Snapshot) -> dict[str, Any] | None:
        """Return how many requests wait for a thread, and for how long one did on average in the last WINDOW_S, by
        Little's law: the mean number that waits, divided by the number of answers per second. None if no process has
        threads for requests.
        """
        count = waiting(snapshot)
        if count is None:
            return None
        oldest = self._window.beginning
        late = answered(self._last[1].total) - answered(oldest.total) if self._last is not None else 0
        mean_s = round((self._waited_s - oldest.waited_s) / late, 4) if late else None
        return {"waiting": count, "mean_s": mean_s}

    def _listener(self, name: str, sock: Any) -> dict[str, Any]:
        queue = None if sock is None else listen_queue(sock)
        return {"address": name} | (
            {} if queue is None else {"queue": queue.depth, "limit": queue.limit, "drops": queue.drops}
        )

    def _process(self, row: Row) -> dict[str, Any]:
        lanes = row.lanes
        pid, now_ns = lanes[PID], time.monotonic_ns()
        shares, used, still_s = self.shares(pid), usage(pid), stands_still_s(lanes, now_ns)
        return {
            "pid": pid,
            "kind": KINDS[lanes[KIND]],
            "uptime_s": round((now_ns - lanes[STARTED_NS]) / 1e9, 1),
            "capacity": lanes[CAPACITY] or None,
            "pool": {"threads": lanes[POOL_THREADS], "requests": lanes[POOL_REQUESTS]} if lanes[POOL_THREADS] else None,
            "in_flight": in_flight(lanes),
            "threads_left_behind": lanes[LEFT_BEHIND],
            "threads_taken": taken(lanes) if lanes[CAPACITY] else None,
            "answered": answered(lanes),
            "connections": lanes[ACCEPTED] - lanes[CLOSED],
            "cpu": round(shares.cpu, 3),
            "saturation": None if lanes[KIND] in IDLE_KINDS else round(shares.saturation, 3),
            "resident_bytes": used.resident_bytes if used else 0,
            "proportional_bytes": self._proportional(pid),
            "loops": [round(share, 3) for share in shares.loops] if len(shares.loops) > 1 else None,
            "loop_lag_s": max(lanes[LAG_NS] / 1e9, round(still_s or 0.0, 1)) if lanes[LOOP_THREAD] else None,
            "beat_age_s": round((now_ns - lanes[BEAT_NS]) / 1e9, 2) if lanes[BEAT_NS] else None,
            "stands_still_s": round(still_s, 1) if still_s is not None else None,
        }

    def _proportional(self, pid: int) -> int | None:
        """Return a process's memory (PSS) in bytes, read again only after PSS_S seconds: the kernel walks through all
        pages of the process for it, which takes milliseconds for a large one. None if it may not be read.
        """
        now = time.monotonic()
        at, known = self._pss.get(pid, (-PSS_S, None))
        if now - at >= PSS_S:
            known = proportional_bytes(pid)
            self._pss = {each: value for each, value in self._pss.items() if now - value[0] < 2 * PSS_S}
            self._pss[pid] = now, known
        return known


def workers(snapshot: Snapshot) -> dict[str, int] | None:
    """Return the number of workers, and the least and the most that are allowed; None if there are no workers."""
    supervisors = [row.lanes for row in snapshot.rows if row.lanes[WORKER_RANGE]]
    if not supervisors:
        return None
    wanted = max(supervisors, key=lambda lanes: lanes[STARTED_NS])[WORKER_RANGE]  # that of the newest generation
    count = sum(row.lanes[KIND] == WORKER for row in snapshot.rows)
    return {"current": count, "min": wanted & 0xFFFFFFFF, "max": wanted >> 32}


def loop_threads(lanes: memoryview) -> list[int]:
    """Return the kernel's ids of the threads that run the event loops and the application. `lanes`: the row of a
    process in the metrics table.
    """
    others = lanes[OTHER_LOOPS : OTHER_LOOPS + MOST_OTHER_LOOPS].tolist()
    return [thread for thread in (lanes[LOOP_THREAD], *others) if thread]


def row_of(snapshot: Snapshot, pid: int) -> Row:
    return next(row for row in snapshot.rows if row.lanes[PID] == pid)


def waiting(snapshot: Snapshot) -> int | None:
    """Return the number of requests that have arrived and wait for a thread; None if no process has threads for
    requests.
    """
    found = [count for row in snapshot.rows if (count := waiting_in(row.lanes)) is not None]
    return sum(found) if found else None


def waiting_in(lanes: memoryview) -> int | None:
    """Return how many requests wait for a thread of a process; None if it has no threads for requests. `lanes`: its row
    of the metrics table.
    """
    if threads := lanes[POOL_THREADS]:
        return int(max(0, lanes[POOL_REQUESTS] - threads))
    return max(0, taken(lanes) - lanes[CAPACITY]) if lanes[CAPACITY] else None


def taken(lanes: memoryview) -> int:
    """Return how many requests of a process have a thread of the server, or wait for one: those in flight, and those
    that `--request-timeout` has ended though their thread goes on. `lanes`: its row of the metrics table.
    """
    return in_flight(lanes) + int(lanes[LEFT_SERVING])


def left_behind(snapshot: Snapshot) -> int:
    """Return how many threads still run the application for requests that were ended by `--request-timeout`."""
    return sum(row.lanes[LEFT_BEHIND] for row in snapshot.rows)


def connections(snapshot: Snapshot) -> int:
    """Return the number of open connections."""
    return sum(max(0, row.lanes[ACCEPTED] - row.lanes[CLOSED]) for row in snapshot.rows)


def _shares(before: _Seen, now: _Seen, row: Row) -> Shares:
    took_s = now.at_s - before.at_s
    cpu = max(0.0, (now.cpu_s - before.cpu_s) / took_s)
    busy = [0.0]
    loops = tuple(
        min(1.0, max(0.0, (late - early) / took_s))
        for late, early in zip(now.loops_s, before.loops_s, strict=False)
        if late is not None and early is not None
    )
    if loops:
        busy.append(sum(loops) / len(loops))
    if threads := row.lanes[POOL_THREADS]:
        busy.append((now.pool_busy_s - before.pool_busy_s) / took_s / threads)
    if capacity := row.lanes[CAPACITY]:
        left = row.lanes[LEFT_SERVING]  # threads that serve no client, and are not free
        busy.append(((now.served_s - before.served_s) / took_s + left) / capacity)
        if now.answered == before.answered:  # requests that run longer are not in the sum of durations yet
            busy.append((in_flight(row.lanes) + left) / capacity)
    elif not loops:
        busy.append(cpu)
    if still := stands_still_s(row.lanes, int(now.at_s * 1e9)) is not None:
        busy.append(1 / max(1, len(loops)))  # a beat is as old as that of the loop whose last beat is the oldest
    return Shares(cpu, min(1.0, max(busy)), row.lanes[KIND] not in IDLE_KINDS, loops, still)
