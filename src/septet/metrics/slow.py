"""The slowest requests of the last minutes, as text in the row of each process.

A row has room for a few. Only its process writes there, and seldom: a request is kept if it took longer than
MINIMUM_NS, and longer than the quickest recent one that is kept. A reader that comes during a write finds text that is
not valid JSON, and ignores it.
"""

import json
import time
from typing import Any

from septet.metrics.lanes import LEFT_BEHIND, SLOW
from septet.metrics.running import Request

KEPT = 8
"""The largest number of slow requests that are kept in a process's row of the table."""
RECENT_S = 300.0
MINIMUM_NS = 10_000_000
LONGEST_TARGET = 80
"""The largest number of characters of a request's target that are kept; the rest is cut off."""

_LENGTH = SLOW * 8
_TEXT = _LENGTH + 8
ROOM = LEFT_BEHIND * 8 - _TEXT

ANSWERED = "answered"
TIMED_OUT = "timed out"
CUT = "cut"
CLIENT_LEFT = "client left"
PROCESS_ENDED = "process ended"

Record = dict[str, Any]
"""One slow request: at (when it ended, in seconds since 1970), ms, method, target; status, None if no answer has begun;
outcome; and queue_ms, app_ms and send_ms if the session has noted them.

Outcomes: ANSWERED, to the last byte; TIMED_OUT, ended by `--request-timeout`, with the status 504 or in the middle of
its answer; CUT, its connection was ended by the server before the answer was complete, because of another deadline, a
failure of the application, or a stop; CLIENT_LEFT before that; PROCESS_ENDED, its process was killed or has ended.
"""


class SlowRequests:
    """The slowest requests of one process in the last minutes."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self.threshold_ns = MINIMUM_NS
        """A request is kept only if it took longer than this many nanoseconds: MINIMUM_NS, or, if KEPT requests are
        kept already, the duration of the quickest of them.
        """

    def keep(self, row: memoryview, exchange: Any, began_ns: int, took_ns: int, outcome: str) -> None:
        """Add a request to those that are kept, drop the quickest if there are too many, and write them into the row.
        `began_ns` is on the monotonic clock; `took_ns` is the duration; `outcome`: see `Record`.
        """
        self._records = slowest([*self._records, _record(exchange, began_ns, took_ns, outcome)])
        if len(self._records) == KEPT:
            self.threshold_ns = int(self._records[-1]["ms"] * 1e6)
        write(row, self._records)

    def refresh(self) -> None:
        """Drop the requests that are older than RECENT_S, and set the threshold anew. The row is not written."""
        self._records = slowest(self._records)
        if len(self._records) < KEPT:
            self.threshold_ns = MINIMUM_NS


def outcome_of(exchange: Any, complete: bool) -> str:
    """Return how a request has ended. `complete`: its whole answer was sent."""
    fault = getattr(exchange, "fault", None)
    if fault is not None and fault.status == 504:
        return TIMED_OUT
    if complete:
        return ANSWERED
    return CUT if fault is not None or getattr(exchange, "stops", False) else CLIENT_LEFT


def cut_by_end(request: Request) -> Record:
    """Return the record of a request that its process had in flight (`metrics.running`) when it ended, just now."""
    return {
        "at": round(time.time(), 1),
        "ms": round((time.monotonic_ns() - request["began_ns"]) / 1e6, 1),
        "method": request["method"],
        "target": request["target"],
        "status": request["status"],
        "outcome": PROCESS_ENDED,
    }


def _record(exchange: Any, began_ns: int, took_ns: int, outcome: str) -> Record:
    request = exchange.request
    record: Record = {
        "at": round(time.time(), 1),
        "ms": round(took_ns / 1e6, 1),
        "method": request.method[:10],
        "target": request.target.decode("latin-1")[:LONGEST_TARGET],
        "status": exchange.status or None,
        "outcome": outcome,
    }
    called, answered = getattr(exchange, "called_ns", 0), getattr(exchange, "answered_ns", 0)
    if called and answered:
        record["queue_ms"] = round((called - began_ns) / 1e6, 1)
        record["app_ms"] = round((answered - called) / 1e6, 1)
        record["send_ms"] = round(max(0, took_ns - (answered - began_ns)) / 1e6, 1)
    return record


def slowest(records: list[Record]) -> list[Record]:
    """Return the KEPT slowest of the requests in `records` that are not older than RECENT_S, the slowest first."""
    oldest = time.time() - RECENT_S
    return sorted((each for each in records if each["at"] >= oldest), key=lambda each: -each["ms"])[:KEPT]


def write(row: memoryview, records: list[Record]) -> None:
    """Write the requests, as JSON, into the columns for text of a row of the metrics table, as many as there is room
    for. `row`: the row's 64-bit integers.
    """
    octets = row.cast("B")
    text = b""
    for record in records:  # as many as there is room for, the slowest first
        longer = json.dumps([*json.loads(text or b"[]"), record], separators=(",", ":")).encode()
        if len(longer) > ROOM:
            break
        text = longer
    row[SLOW] = 0
    octets[_TEXT : _TEXT + len(text)] = text
    row[SLOW] = len(text)


def read(row: memoryview) -> list[Record]:
    length = row[SLOW]
    if not 0 < length <= ROOM:
        return []
    try:
        found = json.loads(bytes(row.cast("B")[_TEXT : _TEXT + length]))
    except ValueError:
        return []
    return found if isinstance(found, list) else []
