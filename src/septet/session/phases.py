"""The phases of an HTTP/1.1 connection, which may follow which, and how long a slow client may take.

Each phase says what the connection wants of the process model, how long the phase may last, and what happens when that
time is up. The picture in the documentation is drawn from `FOLLOWS`, and a test holds every session to it.
"""

from septet.protocol import CLOSE, READ, RUN, WRITE, Phase

PROXY_HEADER = Phase("preface", READ, lambda timeouts: timeouts.header, idle=True)
"""Phase: the peer is a proxy that begins its connection with a header of the PROXY protocol; the header is not complete
yet.
"""
IDLE = Phase("idle", READ, lambda timeouts: timeouts.keep_alive, idle=True)
"""Phase: no byte of the next request has come."""
HEAD = Phase("head", READ, lambda timeouts: timeouts.header, answers=True, interruptible=True)
"""Phase: some of a request's head has come; the deadline runs from its first byte."""
BODY = Phase("body", READ, lambda timeouts: timeouts.body, answers=True, paced=True)
"""Phase: the application, or the session on its behalf, waits for more of the request's body."""
TURN = Phase("turn", RUN, None)
"""Phase: the application runs."""
ANSWER = Phase("answer", WRITE, lambda timeouts: timeouts.write, paced=True)
"""Phase: output is queued, and the client has to take it."""
DRAIN = Phase("drain", READ, lambda timeouts: timeouts.body, paced=True, interruptible=True)
"""Phase: the answer has been sent; what the application left of the request's body is discarded."""
LINGER = Phase("linger", READ, lambda timeouts: timeouts.linger, interruptible=True)
"""Phase: our side of the connection is closed; what the client still sends is discarded. Closing at once would answer
it with RST, which can destroy our last answer (RFC 9112 section 9.6).
"""
OVER = Phase("over", CLOSE, None)
"""Phase: the connection is to be closed."""

LINGER_BYTES = 1 << 26
"""Most bytes of what the client still sends that are discarded in the phase LINGER; after more, the connection is
closed at once. Many clients send the whole body before they read the answer, and do not find it after a reset, so this
is more than most bodies have; the time is what bounds the phase.
"""

FILE_CHANGED = "the file at %s changed while it was sent, or cannot be read"
"""The beginning of the message that is logged when an answer ends before it is complete because of its file;
%s is the path and query of the request.
"""

FOLLOWS: dict[Phase, tuple[Phase, ...]] = {
    PROXY_HEADER: (IDLE, ANSWER, OVER),
    IDLE: (HEAD, BODY, TURN, ANSWER, OVER),
    HEAD: (BODY, TURN, ANSWER, OVER),
    BODY: (BODY, TURN, ANSWER, OVER),
    TURN: (BODY, TURN, ANSWER, IDLE, HEAD, DRAIN, OVER),
    ANSWER: (ANSWER, TURN, BODY, IDLE, HEAD, DRAIN, OVER),
    DRAIN: (DRAIN, IDLE, HEAD, BODY, TURN, ANSWER, OVER),
    OVER: (LINGER, OVER),
    LINGER: (OVER,),
}

MAX_INTERVAL_S = 1.0
"""Seconds. Of the time between two calls of `deadline`, at most this much counts against the client: a longer interval
shows that the server was busy, not that the client was slow. A thread that waits for one client alone calls `waited`,
which counts all of the time.
"""


class Pace:
    """Computes the deadline of a phase that the client's progress extends (`Phase.paced`).

    `timeout` is in seconds, `rate` in bytes/s. Waiting uses the time up and progress wins it back: each second of
    waiting costs one second, and each `rate` bytes give one back, up to the full timeout. With `rate` 0 any progress
    restores the full timeout. A deadline for progress alone could be kept for ever by sending one byte now and then
    (slow POST, slow read), and a deadline for the whole would cut off a large file on a slow line. Apache
    (mod_reqtimeout, MinRate) and Kestrel (MinRequestBodyDataRate) do the same.

    There is no clock here: callers pass the time, in seconds on any clock that they keep to.
    """

    __slots__ = ("_asked_at", "_left", "_moved", "_rate", "timeout")

    def __init__(self, timeout: float, rate: int) -> None:
        self.timeout = timeout
        self._rate = rate
        self._left = timeout
        """Seconds that the client had left at the last call of `deadline` or `waited`; the full timeout before the
        first.
        """
        self._asked_at: float | None = None
        """When `deadline` was last called; None before the first call, and after `waited`."""
        self._moved: int | None = None
        """Bytes that the client had sent or taken at the last call; None before the first."""

    def deadline(self, now: float, moved: int) -> float:
        """Return the instant at which the client's time is up unless it makes progress, on the clock of `now`
        (seconds).

        moved: bytes that the client has sent or taken, counted from any beginning; only differences matter.
        """
        if self._asked_at is not None:
            self._left -= min(now - self._asked_at, MAX_INTERVAL_S)
        self._asked_at = now
        self._win_back(moved)
        return now + self._left

    def waited(self, now: float, moved: int) -> None:
        """Report that a wait for this client alone, which began with the last call of `deadline`, has ended: all of it
        counts against the client. `now`: seconds, on the clock of `deadline`. `moved`: bytes that the client has sent
        or taken.
        """
        if self._asked_at is not None:
            self._left -= now - self._asked_at
            self._asked_at = None
        self._win_back(moved)

    def _win_back(self, moved: int) -> None:
        before, self._moved = self._moved, moved
        if before is not None and moved > before:
            self._left = min(self.timeout, self._left + (moved - before) / self._rate) if self._rate else self.timeout
