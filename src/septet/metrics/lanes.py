"""Where each figure stands in a row of the table, in lanes of 64 bits: see `septet.metrics.table`.

A lane below COUNTERS describes the present state of the row's process and ends with it. The lanes from COUNTERS to
COUNTERS_END only grow, and are added up over all processes, those that have ended included. The lanes after them hold
text.
"""

# Of the process that has the row.
PID = 0
"""0: the row is free. Until the process has begun it is the pid of its parent."""
KIND = 1
"""Index in KINDS."""
STARTED_NS = 2
"""CLOCK_MONOTONIC when it began, in nanoseconds."""
CAPACITY = 3
"""Requests that the process can run at the same time; 0: there is no bound."""
LOOP_THREAD = 4
"""The kernel's id of the one thread that runs the event loop and the application; 0: there is no such thread."""
BEAT_NS = 5
"""When the process last showed that it goes on; 0: it has not yet."""
LAG_NS = 6
"""How late the event loop ran the last timer."""

KINDS = ("server", "worker", "child", "supervisor")
SERVER, WORKER, CHILD, SUPERVISOR = range(4)

COUNTERS = 16
BEGUN = 16
"""Requests whose head was complete, and answers to what was no request."""
ABORTED = 17
"""Requests whose connection ended before their answer did."""
LOST = 18
"""Requests that were in flight when their process ended."""
ACCEPTED = 19
"""Connections."""
CLOSED = 20
SENT = 21
"""Bytes of content in answers."""
TIMED_OUT = 22
"""Requests that exceeded --request-timeout."""

CLASSES = 6
"""Classes of status: 1xx to 5xx; class 0 is not used."""
DURATION_NS = 24
"""Sum of the durations, in nanoseconds: a lane for each class of status."""

REASONS = ("exit", "crash", "signal", "out of memory", "worker timeout", "request timeout", "recycled")
"""Why a worker was replaced."""
RESTARTS = 32
"""A lane for each of REASONS."""

UNIT_NS = 250_000
"""A duration is in bucket k if it has k binary digits in these units: k is found in one step, and each bound is twice
the one before."""
BUCKETS = 32
"""Lanes of a histogram. Bucket k has durations below UNIT_NS * 2**k; none lasts for six days."""
BOUNDS_S = tuple(UNIT_NS * 2**index / 1e9 for index in range(18))
"""Upper bounds in seconds of the buckets that are shown, from 0.25 ms to 33 s; all that is longer is shown as one."""

QUEUE_WAIT = 48
"""Histogram: how long the bytes of a request lay unread. A sample of requests."""
QUEUE_WAIT_NS = 80
"""Sum of the above, in nanoseconds."""
LAG = 96
"""Histogram: how late the event loop ran a timer."""
LAG_SUM_NS = 128

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other")
CELLS = 144
"""Answers by method, class of status and duration. One increment counts a request in all three."""
_CELLS_OF_METHOD = CLASSES * BUCKETS
FIRST_CELL = {method: CELLS + index * _CELLS_OF_METHOD for index, method in enumerate(METHODS)}
OTHER_CELL = FIRST_CELL["other"]
COUNTERS_END = CELLS + len(METHODS) * _CELLS_OF_METHOD

SLOW = COUNTERS_END
"""Text: the slowest requests of the process, see `metrics.slow`."""
ROW_LANES = 2048
ROW_BYTES = ROW_LANES * 8


def bucket(duration_ns: int) -> int:
    """Index of the histogram's bucket for a duration in nanoseconds."""
    return (duration_ns // UNIT_NS).bit_length()
