"""What all sessions of a server share: limits, deadlines, and whom to ask and to tell."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from septet.exchange import Request
from septet.http.incoming import Limits

STOPPING_S = 0.3
"""From the order to stop on, for a head or a body whose rest is on its way before the application is called, and for
the end of a client that has its answer."""


@dataclass(slots=True, frozen=True, kw_only=True)
class Timeouts:
    """Seconds; the names are those of the phases' `timeout`."""

    keep_alive: float = 75.0
    header: float = 30.0
    body: float = 30.0
    write: float = 30.0
    linger: float = 2.0
    rate: int = 0
    """Bytes a second that win a second of `body` or `write` back; 0: any progress wins back all."""


class Observer(Protocol):
    """Told of every request and of every answer that ended, by its session; for logs and measurements."""

    def began(self, exchange: Any) -> None: ...

    def ended(self, exchange: Any) -> None: ...


class Admission(Protocol):
    """Bounds the requests in flight: from a complete head to the end of the answer, or of the connection."""

    def enter(self) -> bool:
        """Whether there is room for one more, which is counted then."""

    def leave(self) -> None:
        """One that was counted is over."""


def _ignore(sentence: str) -> None: ...


def _no_fields(date: bool, server: bool) -> bytes:
    return b""


@dataclass(slots=True, frozen=True, eq=False, kw_only=True)
class Rules:
    """What all sessions of a server share."""

    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    date_and_server: Callable[[bool, bool], bytes] = _no_fields
    """Gives the Date and the Server line of an answer, each if it is wanted."""
    complain: Callable[[str], object] = _ignore
    """Told, in a sentence, what an application has got wrong about an answer that goes out all the same."""
    refused: Callable[[str], object] = _ignore
    """Told, in a sentence, which request was refused and why."""
    lacking: Callable[[str], object] = _ignore
    """Told, in a sentence, what could not be done for want of disk space or descriptors."""
    spool: Callable[[], Any] | None = None
    """Opens a file for a request's body. With it the application's turn comes when the whole body is there: where it
    must not wait. Without it the turn comes with the head, and the application reads the body as it comes."""
    observer: Observer | None = None
    admission: Admission | None = None
    filter_untrusted: Callable[[Request, str], Request] | None = None
    """Gives what the application may see of a request with doubtful fields, as the peer's word counts for something or
    not. Without it they are gone."""
    expects_proxy_header: Callable[[str], bool] | None = None
    """Whether a peer is a proxy that begins with a header of the PROXY protocol; None: nobody is."""
