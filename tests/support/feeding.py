"""The HTTP engine, fed by hand: what a server that reads every body learns from a client's bytes."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from septet.exchange import ClientGone, ProtocolError, Request
from septet.http.codec import Http1Codec
from septet.http.incoming import Limits

HOST = b"Host: example.test\r\n"

TAIL = b"GET /tail HTTP/1.1\r\nHost: tail.test\r\n\r\n"
"""A request that follows the one under test in the same bytes: where one ends wrongly, this one is not found."""


def unstamped(date: bool, server: bool) -> bytes:
    return b""


def head(line: str = "GET / HTTP/1.1", *fields: str) -> bytes:
    """A whole head of these lines, without a Host of its own."""
    return "\r\n".join([line, *fields, "", ""]).encode("latin-1")


@dataclass
class Seen:
    """One request, and as much of its body as has come."""

    request: Request
    body: bytearray = field(default_factory=bytearray)
    complete: bool = False


class Reader:
    """Feeds a `Http1Codec` and reads all that it gives, until it refuses."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.connection = Http1Codec(limits or Limits(), unstamped)
        self.seen: list[Seen] = []
        self.fault: ProtocolError | None = None
        self.broken_off = False

    def feed(self, data: bytes) -> None:
        if self.fault or self.broken_off:
            return
        self.connection.receive(data)
        try:
            while self._step():
                pass
        except ProtocolError as fault:
            self.fault = fault
        except ClientGone:
            self.broken_off = True

    def feed_all(self, pieces: Iterable[bytes]) -> "Reader":
        for piece in pieces:
            self.feed(piece)
        return self

    def _step(self) -> bool:
        """One request or one piece of a body further; False when more must come first."""
        if not self.seen or self.seen[-1].complete:
            request = self.connection.next_request()
            if request is None:
                return False
            self.seen.append(Seen(request))
        current = self.seen[-1]
        part = self.connection.read_body()
        if part:
            current.body += part
        current.complete = self.connection.body_complete
        return part is not None

    @property
    def only(self) -> Request:
        """The single request that came, whole."""
        assert self.fault is None, self.fault
        assert len(self.seen) == 1
        assert self.seen[0].complete
        return self.seen[0].request

    @property
    def status(self) -> int | None:
        """With what the connection was refused."""
        return self.fault.status if self.fault else None
