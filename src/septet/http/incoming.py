"""What comes from one client: requests in their order, and their bodies (RFC 9112 sections 2, 6, 7 and 9).

It keeps what has come and not been used, and holds it to the limits. Part of `connection`, which answers.
"""

from dataclasses import dataclass, field

from septet.exchange import ClientGone, ProtocolError, Request
from septet.http.body import ChunkedDecoder, LengthDecoder
from septet.http.cache import BoundedCache
from septet.http.grammar import CRLF
from septet.http.request_head import parse_request
from septet.http.unfinished import UnfinishedHead

DRAIN_LIMIT = 65536
"""Bytes of an unread body that are passed over to keep a connection; more than that, and closing is cheaper."""

INVALID_REQUEST = Request("GET", b"", b"", b"", "1.1", (), keep_alive=False)
"""Stands where an answer is given to something that was not a request."""

IDLE_REQUEST = Request("GET", b"", b"", b"", "1.1", ())
"""Stands where a connection waits for its next request, and keeps nothing of the last one."""

CONTINUE_PENDING = 2
"""100 Continue is on its way."""

REMEMBERED_HEADS = 256
REMEMBERED_HEAD = 4096
"""Longer heads are parsed each time. 256 of these, all different and of nothing but short fields, take 11 MiB."""


@dataclass(slots=True, frozen=True)
class Limits:
    """Bytes, and a number of fields; `body` 0 is no limit."""

    request_line: int = 8192
    header_block: int = 65536
    header_count: int = 100
    body: int = 0
    known: dict[str, BoundedCache[bytes, Request]] = field(
        default_factory=lambda: {scheme: BoundedCache(REMEMBERED_HEADS) for scheme in ("http", "https")},
        init=False,
        repr=False,
        compare=False,
    )
    """By scheme, heads that were found to be within these limits, by their exact bytes with the empty line at the end.
    A client on a kept-alive connection sends the same head again and again; one that was seen before costs a look-up.
    """


class Incoming:
    """The receiving half of a `Http1Codec`, and the state of both halves: an exchange begins and ends as one."""

    __slots__ = (
        "_chunk_end",
        "_chunked",
        "_contentless",
        "_decoder",
        "_inbox",
        "_known",
        "_limits",
        "_passed_over",
        "_received",
        "_remaining",
        "_scanned",
        "_scheme",
        "_unfinished",
        "answered",
        "content_ended",
        "continued",
        "ended",
        "keep_alive",
        "request",
        "sent",
        "status",
        "stopping",
    )

    def __init__(self, limits: Limits, scheme: str = "http") -> None:
        self._limits = limits
        self._scheme = scheme
        """Of the requests: "https" where TLS ends here, or before us."""
        self._known = limits.known[scheme]
        self._chunk_end = b""
        """Owed by a chunk whose content is a file's."""
        self._inbox: bytes | bytearray = b""
        self._scanned = 0
        """Bytes of the inbox in which the end of the head is known not to begin."""
        self._unfinished: UnfinishedHead | None = None
        """What is known of a head in the inbox that has not all come."""
        self.ended = False
        """The client sends no more."""
        self.stopping = False
        """No request after this one."""
        self._begin(INVALID_REQUEST)

    def _begin(self, request: Request) -> None:
        """A new exchange: nothing of its body has been read, nothing of its answer sent."""
        self.request = request
        self.keep_alive = request.keep_alive and not self.stopping
        self._decoder: LengthDecoder | ChunkedDecoder | None = None
        self._received = self._passed_over = 0
        self.continued: int = False
        """100 Continue has been sent; `CONTINUE_PENDING` while it has not all gone."""
        self.status = 0
        """Of the answer; 0 before it has begun."""
        self.sent = 0
        """Bytes of content in the answer so far."""
        self.answered = False
        self._chunked = False
        self.content_ended = self._contentless = False
        """Nothing more of the answer's content may be sent: its request or status allows none, or the application has
        given more than it promised."""
        self._remaining: int | None = None
        """Bytes of content that the answer's Content-Length still promises; None where it has none.
        `codec._EXCESS_REPORTED` (-1): the application gave more, and has been told so."""

    # What comes in

    def begin(self, data: bytes) -> bool:
        """Take what most clients send between two requests: a whole one that is known, and nothing else.

        False: it is something else, and nothing was done.
        """
        if data[-4:] != b"\r\n\r\n":
            return False  # or the hash of a body would be made for nothing
        request = self._known.get(data)
        if request is None or request.has_body or self._inbox:
            return False
        self._begin(request)
        return True

    @property
    def input_consumed(self) -> bool:
        """The request's body has been read, if it had one, and nothing has come after it."""
        decoder = self._decoder
        return (decoder is None or decoder.complete) and not self._inbox and not self.ended

    @property
    def pending(self) -> int:
        """Bytes that have come and are not used yet."""
        return len(self._inbox)

    @property
    def moved(self) -> int:
        """Bytes of content: of the request's body that were read, and of its answer's that were given."""
        return self._received + self.sent

    def receive(self, data: bytes) -> None:
        """Take what the client sent; `b""` says that it has ended."""
        if not data:
            self.ended = True
        elif not self._inbox:
            self._inbox = data
        else:
            self._inbox += data

    @property
    def inbox(self) -> bytes | bytearray:
        """What has come and is not used yet."""
        return self._inbox

    def begin_after(self, count: int, secure: bool) -> None:
        """Requests begin behind the first `count` bytes; `secure`: they came over TLS to whoever has sent those."""
        self._inbox = self._inbox[count:]
        if secure:
            self._scheme = "https"
            self._known = self._limits.known["https"]

    def next_request(self) -> Request | None:
        """The next request, when its whole head is here. Raises ProtocolError; the connection is of no use then."""
        try:
            request = self._next_head()
        except ProtocolError:
            self.begin_nothing()
            raise
        if request is not None:
            self._begin(request)
            if request.has_body:
                self._expect_body(request)
        return request

    def begin_nothing(self) -> None:
        """An exchange whose request cannot be known, for the answer that says so."""
        self._begin(INVALID_REQUEST)

    def _next_head(self) -> Request | None:
        inbox = self._inbox
        if inbox.startswith(CRLF):
            self._inbox = inbox = _without_empty_lines(inbox)
        end = inbox.find(b"\r\n\r\n", self._scanned) + 4
        if end < 4:
            self._scan_incomplete(inbox)
            return None
        if isinstance(inbox, bytearray):
            inbox = bytes(inbox)
            self._scanned = 0
            self._unfinished = None
        head = inbox[:end]
        self._inbox = inbox[end:]
        return self._known.get(head) or self._read_head(head)

    def _read_head(self, head: bytes) -> Request:
        limits = self._limits
        if len(head) - 4 > limits.header_block:
            self._check_size(head, len(head) - 4)
        request = parse_request(head[:-4], limits.header_count)
        request.scheme = self._scheme
        if request.line_length > limits.request_line:
            raise self._too_long(request.method.encode())
        if request.field_count > limits.header_count:
            raise ProtocolError(431, f"the request has more than {limits.header_count} header fields")
        if len(head) <= REMEMBERED_HEAD:
            self._known.add(head, request)
        return request

    def _expect_body(self, request: Request) -> None:
        if request.content_length > self._limits.body > 0:
            raise ProtocolError(413, f"the body is larger than {self._limits.body} bytes")
        self._decoder = ChunkedDecoder() if request.chunked else LengthDecoder(request.content_length)

    def _scan_incomplete(self, inbox: bytes | bytearray) -> None:
        """Refuse now what can only become worse, and remember how far it was looked at: all bytes are seen once."""
        if not inbox or inbox == b"\r":  # the first half of an empty line
            return
        unfinished = self._unfinished or UnfinishedHead(self._limits.header_count)
        unfinished.scan(inbox)
        if len(inbox) > min(self._limits.request_line, self._limits.header_block):
            self._check_size(inbox, len(inbox) - 3)  # three bytes of the end of the head may be here
        if len(inbox) > 3:
            self._scanned = len(inbox) - 3
            self._unfinished = unfinished
            self._inbox = bytearray(inbox) if isinstance(inbox, bytes) else inbox

    def _check_size(self, inbox: bytes | bytearray, size: int) -> None:
        """Raise ProtocolError if a head, of which `size` bytes are here, is over a limit."""
        limits = self._limits
        longest = limits.request_line + 2
        if len(inbox) >= longest and inbox.find(CRLF, 0, longest) < 0:
            raise self._too_long(inbox)
        if size > limits.header_block:
            raise ProtocolError(431, f"the header block is larger than {limits.header_block} bytes")

    def _too_long(self, line: bytes | bytearray) -> ProtocolError:
        """For a request line of which this is the beginning (RFC 9112 section 3)."""
        most = self._limits.request_line
        if len(line) > most and line.find(b" ", 0, most + 1) < 0:
            return ProtocolError(501, f"the method is longer than {most} bytes")
        return ProtocolError(414, f"the request line is longer than {most} bytes")

    # The body of the current request

    @property
    def body_complete(self) -> bool:
        """The whole body has been read, or there is none."""
        return self._decoder is None or self._decoder.complete

    @property
    def wants_continue(self) -> bool:
        """The client waits to be asked for the body (RFC 9110 section 10.1.1)."""
        return self.request.expects_continue and not (self.continued or self._received or self._inbox or self.status)

    def read_body(self) -> bytes | None:
        """The next piece of the body, `b""` at its end, None when it has not come yet.

        Raises ProtocolError when it is malformed or over the limit, ClientGone when it breaks off.
        """
        decoder = self._decoder
        if decoder is None or decoder.complete:
            return b""
        part = b""
        if self._inbox:
            part, self._inbox = decoder.decode(bytes(self._inbox))
            self._received += len(part)
            if self._received > self._limits.body > 0:
                raise ProtocolError(413, f"the body is larger than {self._limits.body} bytes")
        if part or decoder.complete:
            return part
        if self.ended:
            raise ClientGone("the client went away in the middle of its request's body")
        return None

    @property
    def _drainable(self) -> bool:
        """What is left of the body is little enough to be passed over, and the client will send it."""
        if self.wants_continue or self._decoder is None:
            return False
        return isinstance(self._decoder, ChunkedDecoder) or self._decoder.remaining <= DRAIN_LIMIT

    def drain(self) -> bool:
        """Pass over what has come of an unread body. True at its end; False while more is to come.

        Raises ProtocolError when it is more than the bound, or malformed; ClientGone when it breaks off.
        """
        while part := self.read_body():
            self._passed_over += len(part)
            if self._passed_over > DRAIN_LIMIT:
                raise ProtocolError(413, "nobody read this body")
        return part is not None


def _without_empty_lines(inbox: bytes | bytearray) -> bytes | bytearray:
    """RFC 9112 section 2.2: empty lines before a request are passed over."""
    start = 0
    while inbox.startswith(CRLF, start):
        start += 2
    return inbox[start:]
