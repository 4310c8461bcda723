"""The requests that a process has in flight, as text in the second page of its row: what runs now, and since when.

Only the process of the row writes there, about four times a second (`monitor.BEAT_S`), and only about requests that run
for LEAST_NS or longer. So a request costs nothing for it, and a busy server with quick requests writes nothing. A
process that was killed leaves the text of its last moments.

The page has two halves. A writer uses the one that readers do not look at, and then changes the column RUNNING, which
names the half and the length of its text. So a reader seldom finds a text that is being changed; such a text is not
valid JSON, and is ignored.
"""

import json
import time
from collections.abc import Iterable
from typing import Any

from septet.metrics.lanes import FIRST_PAGE_LANES, PID, ROW_LANES, RUNNING

LEAST_NS = 100_000_000
"""A request is described when it has run for this many nanoseconds."""
MOST = 20
"""The largest number of requests that are described in one row, if there is room for their text."""
LONGEST_TARGET = 80
"""The largest number of characters of a request's target that are kept; the rest is cut off."""

_encode = json.JSONEncoder(separators=(",", ":")).encode

_HALF = (ROW_LANES - FIRST_PAGE_LANES) * 4
"""Bytes of half a page."""
_IN_SECOND_HALF = 1 << 32

Request = dict[str, Any]
"""A request in flight: pid; began_ns (CLOCK_MONOTONIC) and age_s; method, target; client (its address; None: not known,
or on a unix socket); thread (the kernel's id of the thread that runs a WSGI application for it; None: none does, or it
is not known); begun (True if its answer has begun; None: not known); status (that of its answer, if that has begun;
else None); client_ended (True if its client sends no
more: it has left, or waits for the answer alone. Where a thread runs the application, the client is not looked at).
"""


def is_websocket(exchange: Any) -> bool:
    """True if a request has become a WebSocket, which may last for days."""
    return bool(exchange.status == 101 or (exchange.request.method == "CONNECT" and exchange.status))


def describe(exchange: Any, began_ns: int, thread: int | None, once: bool = False) -> list[Any] | None:
    """Return the description of a request, as `write` takes it. None: it is over, or a WebSocket. `once`: the request
    begins, and is not described again, so that nothing is said of its answer.
    """
    request, status = exchange.request, exchange.status
    if not request.target or is_websocket(exchange):
        return None
    client = request.client or exchange.client
    target = request.target.decode("latin-1")[:LONGEST_TARGET]
    ended = bool(exchange.gone or exchange.half_closed)
    state = None if once else status
    return [began_ns, request.method[:10], target, client[0] if client else None, thread, state, ended]


def write(row: memoryview, described: Iterable[list[Any]]) -> None:
    """Write the descriptions of requests into a row of the metrics table, as many as there is room for. `row`: the
    row's 64-bit integers. A row of one page, which is that of a process that no other process sees, is left alone.
    """
    if len(row) < ROW_LANES:
        return
    parts: list[bytes] = []
    length = 2
    for each in described:
        part = _encode(each).encode()
        length += len(part) + 1
        if length > _HALF:
            break
        parts.append(part)
    if not parts:
        row[RUNNING] = 0
        return
    text = b"[%s]" % b",".join(parts)
    second = not row[RUNNING] & _IN_SECOND_HALF
    start = FIRST_PAGE_LANES * 8 + second * _HALF
    row.cast("B")[start : start + len(text)] = text
    row[RUNNING] = second * _IN_SECOND_HALF | len(text)


def read(row: memoryview) -> list[Request]:
    """Return the requests that a row of the metrics table describes and that have run for LEAST_NS, the oldest
    first.
    """
    place, pid, now_ns = row[RUNNING], row[PID], time.monotonic_ns()
    length = place & (_IN_SECOND_HALF - 1)
    if not 0 < length <= _HALF:
        return []
    start = FIRST_PAGE_LANES * 8 + bool(place & _IN_SECOND_HALF) * _HALF
    try:
        found = json.loads(bytes(row.cast("B")[start : start + length]))
        return [
            {
                "pid": pid,
                "began_ns": began_ns,
                "age_s": round((now_ns - began_ns) / 1e9, 1),
                "method": method,
                "target": target,
                "client": client,
                "thread": thread,
                "status": status or None,
                "begun": None if status is None else bool(status),
                "client_ended": ended,
            }
            for began_ns, method, target, client, thread, status, ended in found
            if now_ns - began_ns >= LEAST_NS
        ]
    except (ValueError, TypeError):  # it was being changed
        return []
