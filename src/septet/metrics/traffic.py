"""Counts TLS handshakes, WebSockets and their messages, for the sessions that carry them.

Events that come once or twice in the life of a connection are added to the process's row at once. Messages and bytes
are kept in a list, as in `metrics.observer`, and added to the row at the latest after `monitor.BEAT_S` (`flush`); under
`forking`, whose processes do not live that long, when the connection ends. If a process is killed, counts since the
last flush are lost.
"""

from threading import Lock

from septet.interpreter import has_gil
from septet.metrics.lanes import (
    COUNTERS_END,
    HTTP2_CONNECTIONS,
    HTTP2_FLOODS,
    HTTP2_REQUESTS,
    HTTP2_RESETS,
    TLS_CLOSED,
    TLS_FAILED,
    TLS_FAILURES,
    TLS_HANDSHAKES,
    TLS_VERSIONS,
    WS_ACCEPTED,
    WS_CLOSED,
    WS_ENDS,
    WS_RECEIVED,
    WS_RECEIVED_BYTES,
    WS_REFUSED,
    WS_SENT,
    WS_SENT_BYTES,
)
from septet.metrics.table import Table

_CLASSES = {
    1000: "normal",
    1001: "going away",
    1006: "without a word",
    1011: "internal error",
    **dict.fromkeys((1002, 1003, 1007, 1009, 1010), "protocol error"),
    **dict.fromkeys((1012, 1013), "restart"),
}


class TrafficMetrics:
    """Counts TLS handshakes, HTTP/2 streams and WebSockets; implements `rules.Traffic`. All threads of a process may
    use it, and it goes on working after a fork. No lock is needed under the interpreter's global lock: an addition
    calls no function, so no other thread runs in the middle of it.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._counts = [0] * COUNTERS_END
        """Counts that are not yet added to the process's row of the metrics table, by the index of their column."""

    def flush(self) -> None:
        """Add what was counted since the last flush to the process's row of the table."""
        row, counts = self._table.row, self._counts
        for lane in _KEPT:
            if count := counts[lane]:
                counts[lane] -= count
                row[lane] += count

    def _add(self, lane: int) -> None:
        self._table.row[lane] += 1

    # TLS

    def shaken(self, version: str, resumed: bool) -> None:
        if version in TLS_VERSIONS:
            self._add(TLS_HANDSHAKES + 2 * TLS_VERSIONS.index(version) + resumed)

    def not_shaken(self, why: str) -> None:
        self._add(TLS_FAILED + TLS_FAILURES.index(why if why in TLS_FAILURES else "protocol"))

    def tls_closed(self) -> None:
        self._add(TLS_CLOSED)

    # HTTP/2

    def http2_opened(self) -> None:
        self._add(HTTP2_CONNECTIONS)

    def http2_request(self) -> None:
        self._counts[HTTP2_REQUESTS] += 1

    def http2_reset(self) -> None:
        self._counts[HTTP2_RESETS] += 1

    def http2_flooded(self) -> None:
        self._add(HTTP2_FLOODS)

    # WebSockets

    def websocket_opened(self) -> None:
        self._add(WS_ACCEPTED)

    def websocket_refused(self) -> None:
        self._add(WS_REFUSED)

    def websocket_closed(self, code: int) -> None:
        kind = _CLASSES.get(code) or ("application" if 3000 <= code < 5000 else "other")
        self._add(WS_CLOSED + WS_ENDS.index(kind))

    def message_received(self) -> None:
        self._counts[WS_RECEIVED] += 1

    def message_sent(self) -> None:
        self._counts[WS_SENT] += 1

    def bytes_received(self, count: int) -> None:
        self._counts[WS_RECEIVED_BYTES] += count

    def bytes_sent(self, count: int) -> None:
        self._counts[WS_SENT_BYTES] += count


class LockedTrafficMetrics(TrafficMetrics):
    """Counts under an interpreter without a global lock: each addition takes a lock."""

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self._lock = Lock()

    def flush(self) -> None:
        with self._lock:
            super().flush()

    def _add(self, lane: int) -> None:
        with self._lock:
            super()._add(lane)

    def http2_request(self) -> None:
        with self._lock:
            super().http2_request()

    def http2_reset(self) -> None:
        with self._lock:
            super().http2_reset()

    def message_received(self) -> None:
        with self._lock:
            super().message_received()

    def message_sent(self) -> None:
        with self._lock:
            super().message_sent()

    def bytes_received(self, count: int) -> None:
        with self._lock:
            super().bytes_received(count)

    def bytes_sent(self, count: int) -> None:
        with self._lock:
            super().bytes_sent(count)


def traffic_metrics(table: Table) -> TrafficMetrics:
    """Return an object that counts in `table`: a `TrafficMetrics` if the interpreter has a global lock, else a
    `LockedTrafficMetrics`.
    """
    return TrafficMetrics(table) if has_gil() else LockedTrafficMetrics(table)


_KEPT = (HTTP2_REQUESTS, HTTP2_RESETS, WS_RECEIVED, WS_SENT, WS_RECEIVED_BYTES, WS_SENT_BYTES)
"""The columns of the metrics table whose counts are kept in a list until `flush`."""
