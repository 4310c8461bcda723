"""One client connection in HTTP/1.1: bytes received become requests and bodies, answers become bytes to send.

The codec knows how the current request's body and answer are framed, and decides whether the connection persists (RFC
9112 sections 6, 7 and 9). It does no I/O and does not wait; the session calls it. The base class in `incoming` has the
requests, this file the answers.
"""

from collections.abc import Callable

from septet.exchange import Fields, FileRegion, Part, Request, ResponseHead, octets
from septet.http.grammar import CRLF
from septet.http.head import interim_fields, reason_phrase
from septet.http.incoming import Incoming, Limits

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_EXCESS_REPORTED = -1
"""A value of `Http1Codec._remaining`, which says how many bytes of content may still follow: none may, and it has been
logged that the application gave more.
"""


def _ignore(complaint: str) -> None:
    """The default of the argument `complain`: does nothing with the sentence."""


class Http1Codec(Incoming):
    """Codec of one client connection in HTTP/1.1.

    `date_and_server` returns the Date and Server lines as bytes: Date if its first argument is True, Server if its
    second is. `complain` is called with a sentence when the content of an answer contradicts its head. `scheme` is the
    requests' scheme, "http" or "https".
    """

    __slots__ = ("_complain", "_date_and_server")

    def __init__(
        self,
        limits: Limits,
        date_and_server: Callable[[bool, bool], bytes],
        complain: Callable[[str], object] = _ignore,
        scheme: str = "http",
    ) -> None:
        super().__init__(limits, scheme)
        self._date_and_server = date_and_server
        self._complain = complain

    def respond(self, head: ResponseHead, body: Part, last: bool) -> bytes:
        """Begin the answer: return the bytes of its head and of the first part of its content. `last`: there is no
        other part.

        For a FileRegion only its framing is returned; the caller sends the file's bytes after it. Raises ValueError for
        a file that is the only part and has no Content-Length, and TypeError for content that is not bytes.
        """
        date_and_server = self._date_and_server(not head.has_date, not head.has_server)
        if last and isinstance(body, bytes) and self.keep_alive and self.request.ordinary and not self.stopping:
            _, serialised_for, length, sealed = head.serialised
            decoder = self._decoder
            # The usual case: this head was sent before, within the same second.
            if serialised_for is date_and_server and length == len(body) and (decoder is None or decoder.complete):
                self.answered = True
                self.sent = length
                self.status = head.status
                return sealed + body
        if head.closes or self.stopping or not (self._decoder is None or self._decoder.complete or self._drainable):
            self.keep_alive = False
        self.content_ended = self._contentless = head.status in (204, 304) or self.request.method == "HEAD"
        if last and isinstance(body, bytes) and not self._contentless and head.content_length in (None, len(body)):
            return self._respond_whole(head, date_and_server, body)
        framing = self._frame(head, body, last)
        content = self.send(body, last)
        data = self._finish(head, date_and_server, framing) + content
        self.status = head.status  # only now: an answer that raised above has not begun
        return data

    def _respond_whole(self, head: ResponseHead, date_and_server: bytes, body: bytes) -> bytes:
        """Return the bytes of an answer whose whole content is `body`; its Content-Length is added if the head has
        none."""
        self.answered = True
        self.sent = length = len(body)
        self._remaining = 0
        finished = self._finish(
            head, date_and_server, b"Content-Length: %d\r\n" % length if head.content_length is None else b""
        )
        if self.keep_alive and self.request.ordinary:
            head.serialised = head.serialised[0], date_and_server, length, finished
        self.status = head.status
        return finished + body

    def _finish(self, head: ResponseHead, date_and_server: bytes, framing: bytes) -> bytes:
        """Return the bytes of the head, with the empty line that ends it: the application's fields, `date_and_server`,
        the field line `framing`, and Connection where it is needed."""
        persistence = b""
        if not self.keep_alive:
            persistence = b"Connection: close\r\n"
        elif self.request.version == "1.0":
            persistence = b"Connection: keep-alive\r\n"
        block = head.serialised[0]
        if not block:
            block = serialise(head)
            head.serialised = block, b"", -1, b""
        return b"%b%b%b%b\r\n" % (block, date_and_server, framing, persistence)

    def _frame(self, head: ResponseHead, body: Part, last: bool) -> bytes:
        """Decide how the client finds the end of the content (RFC 9112 section 6.3). Returns the field line that tells
        it, with CRLF; `b""` if none is needed."""
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
        """Return the bytes of one more part of the content, framed. Content beyond the Content-Length is left out; if
        the content is shorter than that after the last part, the connection closes.

        A FileRegion is cut to what may be sent, and only its framing is returned. Raises TypeError for content that is
        not bytes.
        """
        if self._chunked and type(body) is bytes and body and not last and not self._chunk_end:
            self.sent += len(body)  # the usual part of a stream
            return b"%x\r\n%b\r\n" % (len(body), body)
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

    @property
    def content_complete(self) -> bool:
        """True if the application has given as many bytes as the answer's Content-Length says."""
        return self._remaining == 0

    def end_of_file(self) -> bytes:
        """Return the bytes to send after a FileRegion that was the last part: the CRLF that ends its chunk, and the
        chunk of size 0 that ends the content; `b""` if the answer is not chunked.
        """
        end, self._chunk_end = self._chunk_end, b""
        return end + b"0\r\n\r\n" if self._chunked else b""

    def _begin_chunk(self, count: int) -> bytes:
        """Return the bytes that go before `count` bytes of a file: the CRLF that ends the chunk of an earlier part of a
        file, if it was not sent yet, and the size line of this chunk. The CRLF that ends this chunk is sent with the
        next part. `b""` if the answer is not chunked, or `count` is 0.
        """
        if not self._chunked or not count:
            return b""
        begin = b"%b%x\r\n" % (self._chunk_end, count)
        self._chunk_end = CRLF
        return begin

    def _allowed(self, count: int, last: bool) -> int:
        """Return how many of `count` more bytes of content may be sent. The first excess is reported to `complain`."""
        if self._contentless:
            if count and self.request.method != "HEAD" and self._remaining != _EXCESS_REPORTED:
                self._remaining = _EXCESS_REPORTED
                self.content_ended = True
                request = describe(self.request)
                self._complain(f"the answer to {request} has content, which its status forbids: it is left out")
            return 0
        if self._remaining is not None:
            count = self._within(self._remaining, count, last)
        self.sent += count
        return count

    def _within(self, remaining: int, count: int, last: bool) -> int:
        """Return how many of `count` more bytes may be sent when `remaining` bytes are left of the Content-Length.
        Reports an excess and, after the last part, a lack of content; after a lack the connection is closed.
        """
        if count <= remaining:
            self._remaining = remaining - count
            if last and self._remaining:
                self.keep_alive = False  # the client can see only by the end of the connection that content is missing
                sent = self.sent + count
                self._complain(
                    f"the answer to {describe(self.request)} has {sent} bytes, but its Content-Length is "
                    f"{self.sent + remaining}: the connection is closed"
                )
            return count
        self._remaining = _EXCESS_REPORTED
        self.content_ended = True
        if remaining == _EXCESS_REPORTED:
            return 0
        self.complain_of_excess(self.request, self.sent + count, self.sent + remaining)
        return remaining

    def complain_of_excess(self, request: Request, given: int, promised: int) -> None:
        """Call `complain` with a sentence that says that the application has given `given` bytes of content, more than
        its Content-Length, `promised`. `request` is the request that was answered.
        """
        self._complain(
            f"the answer to {describe(request)} has {given} bytes or more, but its Content-Length is {promised}: "
            "the excess is left out"
        )

    def completed_by(self, part: Part) -> bool:
        """True if this part, when it is added, brings the content to the length that the answer's Content-Length says.
        Always False for a FileRegion, without a Content-Length, and if the answer may have no content.
        """
        return type(part) is bytes and len(part) == self._remaining and not self._contentless

    def finish(self, trailers: Fields) -> bytes:
        """Return the bytes that end an answer, with a trailer section if it is chunked (RFC 9112 section 7.1.2)."""
        end = self.send(b"", True)
        return end[:-2] + _lines(trailers) + CRLF if end and self._chunked else end

    def inform(self, status: int, fields: Fields) -> bytes:
        """Return the bytes of an interim answer (1xx, RFC 9110 section 15.2); `b""` for an HTTP/1.0 client. Raises
        ValueError for a malformed field."""
        kept = interim_fields(fields)
        if not self.extended:
            return b""
        return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason_phrase(status).encode("ascii"), _lines(kept))

    def switch(self, head: ResponseHead) -> bytes:
        """Return the bytes of an answer 101; after it, another protocol is spoken (RFC 9110 section 7.8)."""
        self.status = head.status
        self.keep_alive = False
        return serialise(head) + self._date_and_server(not head.has_date, not head.has_server) + CRLF

    @property
    def extended(self) -> bool:
        """True if the client understands interim answers and trailers: it speaks HTTP/1.1 (RFC 9110 section 15.2)."""
        return self.request.version != "1.0"


def serialise(head: ResponseHead) -> bytes:
    """Return the status line and the application's field lines, each ended by CRLF (RFC 9112 sections 4 and 5)."""
    return b"HTTP/1.1 %d %b\r\n%b" % (head.status, head.reason, _lines(head.fields))


def _lines(fields: Fields) -> bytes:
    return b"".join([b"%b: %b\r\n" % field for field in fields])


def describe(request: Request) -> str:
    """Return method and target of a request, for a log message."""
    return f"{request.method} {request.target.decode('ascii')}"
