"""What all sessions of a server share: limits, deadlines, and the objects that they ask and report to."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from septet.exchange import Request
from septet.http.incoming import Limits

STOPPING_S = 0.3
"""Seconds that a client has after the order to stop, in two cases: to send the rest of a head, or of a body that is
collected before the application is called; and to close its side after its last answer."""


@dataclass(slots=True, frozen=True, kw_only=True)
class Timeouts:
    """Time-outs of the phases of a connection, in seconds, and a minimum rate. `protocol.Phase.timeout` selects one."""

    keep_alive: float = 75.0
    """For the first byte of the first or the next request."""
    header: float = 30.0
    """From the first byte of a request to the end of its head; also for a PROXY header."""
    body: float = 30.0
    """For more of a body, also of one that is discarded; bytes received extend it, see `rate`."""
    write: float = 30.0
    """For the client to take queued output; bytes sent extend it, see `rate`."""
    linger: float = 2.0
    """For the client to close its side after ours is shut down; what it sends meanwhile is discarded."""
    rate: int = 0
    """Minimum transfer rate in bytes/s: each `rate` bytes moved extend the deadline of `body` or `write` by one second,
    up to the full time-out. 0: any progress resets the deadline."""


class Observer(Protocol):
    """Called by sessions when a request's head is complete and when its answer has been sent; for logs and
    measurements. `exchange` is a `protocol.ServerExchange`."""

    def began(self, exchange: Any) -> None:
        """A request's head is complete. The observer may keep something in `exchange.observer_state`."""

    def ended(self, exchange: Any) -> None:
        """The answer has been sent. Also called, without `began`, after an error answer to a request that was not
        valid; not called if the connection is cut before the answer's end."""


class Admission(Protocol):
    """Bounds the number of requests in flight. One is in flight from its complete head to the end of its answer, or of
    the connection."""

    def enter(self) -> bool:
        """Count one more request and return True; return False and count nothing if the limit is reached."""

    def leave(self) -> None:
        """Count one request less: one for which `enter` returned True is over."""


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
    """Called with a sentence about a mistake of an application in an answer that is sent all the same."""
    refused: Callable[[str], object] = _ignore
    """Called with a sentence about a request that was refused, and why."""
    lacking: Callable[[str], object] = _ignore
    """Called with a sentence about what failed because disk space or file descriptors are exhausted."""
    spool: Callable[[], Any] | None = None
    """Opens a file for a request's body. If set, the whole body is collected there before the application is called,
    for models in which the application must not wait for its client. None: the application is called after the head,
    and reads the body as it is received."""
    observer: Observer | None = None
    admission: Admission | None = None
    """Decides whether one more request may be in flight; None: any number."""
    filter_untrusted: Callable[[Request, str], Request] | None = None
    """Called with a request that has untrusted fields, and its peer's address ("" if unknown). Returns the request with
    those fields that the application may see; raises ProtocolError(400). None: untrusted fields are removed."""
    expects_proxy_header: Callable[[str], bool] | None = None
    """Returns True if the peer at this address is a proxy whose connections begin with a PROXY header. None: no
    connection begins with one."""
