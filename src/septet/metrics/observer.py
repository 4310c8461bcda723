"""Counts requests in the row of their process, for sessions that end and begin them.

`--metrics-bind` may cost a request little, so there is one increment for all that is counted of an answer: a cell for
each method, class of status and bucket of the duration. The sums that a reader wants are made when it asks.

Under the interpreter's global lock `row[lane] += 1` needs no lock of its own: a thread gives way at calls and at the
end of loops alone, and there is none between reading and writing the lane. Without the global lock each method takes
one.
"""

import socket
import sys
from threading import Lock
from time import monotonic_ns
from typing import Any

from septet.metrics.lanes import (
    ABORTED,
    ACCEPTED,
    BEGUN,
    BUCKETS,
    CLASSES,
    CLOSED,
    DURATION_NS,
    FIRST_CELL,
    OTHER_CELL,
    QUEUE_WAIT,
    QUEUE_WAIT_NS,
    SENT,
    UNIT_NS,
    bucket,
)
from septet.metrics.table import Table
from septet.protocol import ServerExchange

SAMPLE_NS = 10_000_000
"""The kernel is asked for the wait of one request in this time, in each process; it costs a microsecond."""

_LAST_DATA_RECEIVED = 52
"""Offset of tcpi_last_data_recv in struct tcp_info (linux/tcp.h): milliseconds since data came last."""


class RequestMetrics:
    """A `rules.Observer`. For all threads of a process, and after a fork."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._flush_at_ns = 0
        self._duration_ns = [0] * CLASSES
        """Sums that were not added to the row yet: to add to a list costs half as much."""
        self._sent = 0

    def began(self, exchange: ServerExchange) -> None:
        self._table.row[BEGUN] += 1
        exchange.observer_state = now = monotonic_ns()
        if now > self._flush_at_ns:
            self._sample(exchange, now)

    def ended(self, exchange: ServerExchange) -> None:
        began = exchange.observer_state
        if began is None:  # an answer to what was no request
            self._count_answer_without_request(exchange)
            return
        exchange.observer_state = None
        took = monotonic_ns() - began
        kind = exchange.status // 100
        self._duration_ns[kind] += took
        self._sent += exchange.sent
        self._table.row[
            FIRST_CELL.get(exchange.request.method, OTHER_CELL) + kind * BUCKETS + (took // UNIT_NS).bit_length()
        ] += 1

    def aborted(self, exchange: ServerExchange) -> None:
        exchange.observer_state = None
        self._table.row[ABORTED] += 1

    def _count_answer_without_request(self, exchange: ServerExchange) -> None:
        row = self._table.row
        row[BEGUN] += 1
        row[OTHER_CELL + exchange.status // 100 * BUCKETS] += 1
        row[SENT] += exchange.sent

    def flush(self) -> None:
        """Add to the row what was not added yet."""
        row = self._table.row
        for kind, duration_ns in enumerate(self._duration_ns):
            if duration_ns:
                self._duration_ns[kind] -= duration_ns
                row[DURATION_NS + kind] += duration_ns
        sent, self._sent = self._sent, 0
        row[SENT] += sent

    def _sample(self, exchange: Any, now_ns: int) -> None:
        self._flush_at_ns = now_ns + SAMPLE_NS
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
