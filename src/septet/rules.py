"""What all sessions (one for each client connection) of a server share: limits, deadlines, and the objects that
sessions ask and report to.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from septet.exchange import Fields, Request, Want
from septet.http.incoming import Limits

STOPPING_S = 0.3
"""Seconds that a client has after the order to stop, in two cases: to send the rest of a head, or of a body that is
collected before the application is called; and to close its side after its last answer."""

DRAINING_S = 2.0
"""Seconds that an idle connection is kept after the order to drain. A client that sends its next request within this
time is told in the answer that the connection ends; closing at once could meet that request on its way. HTTP/1.1 has no
better way: a request that crosses the end of an idle connection is lost (RFC 9112 section 9.5)."""


@dataclass(slots=True, frozen=True, kw_only=True)
class Timeouts:
    """Time-outs of the phases of a connection, in seconds, and a minimum rate. `protocol.Phase.timeout` selects one."""

    keep_alive: float = 75.0
    """Seconds to wait for the first byte of the first or the next request."""
    header: float = 30.0
    """Seconds from the first byte of a request to the end of its head; also for a PROXY header."""
    body: float = 30.0
    """Seconds to wait for more of a body, even one that is discarded. Bytes that arrive extend the deadline; see
    `rate`.
    """
    write: float = 30.0
    """Seconds in which the client must take queued output. Bytes sent extend the deadline; see `rate`."""
    linger: float = 2.0
    ping: float = 20.0
    """Seconds in which nothing has come from a WebSocket's client, after which the client is sent a ping; 0: no ping is
    ever sent.
    """
    pong: float = 20.0
    """Seconds after a ping in which something must come from a WebSocket's client; if nothing comes, the
    connection is closed.
    """
    handshake: float = 10.0
    """Seconds in which a client must complete the TLS handshake, counted from when it was accepted."""
    rate: int = 0
    """Minimum transfer rate in bytes/s: each `rate` bytes moved extend the deadline of `body` or `write` by one second,
    up to the full time-out. 0: any progress resets the deadline."""


class Observer(Protocol):
    """Called by sessions when a request begins and when its answer has ended; for logs and measurements.

    An observer may set `exchange.observer_state` when the request begins, to nanoseconds of CLOCK_MONOTONIC, and then
    sets it to None when the request has ended. It is None as long as `began` was not called.
    """

    def began(self, exchange: Any, /) -> object:
        """Called when the head of a request is complete, before the application is called."""

    def ended(self, exchange: Any) -> None:
        """Called when the whole answer was sent. The answer may be an error to bytes that were no valid request; then
        `began` was not called.
        """

    def closed(self, exchange: Any) -> None:
        """Called when the connection of `exchange` has ended; over HTTP/2, only if the exchange's answer was not sent
        to its end. If `began` was called for the exchange and `ended` was not, the answer is incomplete.
        """


class Traffic(Protocol):
    """Counts what happens on TLS connections, WebSockets and in HTTP/2, for metrics. Sessions call it."""

    def http2_opened(self) -> None:
        """Count a connection on which HTTP/2 is spoken."""

    def http2_request(self) -> None:
        """Count a stream that a client has opened for a request."""

    def http2_reset(self) -> None:
        """Count a stream that its client has reset."""

    def http2_flooded(self) -> None:
        """Count a connection that is ended because its client has sent too many frames that serve no request."""

    def shaken(self, version: str, resumed: bool) -> None:
        """Count a completed TLS handshake. `version`: as `ssl.SSLObject.version` names it."""

    def not_shaken(self, why: str) -> None:
        """Count a failed TLS handshake. `why`: one of `metrics.lanes.TLS_FAILURES`."""

    def tls_closed(self) -> None:
        """Count the end of a TLS connection whose handshake was completed."""

    def websocket_opened(self) -> None:
        """Count a WebSocket that was accepted."""

    def websocket_refused(self) -> None:
        """Count a request for a WebSocket that got an ordinary answer instead."""

    def websocket_closed(self, code: int) -> None:
        """Count the end of a WebSocket. `code`: its close code (RFC 6455 section 7.4)."""

    def message_received(self) -> None:
        """Count a message that the application has received."""

    def message_sent(self) -> None:
        """Count a message that the application has sent."""

    def bytes_received(self, count: int) -> None:
        """Add `count` to the number of bytes received on WebSockets."""

    def bytes_sent(self, count: int) -> None:
        """Add `count` to the number of bytes sent on WebSockets."""


class Upgrade(Protocol):
    """Turns a connection of HTTP/1.1 (RFC 9110 section 7.8), or a stream of HTTP/2, into a WebSocket."""

    def open(self, session: Any, subprotocol: str | None, fields: Fields) -> Want:
        """Turn a connection of HTTP/1.1 into a WebSocket: answer the session's request with status 101 and the header
        fields `fields`. `subprotocol`: the one that the application has chosen; None: none. Returns what the connection
        wants next.
        """

    def open_on_stream(self, exchange: Any, subprotocol: str | None, fields: Fields) -> Want:
        """Turn a stream of HTTP/2 into a WebSocket: answer its request with status 200 (RFC 8441) and the header fields
        `fields`. `subprotocol`: the one that the application has chosen; None: none. Returns what the connection wants
        next.
        """


class Admission(Protocol):
    """Bounds the number of requests in flight. A request is in flight from its complete head until its answer, or its
    connection, has ended.
    """

    def enter(self) -> bool:
        """Count one more request and return True; return False and count nothing if the limit is reached."""

    def leave(self) -> None:
        """Count one request less. Called once for each `enter` that returned True."""


def _ignore(sentence: str) -> None: ...


def _no_fields(date: bool, server: bool) -> bytes:
    return b""


@dataclass(slots=True, frozen=True, eq=False, kw_only=True)
class Rules:
    """What all sessions of a server share. Immutable; sessions of all threads use one object."""

    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    date_and_server: Callable[[bool, bool], bytes] = _no_fields
    """Returns the Date and Server lines of an answer as bytes, each with CRLF: Date if its first argument is True,
    Server if its second is."""
    complain: Callable[[str], object] = _ignore
    """Called with a sentence about a mistake of an application in an answer that the server sends nevertheless."""
    refused: Callable[[str], object] = _ignore
    """Called with a sentence about a request that was refused, and why."""
    lacking: Callable[[str], object] = _ignore
    """Called with a sentence about what could not be done because disk space or file descriptors are exhausted."""
    spool: Callable[[], Any] | None = None
    """Opens a file for a request's body. If set, the whole body is collected there before the application is called,
    for models in which the application must not wait for its client. None: the application is called after the head,
    and reads the body as it is received."""
    collects: Callable[[Request], bool] | None = None
    """With `spool`: returns True if the body of this request is collected, and False if the application reads it as it
    is received. None: all are collected."""
    concurrent: bool = False
    """True if the model can run several exchanges of one connection at the same time. Then a protocol that has several,
    such as HTTP/2, wants TURN for each of them (see `septet.protocol`); otherwise it wants RUN for one after the other.
    """
    observer: Observer | None = None
    traffic: Traffic | None = None
    """Counts TLS connections, WebSockets and HTTP/2 streams for the metrics; None if they are not counted."""
    admission: Admission | None = None
    websocket: Upgrade | None = None
    """Turns an exchange into a WebSocket. None: the server offers no WebSockets."""
    http2: Callable[[Any], Any] | None = None
    """Returns the protocol object for a client that speaks HTTP/2, given the `session.http1.Session` with which its
    connection began. None: the server does not speak HTTP/2.
    """
    http1: bool = True
    """True if the server speaks HTTP/1.1 over TLS; else clients that did not choose HTTP/2 are refused."""
    filter_untrusted: Callable[[Request, str], Request] | None = None
    """Called with a request that has untrusted fields, and its peer's address ("" if unknown). Returns the request with
    those fields that the application may see; raises ProtocolError(400). None: untrusted fields are removed."""
    identify: Callable[[Request, str], tuple[Request, str]] | None = None
    """Called with a request and its peer's address. Returns the request with an id in a header field, and the id. None:
    requests get no ids.
    """
    more_fields: Callable[[Any], Fields] | None = None
    """Called with an exchange (a request and its answer) when its answer begins. Returns header fields to add to the
    answer. None: nothing is added.
    """
    clock: Callable[[], int] = int
    """Returns nanoseconds of CLOCK_MONOTONIC, by which sessions note when a client was accepted, when the application
    was called and when it had answered. The default always returns 0, for servers that need none of these times.
    """
    expects_proxy_header: Callable[[str], bool] | None = None
    """Returns True if the peer at this address is a proxy whose connections begin with a PROXY header. None: no
    connection begins with one."""
