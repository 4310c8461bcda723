"""The life of one client, carried by hand: its bytes in pieces in; out comes what was answered and what ran.

The application reads every body to its end and answers with nothing, but at /read?how=none, /read?how=first and
/files/ it answers early, as the fixture applications and static files do. It reads in one of three `WAYS`, those of
the models: a body that was collected before its turn (a WSGI application on a loop), by asking and coming back (ASGI),
or by a call that waits (a WSGI application in a thread).
"""

import io
from collections.abc import Iterable, Iterator
from urllib.parse import unquote_to_bytes

from corpus.cases import Answer, Seen
from septet.exchange import ClientGone, Request
from septet.http.codec import CONTINUE
from septet.http.head import response_head
from septet.http.incoming import Limits
from septet.protocol import CLOSE, READ, RUN, WRITE
from septet.rules import Rules
from septet.session.phases import LINGER
from support.carrier import ByHand, Watched, write_all

WAYS = ("collected", "asked for", "waited for")

MOST_STEPS = 100_000

OK = response_head(200, b"OK", ())


class Life:
    """One client's connection from its first byte to its last; `pieces` are what it sends, none of them empty."""

    def __init__(self, pieces: Iterable[bytes], way: str, limits: Limits | None = None) -> None:
        self._pieces: Iterator[bytes] = iter(pieces)
        self._way = way
        self.session = Watched(Rules(limits=limits or Limits(), spool=io.BytesIO if way == "collected" else None))
        self._waits = way == "waited for"
        if self._waits:
            ByHand(self.session).await_body = self._flush  # type: ignore[method-assign]
        self.output = b""
        self.seen: list[Seen | None] = []
        """The requests that were answered; None for one of whose body not all was read."""
        self.begun = 0
        """Requests that the application was given."""
        self.steps = 0
        self.most_pending = 0
        """The most bytes that were kept without being used."""
        self.broke_off = False
        """The client ended within a body."""
        self._body: bytearray | None = None

    def live(self, ends: bool = False) -> "Life":
        """Until the connection is over, or all has been sent; `ends`: the client then says so."""
        while self.session.want is not CLOSE:
            if self.session.want is not READ:
                self._act()
            elif not self._feed():
                if not ends or self.session.http.ended:
                    break
                self._end()
        self.session.drop_body()
        return self

    @property
    def closed(self) -> bool:
        return self.session.want is CLOSE or self.session.phase is LINGER

    @property
    def answers(self) -> list[Answer]:
        """The answers in their order. Interim ones are left out."""
        seen = iter(self.seen)
        return [Answer(status, next(seen) if status == 200 else None) for status in statuses(self.output)]

    def _feed(self) -> bool:
        """The next piece, if there is one."""
        piece = next(self._pieces, None)
        if piece is None:
            return False
        self.session.receive(piece)
        self.most_pending = max(self.most_pending, self.session.http.pending)
        return True

    def _end(self) -> None:
        http = self.session.http
        self.broke_off = http.status == 0 and not http.body_complete
        self.session.receive(b"")

    def _act(self) -> None:
        """What the session wants done, when it does not wait for its client."""
        self.steps += 1
        assert self.steps < MOST_STEPS, "it goes round in circles"
        if self.session.want is WRITE:
            self.output += write_all(self.session)
        elif self.session.want is RUN:
            self._turn()

    def _flush(self) -> None:
        """Wait for the client, as a model does whose application may wait."""
        while self.session.want is WRITE or self.session.want is READ:
            if self.session.want is WRITE:
                self._act()
            elif not self._feed():
                self._end()

    def _turn(self) -> None:
        """The application's turn, or the next one for the same request."""
        session = self.session
        if self._body is None:
            self._body = bytearray()
            self.begun += 1
        try:
            whole = self._read(self._body, session.request)
        except ClientGone:
            self._body = None
            session.fail()
            return
        if whole is None:
            session.want_body()
            return
        self.seen.append(as_seen(session.request, bytes(self._body)) if whole else None)
        self._body = None
        session.respond(OK, b"", True)

    def _read(self, body: bytearray, request: Request) -> bool | None:
        """Whether all of the body was read; None if more of it must come first. Raises ClientGone."""
        session = self.session
        if session.body is not None:
            body += session.body.read()
            return True
        if request.query == b"how=none" or request.path.startswith(b"/files/"):
            return False
        while (part := session.read() if self._waits else session.poll()) is not None:
            body += part
            if not part:
                return True
            if request.query == b"how=first":
                return False
        return None


def as_seen(request: Request, body: bytes) -> Seen:
    """A request as the fixture applications tell of one."""
    fields: dict[str, str | bool] = {}
    for raw_name, raw_value in request.fields:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        separator = "; " if name == "cookie" else ","
        fields[name] = f"{fields[name]}{separator}{value}" if name in fields else value
    path = unquote_to_bytes(request.path).decode("utf-8", "replace")
    query = request.query.decode("latin-1")
    return Seen(request.method, path, query, request.version, body.decode("latin-1"), fields)


def statuses(output: bytes) -> list[int]:
    """The statuses of the final answers in `output`, all of which have a Content-Length or no content."""
    found = []
    while output:
        if output.startswith(CONTINUE):
            output = output[len(CONTINUE) :]
            continue
        head, end, output = output.partition(b"\r\n\r\n")
        line, *fields = head.split(b"\r\n")
        assert end, f"an answer without an end: {head!r}"
        assert line.startswith(b"HTTP/1.1 "), f"no answer: {line!r}"
        found.append(int(line[9:12]))
        assert found[-1] == 200 or b"Connection: close" in fields, f"a refusal that does not say close: {head!r}"
        lengths = [int(field[16:]) for field in fields if field.startswith(b"Content-Length: ")]
        assert len(lengths) <= 1
        output = output[sum(lengths) :]
    return found
