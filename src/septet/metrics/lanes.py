"""The layout of a row of the metrics table (`septet.metrics.table`), which consists of integers of 64 bits, its
columns; the code calls one a *lane*. Each constant here is the index of a column in the row, unless its description
says something else.

A column below COUNTERS describes the present state of the row's process and ends with it. The columns from COUNTERS to
COUNTERS_END only grow, and are added up over all processes, those that have ended included. The columns after them hold
text, then there are some that describe the present state again, and the row's second page holds text.
"""

# Of the process that has the row.
PID = 0
"""Column of the metrics table: the process's pid; 0: the row is free. From the time when a row is given out until its
process runs, the column has the pid of the parent process.
"""
KIND = 1
"""Column of the metrics table: what the process is, as an index in KINDS; or INTERPRETER."""
STARTED_NS = 2
"""Column of the metrics table: when the process began, in nanoseconds of CLOCK_MONOTONIC."""
CAPACITY = 3
"""Column of the metrics table: how many requests the process can run at the same time; 0: there is no bound."""
LOOP_THREAD = 4
"""Column of the metrics table: the kernel's id of the one thread that runs the event loop and the application; 0: there
is no such thread.
"""
BEAT_NS = 5
"""Column of the metrics table: when the process last showed that it is not stuck, in nanoseconds of CLOCK_MONOTONIC; 0:
it has not yet.
"""
LAG_NS = 6
"""Column of the metrics table: how late the event loop ran its last timer, in nanoseconds."""

WORKER_RANGE = 7
"""Column of the metrics table, in the row of a supervisor of workers: the largest allowed number of workers << 32 | the
smallest. 0: the process has no workers.
"""

CERTIFICATE_ENDS = 8
"""The first of MOST_CERTIFICATES columns of the metrics table that say when a certificate of the process expires, in
seconds since 1970, in the order of the options; 0: there is none.
"""
MOST_CERTIFICATES = 8

KINDS = ("server", "worker", "child", "supervisor", "generation")
SERVER, WORKER, CHILD, SUPERVISOR, GENERATION = range(5)
INTERPRETER = 5
"""Value of the column KIND in the additional row that each interpreter of a process has if there are several.
`Table.snapshot` adds it to the row of the process.
"""
IDLE_KINDS = (SUPERVISOR, GENERATION)
"""Indices in KINDS of processes that serve no clients: supervisors of workers, and generations (processes that load the
application) whose workers serve. A generation that serves clients itself is of another kind.
"""

LAYOUT = 6
"""The version of this layout of the metrics table, to be increased by each change of its columns. At an upgrade (USR2)
the table is handed over only to a program with the same layout.
"""

COUNTERS = 16
BEGUN = 16
"""Column of the metrics table that counts requests whose head was complete, and answers to bytes that were no valid
request.
"""
ABORTED = 17
"""Column of the metrics table that counts requests whose connection ended before their answer did; those of LOST are
included.
"""
LOST = 18
"""Column of the metrics table that counts requests that were in flight when their process ended."""
ACCEPTED = 19
"""Column of the metrics table that counts the connections that were accepted."""
CLOSED = 20
SENT = 21
"""Column of the metrics table that counts the bytes of content in answers."""
TIMED_OUT = 22
"""Column of the metrics table that counts requests that exceeded --request-timeout."""

CLASSES = 6
"""Number of columns of the metrics table for the classes of a status: 1xx to 5xx; class 0 is not used."""
DURATION_NS = 23
"""Column of the metrics table with the sum of the durations in DURATION, in nanoseconds."""

POOL_BUSY_NS = 24
"""Column of the metrics table: for how long threads of the pool (see POOL_THREADS) were busy, in nanoseconds, summed
over the threads. An estimate from samples, one for each beat.
"""

REASONS = ("exit", "crash", "signal", "out of memory", "worker timeout", "request timeout", "recycled", "reload")
"""Reasons for which a worker is replaced."""
RESTARTS = 32
"""The first of the columns of the metrics table that count replaced workers: one column for each of REASONS."""

UNIT_NS = 250_000
"""The unit of the histograms, in nanoseconds. A duration is in bucket k if, counted in this unit, it has k binary
digits; so the upper bound of each bucket is twice the one before.
"""
BUCKETS = 32
"""Number of buckets of a histogram; each is a column of the metrics table. Bucket k counts durations below UNIT_NS *
2**k that are in no bucket before it; the last one ends at six days.
"""
BOUNDS_S = tuple(UNIT_NS * 2**index / 1e9 for index in range(18))
"""Upper bounds, in seconds, of the buckets that are shown, from 0.25 ms to 33 s; longer durations are shown as one
bucket.
"""

QUEUE_WAIT = 40
"""The first of BUCKETS columns of the metrics table: a histogram of how long the bytes of a request lay unread in the
kernel. Only a sample of the requests is measured.
"""
QUEUE_WAIT_NS = 72
"""Column of the metrics table with the sum of the durations in QUEUE_WAIT, in nanoseconds."""
TLS_VERSIONS = ("TLSv1.2", "TLSv1.3")
TLS_HANDSHAKES = 73
"""The first of the columns of the metrics table that count completed handshakes: two for each of TLS_VERSIONS, full and
resumed ones.
"""
TLS_CLOSED = 77
"""Column of the metrics table that counts TLS connections that have ended after a completed handshake."""
TLS_FAILURES = ("plain HTTP", "incomplete", "certificate", "no agreement", "protocol")
"""Reasons for which handshakes fail: the client did not speak TLS; it left or did not finish in time; its certificate
or the server's was refused; no version or cipher in common; malformed data and everything else.
"""
TLS_FAILED = 78
"""The first of the columns of the metrics table that count failed handshakes: one for each of TLS_FAILURES."""
HTTP2_CONNECTIONS = 83
"""Column of the metrics table that counts connections on which HTTP/2 was spoken."""
HTTP2_REQUESTS = 84
"""Column of the metrics table that counts streams that were opened for a request, those that were refused included."""
HTTP2_RESETS = 85
"""Column of the metrics table that counts streams that clients have reset."""
HTTP2_FLOODS = 86
"""Column of the metrics table that counts HTTP/2 connections that were ended because the client sent too many frames of
no use.
"""

LAG = 88
"""The first of BUCKETS columns of the metrics table: a histogram of how late the event loop ran a timer."""
LAG_SUM_NS = 120

WS_ACCEPTED = 121
"""Column of the metrics table that counts WebSockets that were opened."""
WS_REFUSED = 122
"""Column of the metrics table that counts requests for a WebSocket that got an ordinary answer, from the application or
the server.
"""
WS_RECEIVED = 123
"""Column of the metrics table that counts the WebSocket messages that applications have received."""
WS_SENT = 124
WS_RECEIVED_BYTES = 125
"""Column of the metrics table that counts the bytes received on WebSockets, with frame headers and pings, but without
what TLS adds.
"""
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
"""Classes by which ended WebSockets are counted. Their close codes, in the same order: 1000; 1001; 1002, 1003, 1007,
1009 and 1010; 1006; 1011; 1012 and 1013; 3000 to 4999; all others.
"""
WS_CLOSED = 127
"""The first of the columns of the metrics table that count ended WebSockets: one for each of WS_ENDS."""

DURATION = 136
"""The first of BUCKETS columns of the metrics table: a histogram of the time from the complete head of a request to the
last byte of its answer.
"""

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other")
ANSWERS = 168
"""The first of the columns of the metrics table that count answers by method and class of status: CLASSES columns for
each of METHODS.
"""
ANSWERS_END = ANSWERS + len(METHODS) * CLASSES

GIL_WAIT = 216
"""The first of BUCKETS columns of the metrics table: a histogram of how long a thread waits for the interpreter's
global lock, from samples.
"""
GIL_WAIT_NS = 248

COUNTERS_END = 256

SLOW = 256
"""The first of the columns of the metrics table with the text that describes the slowest requests of the process; see
`septet.metrics.slow`.
"""
LEFT_BEHIND = 493
"""Column of the metrics table: how many threads of the process still run the application for a request whose client was
answered 504, or cut off, because of --request-timeout.
"""
LEFT_SERVING = 494
"""Column of the metrics table: how many of LEFT_BEHIND are threads of the server that serve clients otherwise; the
others are the application's.
"""
RUNNING = 495
"""Column of the metrics table: where in the row's second page the text is that describes the requests that the process
has in flight; see `septet.metrics.running`. 0: there is none.
"""
OTHER_LOOPS = 496
"""The first of MOST_OTHER_LOOPS columns of the metrics table with the kernel's ids of threads that run other event
loops of the process, as the column LOOP_THREAD has that of the first; 0: there is none.
"""
MOST_OTHER_LOOPS = 14
"""Number of columns of the metrics table from OTHER_LOOPS on; further event loops of a process are not recorded."""
POOL_THREADS = 510
"""Column of the metrics table: how many threads may run WSGI applications beside the event loops of the process, on
which ASGI applications run (`--mount` of both kinds); 0: there is no such pool.
"""
POOL_REQUESTS = 511
"""Column of the metrics table: how many requests were running in the pool's threads or waiting for one of them at the
last beat.
"""
FIRST_PAGE_LANES = 512
"""Number of columns in the first page of a row of the metrics table. Its second page has nothing but text."""
ROW_LANES = 1024
ROW_BYTES = ROW_LANES * 8
"""Size of a row of the metrics table in bytes: two pages of memory. The kernel gives a page when it is written to."""


def bucket(duration_ns: int) -> int:
    """Return the index of the histogram's bucket (see UNIT_NS) for a duration in nanoseconds."""
    return (duration_ns // UNIT_NS).bit_length()
