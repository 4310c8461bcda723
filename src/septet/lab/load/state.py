"""The state of users and targets, and connections that wait for the server to close them."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any

from .answer import Answer, Framing, StreamAnswer
from .plan import ANY_LENGTH, USER_PLACEHOLDER, Target
from .requests import Jar, Requests
from .tally import Series
from .websocket import SWITCHED, MessageAnswer

KINDS = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.EPROTO: "tls",
    errno.ETIMEDOUT: "time-out",
    errno.ENOENT: "refused",  # the unix socket does not exist
    errno.EAGAIN: "queue full",  # the queue of a unix socket's listener: unix(7)
    errno.EMFILE: "no descriptor",
    errno.ENFILE: "no descriptor",
    errno.EADDRNOTAVAIL: "no local port",
}
KNOWN_BYTES_MAX = 65536
"""An answer of this many bytes or more is not kept for comparison. An answer that equals a kept one need not be parsed,
but only one that is received in one piece can be compared, and long ones come in several.
"""
CLOSING_MAX = 1000

AnyAnswer = Answer | MessageAnswer | StreamAnswer


def kind_of(code: int | None) -> str:
    """Return the kind of error under which the figures count an errno: a word such as "refused", or else the name of
    the constant, such as "EHOSTUNREACH".
    """
    return KINDS.get(code or 0) or errno.errorcode.get(code or 0, "error")


class User:
    """One user, the present request, and the present connection."""

    # fmt: off
    __slots__ = (
        "answer", "arrived", "connect_ns", "connection", "cookies", "due_ns", "fd", "first_ns", "number", "recv",
        "remaining", "requests", "retrying", "reused", "send", "series", "socket", "started_ns", "stream", "target",
        "unsent", "watched",
    )
    # fmt: on

    def __init__(self, number: int, requests: Requests, target: TargetState) -> None:
        self.number = number
        self.requests = requests
        self.cookies: Jar | None = None
        self.arrived = False
        """True once the user has had an answer, right or wrong: the user has arrived then."""

        # The present request:
        self.target = target
        self.series: Series
        """Where the latency of the present request is recorded: the `tally.Series` of its target."""
        self.due_ns = 0
        """When the request was due, in ns of the monotonic clock; 0: the user has no request under way."""
        self.started_ns = 0
        """When the user began with the present request: sent it on the open connection, or began to open a new
        connection for it; in ns of the monotonic clock.
        """
        self.unsent = b""
        """The part of the request that is not sent yet; the whole of it while connecting."""
        self.retrying = False
        """True if the present request is sent for the second time, because the server closed the connection before an
        answer came, or, over HTTP/2, did not process it.
        """
        self.answer: Any = None
        """The parser (AnyAnswer) of the answer to the present request, with what has come so far. None while nothing
        has come, and for an answer that comes in one piece and equals the last right one: that need not be parsed.
        """
        self.first_ns = 0
        """When the first byte of an answer in several pieces came, in ns of the monotonic clock."""

        # The present connection, which others share over HTTP/2: then it is `connection`, and the others are not used.
        self.connection: Any = None
        """Over HTTP/2: the connection, shared with other users, that carries the present request; None without a
        request. Over HTTP/1.1 it is not used.
        """
        self.stream = 0
        """Over HTTP/2, the number of the stream on which the present request is; 0 while it waits for a stream."""
        self.socket: socket.socket | None = None
        self.send: Callable[[bytes], int]
        self.recv: Callable[[int], bytes]
        """`send` and `recv` are methods of `socket`, the user's connection, stored here so that they need not be looked
        up each time.
        """
        self.fd = -1
        self.watched = 0
        """The events for which epoll watches the user's connection; 0: epoll does not watch it."""
        self.connect_ns = 0
        """When connecting began, in ns of the monotonic clock; 0 once the connection is established."""
        self.remaining = 0
        """Number of further requests that the connection may carry."""
        self.reused = False
        """True if the connection has carried an answer before."""


class TargetState:
    """One target of the plan, the last right answer to it, and the properties that the next answer must have."""

    __slots__ = (
        "_first_body",
        "_seen",
        "closes",
        "definition",
        "expected_length",
        "framing",
        "index",
        "known",
        "known_bytes",
        "series",
    )

    def __init__(self, index: int, definition: Target, closes: bool = False) -> None:
        self.index = index
        self.definition = definition
        self.closes = closes
        """True if the request has "Connection: close"."""
        self.expected_length = definition.expect_length
        self.series: Series
        """Where the latencies of requests that begin from now on are recorded: a `tally.Series` of the warm-up or of
        the measured window.
        """
        self.known: bytes | None = None
        """The bytes of the last right answer, head and body. An answer that consists of the same bytes is right, and
        need not be parsed. None: no answer is remembered yet.
        """
        self.known_bytes = 0
        """The length in bytes of the body of the last right answer (`known`)."""
        self.framing: Framing
        """The framing (status, length, whether the connection goes on) of the last right answer (`known`)."""
        self._seen = 0
        """Number of answers that were parsed and had the right status. The lengths of the first two determine
        `expected_length`, unless the plan gives it.
        """
        self._first_body: bytes | None = None

    def path_of(self, user: int) -> bytes:
        """Return the path that the user with this number requests."""
        return self.definition.path.replace(USER_PLACEHOLDER, str(user)).encode("ascii")

    def new_answer(self) -> Answer | MessageAnswer:
        if self.definition.status == SWITCHED:
            return MessageAnswer()
        return Answer(self.bodiless, self.keeps_body)

    @property
    def bodiless(self) -> bool:
        """True if answers to this target have no body, whatever their head says, because its method is HEAD (RFC 9110
        section 9.3.2).
        """
        return self.definition.method == "HEAD"

    @property
    def keeps_body(self) -> bool:
        """True if the body of each answer has to be kept, because its content is checked and not only its length."""
        return bool(self.definition.expect_text) or self.definition.same_body

    def objection(self, answer: AnyAnswer) -> str | None:
        """Return the kind of error as which a complete answer has to be counted, such as "length"; None if the answer
        is right.
        """
        assert answer.framing is not None, "a complete answer has a head"
        status, target = answer.framing.status, self.definition
        if status != target.status if target.status else not 200 <= status < 400:
            return f"status {status}"
        self._learn_length(answer.body_bytes)
        if self.expected_length not in (answer.body_bytes, ANY_LENGTH):
            return "length"
        if answer.keeps_body:
            return self._objection_to_body(bytes(answer.body))
        return None

    def _learn_length(self, length: int) -> None:
        """Learn from an answer with a body of `length` bytes how long answers are, unless the plan gives that. The
        first answer sets the expected length; if the second one has another length, any length is right from then on.
        """
        if self._seen < 2 and self.definition.expect_length is None:
            varies = self._seen and length != self.expected_length
            self.expected_length = ANY_LENGTH if varies else length
        self._seen += 1

    def _objection_to_body(self, body: bytes) -> str | None:
        if self.definition.expect_text and self.definition.expect_text.encode() not in body:
            return "body"
        if self.definition.same_body:
            if self._first_body is None:
                self._first_body = body
            return None if body == self._first_body else "body"
        return None

    def remember(self, data: bytes, framing: Framing, body_bytes: int) -> None:
        """Remember a right answer, so that one equal to it need not be parsed. `data` is the whole answer, `framing`
        its status and length, `body_bytes` the number of bytes of its body.
        """
        if len(data) < KNOWN_BYTES_MAX and self._seen > 1:
            self.known, self.framing, self.known_bytes = data, framing, body_bytes


class ClosingConnections:
    """Connections that carry no further request, kept open until the server has closed them.

    The side that closes first keeps the connection in TIME_WAIT for a minute. If that were our side, and not on
    loopback, local ports would run out at 500 connections a second. So connections that the server has announced to
    close are kept open, up to a limit. epoll still watches their descriptors; any event on a connection is taken for
    its end.
    """

    def __init__(self, spare_descriptors: int) -> None:
        self._sockets: dict[int, Any] = {}
        self._max = min(CLOSING_MAX, spare_descriptors)

    def keep(self, fd: int, sock: Any) -> None:
        """Keep one more connection open. If there are too many now, the oldest one is closed."""
        self._sockets[fd] = sock
        if len(self._sockets) > self._max:
            self.close(next(iter(self._sockets)))

    def close(self, fd: int) -> None:
        """Close the connection with this descriptor, if it is kept here. Called when epoll reports an event on it: the
        server closed it, or sent bytes that answer no request.
        """
        sock = self._sockets.pop(fd, None)
        if sock is not None:
            sock.close()

    def close_all(self) -> None:
        for fd in list(self._sockets):
            self.close(fd)
