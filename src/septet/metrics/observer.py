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

Under the interpreter's global lock no lock is needed. Sets and deques change in one step. A sum of two of them may be
wrong for an instant, but then it is too low, and `flush` ignores what is lower than before. Without the global lock
each method takes a lock.
"""

import socket
import sys
from collections import deque
from collections.abc import Callable
from threading import RLock
from time import monotonic_ns
from typing import Any

from septet.interpreter import has_gil
from septet.metrics.lanes import (
    ABORTED,
    ACCEPTED,
    ANSWERS,
    ANSWERS_END,
    BEGUN,
    CLASSES,
    CLOSED,
    DURATION,
    DURATION_NS,
    METHODS,
    QUEUE_WAIT,
    QUEUE_WAIT_NS,
    SENT,
    bucket,
)
from septet.metrics.slow import SlowRequests
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

    def ended(self, exchange: Any) -> None:
        try:
            self._in_flight.remove(exchange)
            self._answers[exchange.request.method][exchange.http.status].pop()  # `status` is a property, and slower
            return
        except (IndexError, KeyError, AttributeError):
            began_ns = self._measured.pop(exchange, None)
        if not exchange.request.target:  # an answer to what was no request
            self._count("other", exchange.status)
            return
        self._count(exchange.request.method, exchange.status)
        if began_ns is not None:
            exchange.observer_state = None
            self._measure(exchange, began_ns, monotonic_ns() - began_ns)

    def _measure(self, exchange: ServerExchange, began_ns: int, took_ns: int) -> None:
        row, weight = self._table.row, SPARSE if self._sparse else 1
        row[SENT] += exchange.sent * weight
        row[DURATION + bucket(took_ns)] += weight
        row[DURATION_NS] += took_ns * weight
        if took_ns > self._slow.threshold_ns:
            self._slow.keep(row, exchange, began_ns, took_ns)

    def closed(self, exchange: ServerExchange) -> None:
        if exchange in self._in_flight or exchange in self._measured:
            self._in_flight.discard(exchange)
            self._measured.pop(exchange, None)
            exchange.observer_state = None
            self._table.row[ABORTED] += 1

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
        for kind in list(self._kinds.values()):
            taken = kind.take()
            row[kind.lane] += taken  # a call in this statement would let another thread's addition be lost
        begun = sum(row[ANSWERS:ANSWERS_END]) + row[ABORTED] + len(self._in_flight) + len(self._measured)
        row[BEGUN] = max(row[BEGUN], begun)

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
