"""Counts requests in the row of their process, for sessions that begin and end them.

`--metrics-bind` may cost a request little: its steps are counted in `tests/speed`. So

- the counts are kept in lists of the process, which cost a third of shared memory, and are added to the row now and
  then (`flush`), at the latest after a quarter of a second (`monitor.BEAT_S`). A process that is killed takes with it
  what it has counted since.
- all answers are counted, but beyond BUSY_PER_S requests a second duration and size of one in SPARSE are measured, and
  count SPARSE times: the clock alone would cost more than all the rest.

Under the interpreter's global lock `counts[status] += 1` needs no lock of its own: a thread gives way at calls and at
the end of loops alone, and there is none between reading and writing. Without the global lock each method takes one.
"""

import socket
import sys
from itertools import compress
from threading import Lock
from time import monotonic_ns
from typing import Any

from septet.metrics.lanes import (
    ABORTED,
    ACCEPTED,
    ANSWERS,
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
"""Requests that begin so long after the last flush cause one. The kernel is asked then how long the request waited,
which costs a microsecond."""

BUSY_PER_S = 2000
SPARSE = 32
"""A power of two."""

_STATUSES = 600

_LAST_DATA_RECEIVED = 52
"""Offset of tcpi_last_data_recv in struct tcp_info (linux/tcp.h): milliseconds since data came last."""


class RequestMetrics:
    """A `rules.Observer`. For all threads of a process, and after a fork."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.alone = True
        """No other observer measures the duration of each request."""
        self._flushed_at_ns = self._flush_at_ns = 0
        self._mask = 0
        """Of `_begun`: a request is measured if these bits are 0."""
        self._begun = self._flushed = 0
        self._slow = SlowRequests()
        self._answers: dict[str, list[int]] = {}
        """Numbers by status, by method."""

    def began(self, exchange: ServerExchange) -> None:
        self._begun = begun = self._begun + 1
        if begun & self._mask:
            exchange.observer_state = 0
            return
        exchange.observer_state = now = monotonic_ns()
        if now > self._flush_at_ns:
            self._sample(exchange, now)

    def ended(self, exchange: Any) -> None:
        began = exchange.observer_state
        if began is None:  # an answer to what was no request
            self._begun += 1
            self._count("other", exchange.status)
            return
        exchange.observer_state = None
        try:
            self._answers[exchange.request.method][exchange.http.status] += 1  # `status` is a property, and slower
        except (KeyError, AttributeError):
            self._count(exchange.request.method, exchange.status)
        if began:
            self._measured(exchange, began, monotonic_ns() - began)

    def aborted(self, exchange: ServerExchange) -> None:
        exchange.observer_state = None
        self._table.row[ABORTED] += 1

    def _measured(self, exchange: ServerExchange, began_ns: int, took_ns: int) -> None:
        row, weight = self._table.row, self._mask + 1
        row[SENT] += exchange.sent * weight
        row[DURATION + bucket(took_ns)] += weight
        row[DURATION_NS] += took_ns * weight
        if took_ns > self._slow.threshold_ns:
            self._slow.keep(row, exchange, began_ns, took_ns)

    def _count(self, method: str, status: int) -> None:
        """Count an answer. `ended` does so by itself for a method that is known and that has come before."""
        self._answers.setdefault(method if method in METHODS else "other", [0] * _STATUSES)[status] += 1

    def flush(self) -> None:
        """Add to the row what was not added yet."""
        row = self._table.row
        self._slow.refresh()
        begun = self._begun
        row[BEGUN] += begun - self._flushed
        self._flushed = begun
        for method, counts in list(self._answers.items()):
            first = ANSWERS + METHODS.index(method) * CLASSES
            for status in compress(range(_STATUSES), counts):
                count = counts[status]
                counts[status] -= count
                row[first + status // 100] += count

    def _sample(self, exchange: Any, now_ns: int) -> None:
        """Flush, see how busy the process is, and ask the kernel how long this request waited."""
        begun, since_ns = self._begun - self._flushed, now_ns - self._flushed_at_ns
        self._mask = SPARSE - 1 if self.alone and begun * 1_000_000_000 > BUSY_PER_S * since_ns else 0
        self._flushed_at_ns, self._flush_at_ns = now_ns, now_ns + FLUSH_NS
        self.flush()
        wait_ms = exchange.unread_ms()
        if wait_ms is not None:
            row = self._table.row
            row[QUEUE_WAIT + bucket(wait_ms * 1_000_000)] += 1
            row[QUEUE_WAIT_NS] += wait_ms * 1_000_000

    def connected(self) -> None:
        """A client was accepted."""
        self._table.row[ACCEPTED] += 1

    def disconnected(self) -> None:
        self._table.row[CLOSED] += 1
        self.flush()


class LockedRequestMetrics(RequestMetrics):
    """For an interpreter without a global lock."""

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self._lock = Lock()

    def began(self, exchange: ServerExchange) -> None:
        with self._lock:
            super().began(exchange)

    def ended(self, exchange: ServerExchange) -> None:
        with self._lock:
            super().ended(exchange)

    def aborted(self, exchange: ServerExchange) -> None:
        with self._lock:
            super().aborted(exchange)

    def connected(self) -> None:
        with self._lock:
            super().connected()

    def disconnected(self) -> None:
        with self._lock:
            super().disconnected()


def request_metrics(table: Table) -> RequestMetrics:
    """The observer for this interpreter."""
    has_gil: Any = getattr(sys, "_is_gil_enabled", None)  # since Python 3.13
    return RequestMetrics(table) if has_gil is None or has_gil() else LockedRequestMetrics(table)


def unread_ms(sock: socket.socket) -> int | None:
    """Milliseconds since the client's last bytes came, which have just been read; None if the kernel does not tell, as
    for unix sockets. Its clock has a resolution of 1 to 10 ms (CONFIG_HZ)."""
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_RECEIVED + 4)
    except OSError:
        return None
    return int.from_bytes(info[_LAST_DATA_RECEIVED:], sys.byteorder) if len(info) > _LAST_DATA_RECEIVED else None
