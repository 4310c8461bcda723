"""Where each figure stands in a row of the table, in lanes of 64 bits: see `septet.metrics.table`.

A lane below COUNTERS describes the present state of the row's process and ends with it. The lanes from COUNTERS to
COUNTERS_END only grow, and are added up over all processes, those that have ended included. The lanes after them hold
text.
"""

# Of the process that has the row.
PID = 0
"""The process's pid. 0: the row is free. Until the process runs it is the pid of its parent."""
KIND = 1
"""What the process is: an index in KINDS."""
STARTED_NS = 2
"""When the process began, in nanoseconds of CLOCK_MONOTONIC."""
CAPACITY = 3
"""Requests that the process can run at the same time; 0: there is no bound."""
LOOP_THREAD = 4
"""The kernel's id of the one thread that runs the event loop and the application; 0: there is no such thread."""
BEAT_NS = 5
"""When the process last showed that it is not stuck, in nanoseconds of CLOCK_MONOTONIC; 0: it has not yet."""
LAG_NS = 6
"""How late the event loop ran its last timer, in nanoseconds."""

WORKER_RANGE = 7
"""Of the supervisor of workers: the most that there may be << 32 | the least. 0: it has no workers."""

CERTIFICATE_ENDS = 8
"""When the certificates end that the process presents, in seconds since 1970; 0: there is none. A lane for each of the
first MOST_CERTIFICATES, in the order of the options."""
MOST_CERTIFICATES = 8

KINDS = ("server", "worker", "child", "supervisor", "generation")
SERVER, WORKER, CHILD, SUPERVISOR, GENERATION = range(5)
IDLE_KINDS = (SUPERVISOR, GENERATION)
"""Processes that serve no clients: a generation is one of these if it has workers."""

LAYOUT = 2
"""The version of this layout, to be increased by each change of the lanes. At an upgrade (USR2) the table is handed
over only to a program with the same layout.
"""

COUNTERS = 16
BEGUN = 16
"""Number of requests whose head was complete, and of answers to bytes that were no valid request."""
ABORTED = 17
"""Number of requests whose connection ended before their answer did."""
LOST = 18
"""Number of requests that were in flight when their process ended."""
ACCEPTED = 19
"""Number of connections that were accepted."""
CLOSED = 20
SENT = 21
"""Bytes of content in answers."""
TIMED_OUT = 22
"""Number of requests that exceeded --request-timeout."""

CLASSES = 6
"""Number of classes of a status: 1xx to 5xx; class 0 is not used."""
DURATION_NS = 23
"""Sum of the durations in DURATION, in nanoseconds."""

REASONS = ("exit", "crash", "signal", "out of memory", "worker timeout", "request timeout", "recycled", "reload")
"""Reasons for which a worker is replaced."""
RESTARTS = 32
"""The first of the lanes that count replaced workers: one lane for each of REASONS."""

UNIT_NS = 250_000
"""A duration is in bucket k if it has k binary digits in these units: k is found in one step, and each bound is twice
the one before."""
BUCKETS = 32
"""Number of lanes of a histogram. Bucket k counts durations below UNIT_NS * 2**k; the last one ends at six days."""
BOUNDS_S = tuple(UNIT_NS * 2**index / 1e9 for index in range(18))
"""Upper bounds in seconds of the buckets that are shown, from 0.25 ms to 33 s; all that is longer is shown as one."""

QUEUE_WAIT = 40
"""Histogram: how long the bytes of a request lay unread. A sample of requests."""
QUEUE_WAIT_NS = 72
"""Sum of the durations in QUEUE_WAIT, in nanoseconds."""
TLS_VERSIONS = ("TLSv1.2", "TLSv1.3")
TLS_HANDSHAKES = 73
"""Completed handshakes: two lanes for each of TLS_VERSIONS, full ones and resumed ones."""
TLS_CLOSED = 77
"""TLS connections that have ended after a completed handshake."""
TLS_FAILURES = ("plain HTTP", "incomplete", "certificate", "no agreement", "protocol")
"""Why handshakes failed: the client did not speak TLS; left, or did not end it in time; its certificate, or ours, was
refused; there was no version or cipher in common; what came was malformed, or anything else."""
TLS_FAILED = 78
"""A lane for each of TLS_FAILURES."""

LAG = 88
"""Histogram: how late the event loop ran a timer."""
LAG_SUM_NS = 120

WS_ACCEPTED = 121
"""WebSockets that were opened."""
WS_REFUSED = 122
"""Requests for a WebSocket that were answered otherwise, by the application or by the server."""
WS_RECEIVED = 123
"""Messages that the application has taken."""
WS_SENT = 124
WS_RECEIVED_BYTES = 125
"""Bytes on WebSockets, frames and pings included, without TLS."""
WS_SENT_BYTES = 126
WS_ENDS = (
    "normal",
    "going away",
    "protocol error",
    "without a word",
    "internal error",
    "restart",
    "application",
    "other",
)
"""Classes of close codes: 1000; 1001; 1002, 1003, 1007, 1009, 1010; 1006; 1011; 1012, 1013; 3000 to 4999."""
WS_CLOSED = 127
"""A lane for each of WS_ENDS."""

DURATION = 136
"""Histogram: from the complete head of a request to the last byte of its answer."""

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other")
ANSWERS = 168
"""Answers by method and class of status: CLASSES lanes for each of METHODS."""
ANSWERS_END = ANSWERS + len(METHODS) * CLASSES

GIL_WAIT = 216
"""Histogram: how long a thread waits for the global lock of the interpreter. A sample."""
GIL_WAIT_NS = 248

COUNTERS_END = 256

SLOW = 256
"""The first of the lanes with the text of the slowest requests of the process."""
ROW_LANES = 512
ROW_BYTES = ROW_LANES * 8
"""Size of a row in bytes: one page of memory."""


def bucket(duration_ns: int) -> int:
    """Return the index of the histogram's bucket for a duration in nanoseconds."""
    return (duration_ns // UNIT_NS).bit_length()
