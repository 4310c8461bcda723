"""One client connection in HTTP/1.1: requests in their order, their bodies, and their answers as bytes.

It keeps what has come and not been used, knows how the current request's body and answer are framed, and
decides whether the connection persists (RFC 9112 sections 6, 7 and 9). It does no I/O and does not wait:
`session` says what it needs, a model brings it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache

from septet.http.body import ChunkedDecoder, LengthDecoder
from septet.http.events import ClientGone, FileRegion, Part, ProtocolError, Request, ResponseHead, octets
from septet.http.grammar import CRLF, is_token
from septet.http.memory import Memory
from septet.http.proxy_protocol import Header, decode
from septet.http.request_head import parse_request

DRAIN_LIMIT = 65536
"""Bytes of an unread body that are passed over to keep a connection; more than that, and closing is cheaper."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

find_bare = re.compile(rb"(?<!\r)\n|\r(?![\n]|\Z)").search
"""A line feed without its carriage return, or the reverse (RFC 9112 section 2.2)."""

_TOLD = -1
"""No byte of content may follow, and the application has been told so."""

NO_REQUEST = Request("GET", b"", b"", b"", "1.1", (), keep_alive=False)
"""Stands where an answer is given to something that was not a request."""


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
    scheme: str = "http"
    """Of the requests: "https" where TLS ends before us."""
    known: Memory[bytes, Request] = field(
        default_factory=lambda: Memory(REMEMBERED_HEADS), init=False, repr=False, compare=False
    )
    """Heads that were found to be within these limits, by their exact bytes with the empty line at the end. A client on
    a kept-alive connection sends the same head again and again; one that was seen before costs a look-up."""


@lru_cache(8)
def _over_tls(limits: Limits) -> Limits:
    """The same, for requests of another scheme; in one piece for all connections, since it remembers heads."""
    return replace(limits, scheme="https")


def _unheard(complaint: str) -> None:
    """Where nobody is told what an application has got wrong."""


class Connection:
    """One client connection. `stamp` gives the Date and Server lines as bytes, each when True is passed for it;
    `complain` is told, in a sentence, where an application says one thing of its answer and does another."""

    __slots__ = (
        "_chunk_end",
        "_chunked",
        "_complain",
        "_contentless",
        "_decoder",
        "_inbox",
        "_limits",
        "_passed_over",
        "_received",
        "_remaining",
        "_scanned",
        "_stamp",
        "answered",
        "continued",
        "ended",
        "keep_alive",
        "request",
        "sent",
        "status",
        "stopping",
    )

    def __init__(
        self, limits: Limits, stamp: Callable[[bool, bool], bytes], complain: Callable[[str], object] = _unheard
    ) -> None:
        self._limits = limits
        self._stamp = stamp
        self._complain = complain
        self._chunk_end = b""
        """Owed by a chunk whose content is a file's."""
        self._inbox: bytes | bytearray = b""
        self._scanned = 0
        """Bytes of the inbox in which the end of the head is known not to begin."""
        self.ended = False
        """The client sends no more."""
        self.stopping = False
        """No request after this one."""
        self._begin(NO_REQUEST)

    def _begin(self, request: Request) -> None:
        """A new exchange: nothing of its body has been read, nothing of its answer sent."""
        self.request = request
        self.keep_alive = request.keep_alive and not self.stopping
        self._decoder: LengthDecoder | ChunkedDecoder | None = None
        self._received = self._passed_over = 0
        self.continued = False
        """100 Continue has been sent."""
        self.status = 0
        """Of the answer; 0 before it has begun."""
        self.sent = 0
        """Bytes of content in the answer so far."""
        self.answered = False
        self._chunked = False
        self._contentless = False
        self._remaining: int | None = None
        """Bytes of content that the answer's Content-Length still promises; None where it has none; `_TOLD`."""

    # What comes in

    def begin(self, data: bytes) -> bool:
        """Take what most clients send between two requests: a whole one that is known, and nothing else.

        False: it is something else, and nothing was done.
        """
        if data[-4:] != b"\r\n\r\n":
            return False  # or the hash of a body would be made for nothing
        request = self._limits.known.get(data)
        if request is None or request.has_body or self._inbox:
            return False
        self._begin(request)
        return True

    @property
    def at_rest(self) -> bool:
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

    def proxy_header(self) -> Header | None:
        """The header of the PROXY protocol with which the connection begins, when it is all here.

        Raises ProtocolError(400).
        """
        header = decode(self._inbox)
        if header is not None:
            self._inbox = self._inbox[header.length :]
            if header.secure:
                self._limits = _over_tls(self._limits)
        return header

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
        self._begin(NO_REQUEST)

    def _next_head(self) -> Request | None:
        inbox = self._inbox
        if inbox.startswith(CRLF):
            self._inbox = inbox = _without_empty_lines(inbox)
        end = inbox.find(b"\r\n\r\n", self._scanned) + 4
        if end < 4:
            self._look_at_incomplete(inbox)
            return None
        if isinstance(inbox, bytearray):
            inbox = bytes(inbox)
            self._scanned = 0
        head = inbox[:end]
        self._inbox = inbox[end:]
        return self._limits.known.get(head) or self._read_head(head)

    def _read_head(self, head: bytes) -> Request:
        limits = self._limits
        if len(head) - 4 > limits.header_block:
            self._check_size(head, len(head) - 4)
        request = parse_request(head[:-4], limits.header_count)
        request.scheme = limits.scheme
        if request.line_length > limits.request_line:
            raise ProtocolError(414, f"the request line is longer than {limits.request_line} bytes")
        if request.field_count > limits.header_count:
            raise ProtocolError(431, f"the request has more than {limits.header_count} header fields")
        if len(head) <= REMEMBERED_HEAD:
            limits.known.keep(head, request)
        return request

    def _expect_body(self, request: Request) -> None:
        if request.content_length > self._limits.body > 0:
            raise ProtocolError(413, f"the body is larger than {self._limits.body} bytes")
        self._decoder = ChunkedDecoder() if request.chunked else LengthDecoder(request.content_length)

    def _look_at_incomplete(self, inbox: bytes | bytearray) -> None:
        """Refuse now what can only become worse, and remember how far it was looked at: all bytes are seen once."""
        if not inbox:
            return
        if find_bare(inbox, self._scanned):
            raise ProtocolError(400, "a line ends in something other than CRLF")
        if self._scanned == 0 and not is_token(inbox[:1]) and inbox[:1] != b"\r":
            raise ProtocolError(400, "this is not the beginning of a request")
        if len(inbox) > min(self._limits.request_line, self._limits.header_block):
            self._check_size(inbox, len(inbox) - 3)  # three bytes of the end of the head may be here
        if len(inbox) > 3:
            self._scanned = len(inbox) - 3
            self._inbox = bytearray(inbox) if isinstance(inbox, bytes) else inbox

    def _check_size(self, inbox: bytes | bytearray, size: int) -> None:
        """Raise ProtocolError if a head, of which `size` bytes are here, is over a limit."""
        limits = self._limits
        longest = limits.request_line + 2
        if len(inbox) >= longest and inbox.find(CRLF, 0, longest) < 0:
            raise ProtocolError(414, f"the request line is longer than {limits.request_line} bytes")
        if size > limits.header_block:
            raise ProtocolError(431, f"the header block is larger than {limits.header_block} bytes")

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

    # The answer to it

    def respond(self, head: ResponseHead, body: Part, last: bool) -> bytes:
        """The bytes of an answer's head and the first part of its content; `last` says that there is no other.

        Of a FileRegion only the framing is accounted for here; its bytes follow by their own way.
        Raises ValueError for a file that is the only part, without a Content-Length, and TypeError as `send`.
        """
        stamp = self._stamp(not head.dated, not head.named)
        if last and isinstance(body, bytes) and self.keep_alive and self.request.ordinary and not self.stopping:
            sealed_stamp, length, sealed = head.seal
            decoder = self._decoder
            # The common answer, which went out a moment ago.
            if sealed_stamp is stamp and length == len(body) and (decoder is None or decoder.complete):
                self.answered = True
                self.sent = length
                self.status = head.status
                return sealed + body
        if head.closes or self.stopping or not (self._decoder is None or self._decoder.complete or self._drainable):
            self.keep_alive = False
        self._contentless = head.status in (204, 304) or self.request.method == "HEAD"
        if last and isinstance(body, bytes) and not self._contentless and head.content_length in (None, len(body)):
            return self._respond_whole(head, stamp, body)
        framing = self._frame(head, body, last)
        content = self.send(body, last)
        data = self._finish(head, stamp, framing) + content
        self.status = head.status  # only now: what could not be put into bytes has not begun
        return data

    def _respond_whole(self, head: ResponseHead, stamp: bytes, body: bytes) -> bytes:
        """All of the content is here, and as long as it should be."""
        self.answered = True
        self.sent = length = len(body)
        self._remaining = 0
        finished = self._finish(head, stamp, b"Content-Length: %d\r\n" % length if head.content_length is None else b"")
        if self.keep_alive and self.request.ordinary:
            head.seal = stamp, length, finished
        self.status = head.status
        return finished + body

    def _finish(self, head: ResponseHead, stamp: bytes, framing: bytes) -> bytes:
        """The whole head, down to the empty line."""
        persistence = b""
        if not self.keep_alive:
            persistence = b"Connection: close\r\n"
        elif self.request.version == "1.0":
            persistence = b"Connection: keep-alive\r\n"
        return b"%b%b%b%b\r\n" % (head.block, stamp, framing, persistence)

    def _frame(self, head: ResponseHead, body: Part, last: bool) -> bytes:
        """Decide how the content is delimited (RFC 9112 section 6.3); the field that says so, if it is not said yet."""
        if head.content_length is not None:
            self._remaining = head.content_length
            return b""
        if self._contentless:
            if last and isinstance(body, bytes) and body and head.status != 204:
                return b"Content-Length: %d\r\n" % len(body)
            return b""
        if isinstance(body, FileRegion) and last:
            raise ValueError("a file that is all of an answer is sent with a Content-Length")
        if self.request.version == "1.0":
            self.keep_alive = False
            return b""
        self._chunked = True
        return b"Transfer-Encoding: chunked\r\n"

    def send(self, body: Part, last: bool) -> bytes:
        """The bytes of one more part. More than was promised is left out; less than that ends the connection.

        A FileRegion is cut to what may be sent; of it only the framing is given here.
        Raises TypeError for content that is not bytes.
        """
        if isinstance(body, FileRegion):
            self.answered = last
            body.count = self._allowed(body.count, last)
            return self._begin_chunk(body.count)
        if type(body) is not bytes:
            body = octets(body)
        self.answered = last
        count = self._allowed(len(body), last)
        if self._chunked:
            chunk = b"%b%x\r\n%b\r\n" % (self._chunk_end, count, body) if count else self._chunk_end
            self._chunk_end = b""
            return chunk + b"0\r\n\r\n" if last else chunk
        return body if count == len(body) else body[:count]

    def _begin_chunk(self, count: int) -> bytes:
        """Around a stretch of a file that is a chunk; what ends it goes with the next part."""
        if not self._chunked or not count:
            return b""
        begin = b"%b%x\r\n" % (self._chunk_end, count)
        self._chunk_end = CRLF
        return begin

    def _allowed(self, count: int, last: bool) -> int:
        """How many of so many bytes of content may go out. What the application has got wrong is told, once."""
        if self._contentless:
            if count and self.request.method != "HEAD" and self._remaining != _TOLD:
                self._remaining = _TOLD
                self._complain(f"the answer to {self._asked()} has content, which its status forbids: it is left out")
            return 0
        if self._remaining is not None:
            count = self._within(self._remaining, count, last)
        self.sent += count
        return count

    def _within(self, remaining: int, count: int, last: bool) -> int:
        """Of so many bytes those that the Content-Length still has room for."""
        if count <= remaining:
            self._remaining = remaining - count
            if last and self._remaining:
                self.keep_alive = False  # only the end of the connection tells the client
                sent = self.sent + count
                self._complain(
                    f"the answer to {self._asked()} has {sent} bytes, but its Content-Length is "
                    f"{self.sent + remaining}: the connection is closed"
                )
            return count
        self._remaining = _TOLD
        if remaining == _TOLD:
            return 0
        self._complain(
            f"the answer to {self._asked()} has {self.sent + count} bytes or more, but its Content-Length is "
            f"{self.sent + remaining}: the excess is left out"
        )
        return remaining

    def _asked(self) -> str:
        return f"{self.request.method} {self.request.target.decode('ascii')}"

    def finish(self, trailers: bytes) -> bytes:
        """The bytes that end an answer, with a trailer section if it is chunked (RFC 9112 section 7.1.2)."""
        end = self.send(b"", True)
        return end[:-2] + trailers + b"\r\n" if end and self._chunked else end


def _without_empty_lines(inbox: bytes | bytearray) -> bytes | bytearray:
    """RFC 9112 section 2.2: empty lines before a request are passed over."""
    start = 0
    while inbox.startswith(CRLF, start):
        start += 2
    return inbox[start:]
