"""What all sessions of a server share: limits, deadlines, and the objects that they ask and report to."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from septet.exchange import Fields, Request, Want
from septet.http.incoming import Limits

STOPPING_S = 0.3
"""Seconds after the order to stop for two cases: the rest of a head or body, if the application is not called yet; and
a client that has its answer, to close its side."""


@dataclass(slots=True, frozen=True, kw_only=True)
class Timeouts:
    """Seconds, but for `rate`. A phase names its field here (`protocol.Phase.timeout`)."""

    keep_alive: float = 75.0
    header: float = 30.0
    body: float = 30.0
    write: float = 30.0
    linger: float = 2.0
    ping: float = 20.0
    """A WebSocket from which nothing has come for so long is sent a ping; 0: never."""
    pong: float = 20.0
    """After so long without an answer to that the WebSocket is closed."""
    handshake: float = 10.0
    """For a client to complete the TLS handshake, from the time at which it was accepted."""
    rate: int = 0
    """Minimum transfer rate in bytes/s: each `rate` bytes moved extend the deadline of `body` or `write` by one second,
    up to the full time-out. 0: any progress resets the deadline."""


class Observer(Protocol):
    """Called by sessions when a request begins and when its answer has ended; for logs and measurements."""

    def began(self, exchange: Any) -> None: ...

    def ended(self, exchange: Any) -> None: ...


class Upgrade(Protocol):
    """Puts another protocol into the place of HTTP/1.1 on a connection (RFC 9110 section 7.8)."""

    def open(self, session: Any, subprotocol: str | None, fields: Fields) -> Want:
        """Answer the session's request 101 with these fields. From then on the session is a WebSocket."""


class Admission(Protocol):
    """Bounds the requests in flight: from a complete head to the end of the answer, or of the connection."""

    def enter(self) -> bool:
        """Count one more request; False, and nothing is counted, if there is no room for it."""

    def leave(self) -> None:
        """A request that was counted is over."""


def _ignore(sentence: str) -> None: ...


def _no_fields(date: bool, server: bool) -> bytes:
    return b""


@dataclass(slots=True, frozen=True, eq=False, kw_only=True)
class Rules:
    """What all sessions of a server share."""

    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    date_and_server: Callable[[bool, bool], bytes] = _no_fields
    """Gives the Date and the Server line of an answer, as bytes; each if its argument is True."""
    complain: Callable[[str], object] = _ignore
    """Called with a sentence about a mistake of an application in an answer that is sent all the same."""
    refused: Callable[[str], object] = _ignore
    """Called with a sentence about a request that was refused, and why."""
    lacking: Callable[[str], object] = _ignore
    """Called with a sentence about what failed because disk space or descriptors are exhausted."""
    spool: Callable[[], Any] | None = None
    """Opens a file for a request's body. With it, the application is called when the whole body has been received, for
    models in which it must not wait. None: it is called after the head, and reads the body as it is received."""
    observer: Observer | None = None
    admission: Admission | None = None
    websocket: Upgrade | None = None
    """Opens a WebSocket; None: there are none."""
    filter_untrusted: Callable[[Request, str], Request] | None = None
    """Called with a request that has untrusted fields, and its peer's address. Gives the request with the fields that
    the application may see. None: untrusted fields are removed."""
    expects_proxy_header: Callable[[str], bool] | None = None
    """True if the peer at this address is a proxy whose connections begin with a PROXY header; None: no peer is."""
