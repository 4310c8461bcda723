"""The receiving half of one connection: bytes become requests, in order, and their bodies (RFC 9112 sections 2, 6, 7,
9).

`Incoming` keeps the bytes that were received and not used yet, and enforces the limits. `codec` inherits from it and
adds the answers.
"""

from dataclasses import dataclass, field

from septet.exchange import ClientGone, ProtocolError, Request
from septet.http.body import ChunkedDecoder, LengthDecoder
from septet.http.cache import BoundedCache
from septet.http.grammar import CRLF
from septet.http.request_head import parse_request
from septet.http.unfinished import UnfinishedHead

DRAIN_LIMIT = 65536
"""Most bytes of a request's body that are discarded, because the application did not read them, to keep the connection
open. If there are more, the connection is closed, which is cheaper.
"""

INVALID_REQUEST = Request("GET", b"", b"", b"", "1.1", (), keep_alive=False)
"""The value of `Incoming.request` as long as the client has sent no valid request. The answer to it is an error, after
which the connection is closed.
"""

IDLE_REQUEST = Request("GET", b"", b"", b"", "1.1", ())
"""The value of `Incoming.request` while the connection waits for the next request, so that the object of the last
request can be freed.
"""

CONTINUE_PENDING = 2
"""A value of `Incoming.continued`: 100 Continue is in the output that waits for the socket, but not sent yet."""

END_OF_HEAD = b"\r\n\r\n"

REMEMBERED_HEADS = 256
REMEMBERED_HEAD = 4096
"""Bytes. Heads up to this length are cached when parsed, up to REMEMBERED_HEADS of them; longer ones are parsed each
time. 256 heads of this length, all of short fields, take 11 MiB."""


@dataclass(slots=True, frozen=True)
class Limits:
    """Limits on requests, in bytes; `header_count` is a number of field lines. `body` 0: no limit. A request beyond
    them is answered 414 (its request line), 431 (its header section) or 413 (its body); 501 if the method alone is
    longer than `request_line`.
    """

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
    """For each scheme, a cache of requests that were found to be within these limits, by the exact bytes of their
    heads, with the empty line at the end. A client sends the same head again and again on a connection; from the second
    time on it costs a look-up.
    """


class Incoming:
    """The receiving half of `Http1Codec`. It has the attributes of the sending half as well, because the beginning of
    an exchange resets both at once.
    """

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
        """The requests' scheme: "https" where TLS ends here or at a proxy in front of us."""
        self._known = limits.known[scheme]
        self._chunk_end = b""
        """The CRLF that ends the chunk of a part of a file, while it is not sent yet: it goes with the next part of the
        answer. Else empty.
        """
        self._inbox: bytes | bytearray = b""
        """Bytes that were received and not used yet."""
        self._scanned = 0
        """Number of bytes of `_inbox` that were already searched for the end of the head."""
        self._unfinished: UnfinishedHead | None = None
        """The object that checks a head which has not all come, so that a malformed one is refused at once; None if
        there is no such head.
        """
        self.ended = False
        """True if the client sends no more: its FIN was received."""
        self.stopping = False
        """True if the server stops: no request is taken after this one."""
        self._begin(INVALID_REQUEST)

    def _begin(self, request: Request) -> None:
        """Begin a new exchange: no byte of its body has been read, no byte of its answer sent."""
        self.request = request
        self.keep_alive = request.keep_alive and not self.stopping
        self._decoder: LengthDecoder | ChunkedDecoder | None = None
        self._received = self._passed_over = 0
        self.continued: int = False
        """True if 100 Continue has been sent; `CONTINUE_PENDING` while it waits in the output."""
        self.status = 0
        """The answer's status; 0 before the answer has begun."""
        self.sent = 0
        """Bytes of content in the answer so far."""
        self.answered = False
        self._chunked = False
        self.content_ended = self._contentless = False
        """True if no more content of the answer may be sent: the request's method or the status allows none, or the
        application has given more than its Content-Length.
        """
        self._remaining: int | None = None
        """Bytes of content to come until the answer's Content-Length is reached; None if it has no Content-Length.
        `codec._EXCESS_REPORTED` (-1): the application has given more, and this was logged.
        """

    # Receiving requests

    def begin(self, data: bytes) -> Request | None:
        """Shortcut for the usual input: if no earlier byte waits and `data` begins with a whole head, begin its request
        and return it; what follows the head waits in the inbox. Raises ProtocolError for a malformed head or one beyond
        a limit.

        Returns None, and does nothing, for other input; then call `receive` and `next_request`.
        """
        if self._inbox:
            return None
        end = len(data) if data[-4:] == END_OF_HEAD else data.find(END_OF_HEAD) + 4
        head = data[:end]
        request = self._known.get(head)
        if request is None:
            lines = head.split(CRLF)
            if end < 4 or not lines[0]:
                return None
            count = lines.index(b"")  # the empty line that ends the head; to search the bytes for it takes longer
            if count < len(lines) - 2:
                end = data.find(END_OF_HEAD) + 4
            del lines[count:]
            try:
                request = self._read_head(data[:end], lines)
            except ProtocolError:
                self.begin_invalid()
                raise
        self._inbox = data[end:]
        self._begin(request)
        if request.has_body:
            self._expect_body(request)
        return request

    def input_consumed(self) -> bool:
        """True if the request's body, if any, has been read to its end and nothing has come after it, neither a byte
        nor the end of the client's stream."""
        decoder = self._decoder
        return (decoder is None or decoder.complete) and not self._inbox and not self.ended

    @property
    def pending(self) -> int:
        """Number of bytes that were received and are not used yet."""
        return len(self._inbox)

    @property
    def moved(self) -> int:
        """Bytes of content in this exchange so far: those that were read of the request's body, and those that the
        application has given of the answer. Deadlines measure a client's progress by them.
        """
        return self._received + self.sent

    def receive(self, data: bytes) -> None:
        """Store bytes that the client has sent, for `next_request` and `read_body`. `b""` means that the client sends
        no more.
        """
        if not data:
            self.ended = True
        elif not self._inbox:
            self._inbox = data
        else:
            self._inbox += data

    @property
    def scheme(self) -> str:
        """The requests' scheme, "http" or "https"."""
        return self._scheme

    @property
    def inbox(self) -> bytes | bytearray:
        """The bytes that were received and are not used yet."""
        return self._inbox

    def take_inbox(self) -> bytes:
        """Remove and return the bytes that were received and are not used yet, because the connection speaks another
        protocol from now on.
        """
        data, self._inbox = bytes(self._inbox), b""
        return data

    def skip_proxy_header(self, count: int, secure: bool) -> None:
        """Drop the first `count` bytes received, a header of the PROXY protocol. `secure`: the client speaks TLS with
        the proxy, so the requests' scheme is "https"."""
        self._inbox = self._inbox[count:]
        if secure:
            self._scheme = "https"
            self._known = self._limits.known["https"]

    def next_request(self) -> Request | None:
        """Begin the next request and return it; None if its whole head has not come yet. Raises ProtocolError for a
        malformed head or one beyond a limit; the connection cannot be used for another request then."""
        try:
            request = self._next_head()
        except ProtocolError:
            self.begin_invalid()
            raise
        if request is not None:
            self._begin(request)
            if request.has_body:
                self._expect_body(request)
        return request

    def begin_invalid(self) -> None:
        """Begin an exchange with INVALID_REQUEST, for the answer that refuses what the client sent."""
        self._begin(INVALID_REQUEST)

    def _next_head(self) -> Request | None:
        """Take the next head from the inbox, and return its request; None if its end has not come. Raises
        ProtocolError."""
        inbox = self._inbox
        if inbox.startswith(CRLF):
            self._inbox = inbox = _without_empty_lines(inbox)
        end = inbox.find(END_OF_HEAD, self._scanned) + 4
        if end < 4:
            self._scan_incomplete(inbox)
            return None
        if isinstance(inbox, bytearray):
            inbox = bytes(inbox)
            self._scanned = 0
            self._unfinished = None
        head = inbox[:end]
        self._inbox = inbox[end:]
        return self._known.get(head) or self._read_head(head, head[:-4].split(CRLF))

    def _read_head(self, head: bytes, lines: list[bytes]) -> Request:
        """Parse a complete head that is not in the cache, check the limits, and cache it. `lines`: its lines. Raises
        ProtocolError."""
        limits = self._limits
        size = len(head) - 4
        if size > limits.header_block:
            self._check_size(head, size)
        request = parse_request(lines, limits.header_count, self._scheme)
        if size > limits.request_line:
            self._check_size(head, 0)
        if len(head) <= REMEMBERED_HEAD and self._known.add(head, request):
            request.derived = {}
        return request

    def _expect_body(self, request: Request) -> None:
        if request.content_length > self._limits.body > 0:
            raise ProtocolError(413, f"the body is larger than {self._limits.body} bytes")
        self._decoder = ChunkedDecoder() if request.chunked else LengthDecoder(request.content_length)

    def _scan_incomplete(self, inbox: bytes | bytearray) -> None:
        """Raise ProtocolError if no valid head begins with `inbox`. Remembers how far it has scanned, so that each byte
        is scanned once."""
        if not inbox or inbox == b"\r":  # half of an empty line
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
        """Raise ProtocolError(414, 431 or 501) if a head, of which `size` bytes have come, exceeds a limit."""
        limits = self._limits
        longest = limits.request_line + 2
        if len(inbox) >= longest and inbox.find(CRLF, 0, longest) < 0:
            raise self._too_long(inbox)
        if size > limits.header_block:
            raise ProtocolError(431, f"the header block is larger than {limits.header_block} bytes")

    def _too_long(self, line: bytes | bytearray) -> ProtocolError:
        """Return the error for a request line that is too long and begins with `line`: 501 if the method alone is too
        long, else 414 (RFC 9112 section 3).
        """
        most = self._limits.request_line
        if len(line) > most and line.find(b" ", 0, most + 1) < 0:
            return ProtocolError(501, f"the method is longer than {most} bytes")
        return ProtocolError(414, f"the request line is longer than {most} bytes")

    # Reading the body of the current request

    @property
    def body_complete(self) -> bool:
        """True if the whole body has been read, or there is none."""
        return self._decoder is None or self._decoder.complete

    @property
    def wants_continue(self) -> bool:
        """True if the client expects 100 Continue before it sends the body, and neither that nor an answer was sent,
        nor has any of the body come (RFC 9110 section 10.1.1)."""
        return self.request.expects_continue and not (self.continued or self._received or self._inbox or self.status)

    def read_body(self) -> bytes | None:
        """Return the next piece of the body: `b""` at its end, None if no more has come yet.

        Raises ProtocolError if the body is malformed or exceeds the limit, ClientGone if the client's stream ends
        within it.
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
        """True if the rest of the body can be discarded so that the connection stays open: the client will send it, and
        it is not known to exceed DRAIN_LIMIT."""
        if self.wants_continue or self._decoder is None:
            return False
        return isinstance(self._decoder, ChunkedDecoder) or self._decoder.remaining <= DRAIN_LIMIT

    def drain(self) -> bool:
        """Discard what has come of a body that the application did not read. Returns True at its end, False while more
        is to come.

        Raises ProtocolError if more than DRAIN_LIMIT bytes were discarded or the body is malformed, ClientGone if the
        client's stream ends within it.
        """
        while part := self.read_body():
            self._passed_over += len(part)
            if self._passed_over > DRAIN_LIMIT:
                raise ProtocolError(413, "the application did not read this body")
        return part is not None


def _without_empty_lines(inbox: bytes | bytearray) -> bytes | bytearray:
    """Return `inbox` without the empty lines before a request, which are ignored (RFC 9112 section 2.2)."""
    start = 0
    while inbox.startswith(CRLF, start):
        start += 2
    return inbox[start:]
