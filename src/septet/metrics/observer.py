"""Counts the requests of a process in its row of the metrics table. Sessions tell it when a request begins and ends.

Counting must cost a request little time (`tests/metrics/test_cost.py` counts the steps). So

- the counts are kept in objects of the process, which cost a third of shared memory, and are added to the row now and
  then (`flush`), at the latest after a quarter of a second (`monitor.BEAT_S`). A process that is killed takes with it
  what it has counted since.
- all answers are counted, but beyond BUSY_PER_S requests a second the duration and size of only one request in SPARSE
  are measured, and are added SPARSE times: the clock alone would cost more than all the rest.
- what is done for a request that is not measured is left to C: it is added to a set when it begins (`began` is the
  method of the set then, so that no Python runs), and when it ends it is removed, and a mark (a placeholder) is taken
  from a deque. The number of answers is the number of marks that were ever put into the deque, less those that are
  still there. When none is left, marks are added, and the next request is measured: so no step is needed to find out
  which request is the next to be measured.

- how long a request runs that is not measured is found out from outside: four times a second a thread takes those that
  are in flight out of the set, and notes the time (`note_running`). So a request that lasts is known with its age,
  less the quarter of a second before it was seen, and the others have paid nothing.

Under the interpreter's global lock no lock is needed, but for that one move. Sets and deques change in one step. A sum
of two of them may be wrong for an instant, but then it is too low, and `flush` ignores what is lower than before.
Without the global lock each method takes a lock.
"""

import random
import socket
import sys
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from threading import Lock, RLock
from time import monotonic_ns
from typing import Any

from septet.interpreter import has_gil
from septet.metrics import running
from septet.metrics.lanes import (
    ABORTED,
    ACCEPTED,
    ANSWERS,
    ANSWERS_END,
    BEGUN,
    CHILD,
    CLASSES,
    CLOSED,
    DURATION,
    DURATION_NS,
    KIND,
    METHODS,
    QUEUE_WAIT,
    QUEUE_WAIT_NS,
    RUNNING,
    SENT,
    bucket,
)
from septet.metrics.slow import SlowRequests, outcome_of
from septet.metrics.table import Table
from septet.protocol import ServerExchange

FLUSH_NS = 20_000_000
"""Nanoseconds since the last flush (the addition of counts to the table of metrics) after which the next request that
begins causes another flush. Only for such a request the kernel is asked how long its bytes lay unread, which costs a
microsecond.
"""

BUSY_PER_S = 4000
SPARSE = 64
_MARKS = (None,) * (SPARSE - 1)

THREAD_AFTER_NS = 1_000_000_000
"""Nanoseconds for which a request runs before its thread is looked for: that walks through the stacks of all threads.
"""
MOST_SEEN = 256
"""The largest number of requests in flight of which `note_running` notes the time in one call. If there are more, they
are chosen at random.
"""

_LAST_DATA_RECEIVED = 52
"""Offset of tcpi_last_data_recv in struct tcp_info (linux/tcp.h): milliseconds since data came last."""


class _Answers:
    """Counts the answers with one method and one status. Each answer takes a placeholder (mark) from a deque, which
    needs no lock; the number of marks that are gone is the count.
    """

    __slots__ = ("_counted", "_given", "lane", "marks")

    def __init__(self, lane: int) -> None:
        self.lane = lane
        self.marks: deque[None] = deque()
        """A deque of placeholders, of which each answer takes one."""
        self._given = self._counted = 0

    def refill(self) -> None:
        """Called when an answer finds no mark in the deque `marks`: count that answer, and put new marks into the
        deque.
        """
        self.marks.extend(_MARKS)  # first: in between, the number of answers is too low
        self._given += SPARSE

    def take(self) -> int:
        """Return the number of answers since the last call. It is never negative: while another thread puts new marks
        into the deque, the count is too low for an instant, and 0 is returned then.
        """
        count = self._given - len(self.marks)
        new = count - self._counted
        if new <= 0:
            return 0
        self._counted += new  # no call since `_counted` was read, so that no other thread has counted the same
        return new


class RequestMetrics:
    """Counts the requests of a process. Implements `rules.Observer`. All threads may use it, and it goes on working
    after a fork.
    """

    began: Callable[[Any], object]
    """The function that a session calls with the exchange of a request that begins: a method of this object if the
    request is measured; `set.add`, which is faster, if it is only counted.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self.alone = True
        """True if no other observer measures the duration of each request, so that only a sample of them need be
        measured.
        """
        self._flushed_at_ns = self._flush_at_ns = 0
        self._flushed = 0
        """Number of requests that had begun when `_sample` last added the counts to the table of metrics."""
        self._sparse = False
        """True if only one in SPARSE requests is measured, because there are many a second; False if all are."""
        self._slow = SlowRequests()
        self._in_flight: set[Any] = set()
        """Exchanges in flight whose duration is not measured."""
        self._measured: dict[Any, int] = {}
        """Exchanges in flight whose duration is measured, and when each began, in nanoseconds of `time.monotonic_ns`.
        """
        self._seen: dict[Any, int] = {}
        """Exchanges that were in `_in_flight` when `note_running` looked, and when that was, in nanoseconds of
        `time.monotonic_ns`.
        """
        self._moving = Lock()
        """Held while an exchange is moved from `_in_flight` to `_seen`."""
        self.find_threads: Callable[[], dict[Any, int]] = dict
        """Returns, for each exchange for which a thread runs a WSGI application, the kernel's id of that thread. The
        process model sets it.
        """
        self._threads: dict[Any, int] = {}
        """What `find_threads` has returned of the exchanges that are described in the row."""
        self._answers: dict[str, dict[int, deque[None]]] = {}
        """For each method and each status: the deque `marks` of its `_Answers`."""
        self._kinds: dict[tuple[str, int], _Answers] = {}
        self._use(self._begin_measured)

    def _use(self, began: Callable[[Any], object]) -> None:
        self.began = began

    def _begin_measured(self, exchange: ServerExchange) -> None:
        if self._sparse:
            self._use(self._in_flight.add)
        exchange.observer_state = self._measured[exchange] = now = monotonic_ns()
        if now > self._flush_at_ns:
            self._sample(exchange, now)
        if self._table.row[KIND] == CHILD:
            self._note_at_once()

    def ended(self, exchange: Any) -> None:
        try:
            self._in_flight.remove(exchange)
            self._answers[exchange.request.method][exchange.http.status].pop()  # `status` is a property, and slower
            return
        except (IndexError, KeyError, AttributeError):
            began_ns = self._measured.pop(exchange, None)
        seen_ns = self._forget_seen(exchange) if began_ns is None else None
        if not exchange.request.target:  # an answer to what was no request
            self._count("other", exchange.status)
            return
        self._count(exchange.request.method, exchange.status)
        if began_ns is not None:
            exchange.observer_state = None
            self._measure(exchange, began_ns, monotonic_ns() - began_ns)
        elif seen_ns is not None:
            self._keep_if_slow(exchange, seen_ns, monotonic_ns() - seen_ns, True)

    def _forget_seen(self, exchange: Any) -> int | None:
        """Remove an exchange from `_seen`, and return when it was seen first; None if it is not there."""
        with self._moving:  # if it is just being moved, then it is there now
            return self._seen.pop(exchange, None)

    def _measure(self, exchange: ServerExchange, began_ns: int, took_ns: int) -> None:
        row, weight = self._table.row, SPARSE if self._sparse else 1
        row[SENT] += exchange.sent * weight
        row[DURATION + bucket(took_ns)] += weight
        row[DURATION_NS] += took_ns * weight
        self._keep_if_slow(exchange, began_ns, took_ns, True)
        if row[KIND] == CHILD:
            self._take_answers()
            self._note_at_once()

    def _keep_if_slow(self, exchange: ServerExchange, began_ns: int, took_ns: int, complete: bool) -> None:
        """Keep a request that has ended among the slowest, if it is one of them. `complete`: its answer was sent."""
        if took_ns > self._slow.threshold_ns and not running.is_websocket(exchange):
            outcome = outcome_of(exchange, complete)
            self._slow.keep(self._table.row, exchange, began_ns, took_ns, outcome)

    def closed(self, exchange: ServerExchange) -> None:
        began_ns = self._measured.pop(exchange, None) or self._forget_seen(exchange)
        if began_ns is None:
            if exchange not in self._in_flight:
                return
            self._in_flight.discard(exchange)
        else:
            self._keep_if_slow(exchange, began_ns, monotonic_ns() - began_ns, False)
        exchange.observer_state = None
        self._table.row[ABORTED] += 1
        if self._table.row[KIND] == CHILD:
            self._note_at_once()

    def _count(self, method: str, status: int) -> None:
        """Count an answer for which `ended` found no mark (a placeholder in the deque `_Answers.marks`) to take: the
        first answer with its method and status, or one after SPARSE others. Also puts new marks into the deque if it is
        empty.
        """
        known = method if method in METHODS else "other"
        kind = self._kinds.get((known, status))
        if kind is None:
            new = _Answers(ANSWERS + METHODS.index(known) * CLASSES + status // 100)
            kind = self._kinds.setdefault((known, status), new)  # another thread may have been first
            self._answers.setdefault(known, {})[status] = kind.marks
        try:
            kind.marks.pop()
        except IndexError:
            kind.refill()
            if self._sparse:
                self._use(self._begin_measured)

    def flush(self) -> None:
        """Add what was counted since the last flush to the process's row of the table."""
        row = self._table.row
        self._slow.refresh()
        self._take_answers()
        # `_seen` before `_in_flight`: a request that is moved in between is missing then, and not counted twice.
        in_flight = len(self._seen) + len(self._in_flight) + len(self._measured)
        begun = sum(row[ANSWERS:ANSWERS_END]) + row[ABORTED] + in_flight
        row[BEGUN] = max(row[BEGUN], begun)

    def _take_answers(self) -> None:
        row = self._table.row
        for kind in list(self._kinds.values()):
            taken = kind.take()
            row[kind.lane] += taken  # a call in this statement would let another thread's addition be lost

    def note_running(self) -> None:
        """Add the counts to the process's row of the table, and describe there the requests that have been in flight
        for a while. Called about four times a second, by a thread that runs even if an event loop of this process is
        blocked.
        """
        self.flush()
        now_ns = monotonic_ns()
        self._see(now_ns)
        known = {**self._measured, **self._seen}
        late = [(exchange, at_ns) for exchange, at_ns in known.items() if now_ns - at_ns >= running.LEAST_NS]
        # First those that have no answer at all: streams may last for days.
        late = sorted(late, key=lambda each: (bool(each[0].status), each[1]))[: running.MOST]
        threads = self._threads_of([exchange for exchange, at_ns in late if now_ns - at_ns >= THREAD_AFTER_NS])
        found = [running.describe(exchange, at_ns, threads.get(exchange)) for exchange, at_ns in late]
        running.write(self._table.row, sorted(each for each in found if each is not None))

    def _threads_of(self, exchanges: Sequence[Any]) -> dict[Any, int]:
        """Return, by exchange, the threads that run a WSGI application for these, as far as `find_threads` knows. It is
        asked again only if there is an exchange whose thread is not known.
        """
        if any(each not in self._threads for each in exchanges):
            self._threads |= self.find_threads()
        self._threads = {each: self._threads[each] for each in exchanges if each in self._threads}
        return self._threads

    def _note_at_once(self) -> None:
        """Describe the requests in flight in a process that lives for one connection, and has no thread to call
        `note_running`. Called whenever one begins or ends.
        """
        if not self._measured:
            self._table.row[RUNNING] = 0
            return
        described = (
            running.describe(*each, None, True) for each in islice(self._measured.copy().items(), running.MOST)
        )
        running.write(self._table.row, [each for each in described if each is not None])

    def _see(self, now_ns: int) -> None:
        """Move requests from `_in_flight` to `_seen`."""
        found = list(self._in_flight.copy())
        for exchange in found if len(found) <= MOST_SEEN else random.sample(found, MOST_SEEN):
            with self._moving:
                try:
                    self._in_flight.remove(exchange)
                except KeyError:  # it has ended meanwhile
                    continue
                self._seen[exchange] = now_ns

    def _sample(self, exchange: Any, now_ns: int) -> None:
        """Flush the counts into the table, decide whether all requests or one in SPARSE are measured from now on, and
        ask the kernel how long the bytes of this request lay unread.
        """
        self.flush()
        row = self._table.row
        begun, since_ns = row[BEGUN] - self._flushed, now_ns - self._flushed_at_ns
        self._sparse = self.alone and begun * 1_000_000_000 > BUSY_PER_S * since_ns
        self._use(self._in_flight.add if self._sparse else self._begin_measured)
        self._flushed = row[BEGUN]
        self._flushed_at_ns, self._flush_at_ns = now_ns, now_ns + FLUSH_NS
        wait_ms = exchange.unread_ms()
        if wait_ms is not None:
            row[QUEUE_WAIT + bucket(wait_ms * 1_000_000)] += 1
            row[QUEUE_WAIT_NS] += wait_ms * 1_000_000

    def connected(self) -> None:
        """Count a client that was accepted."""
        self._table.row[ACCEPTED] += 1

    def disconnected(self) -> None:
        self._table.row[CLOSED] += 1
        self.flush()


class LockedRequestMetrics(RequestMetrics):
    """Counts requests under an interpreter without a global interpreter lock (GIL): each method takes a lock."""

    def __init__(self, table: Table) -> None:
        self._lock = RLock()
        super().__init__(table)

    def _use(self, began: Callable[[Any], object]) -> None:
        def locked(exchange: Any) -> None:
            with self._lock:
                began(exchange)

        self.began = locked

    def ended(self, exchange: Any) -> None:
        with self._lock:
            super().ended(exchange)

    def closed(self, exchange: ServerExchange) -> None:
        with self._lock:
            super().closed(exchange)

    def flush(self) -> None:
        with self._lock:
            super().flush()

    def note_running(self) -> None:
        with self._lock:
            super().note_running()

    def connected(self) -> None:
        with self._lock:
            super().connected()

    def disconnected(self) -> None:
        with self._lock:
            super().disconnected()


def request_metrics(table: Table) -> RequestMetrics:
    """Return an observer that counts in `table`: a `RequestMetrics` if the interpreter has a global lock, else a
    `LockedRequestMetrics`.
    """
    return RequestMetrics(table) if has_gil() else LockedRequestMetrics(table)


def unread_ms(sock: socket.socket) -> int | None:
    """Return for how many milliseconds the client's last bytes, which have just been read, were in the kernel. None if
    the kernel does not tell, as for unix sockets. The kernel's clock has a resolution of 1 to 10 ms (CONFIG_HZ).
    """
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_RECEIVED + 4)
    except OSError:
        return None
    return int.from_bytes(info[_LAST_DATA_RECEIVED:], sys.byteorder) if len(info) > _LAST_DATA_RECEIVED else None
