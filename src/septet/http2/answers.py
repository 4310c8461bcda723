"""Answers in HTTP/2: the fields of a head (RFC 9113 section 8.3.2), and the count of content against Content-Length.

A session's exchange asks `Content` how much of each part may be sent. As in HTTP/1.1, content beyond the Content-Length
is left out and reported. If there is too little of it, the stream is reset, so that the client sees that the answer is
incomplete.
"""

from collections.abc import Callable

from septet.exchange import Fields, FileRegion, Part, Request, ResponseHead
from septet.http.cache import BoundedCache

Complain = Callable[[str], object]

_NOT_IN_HTTP2 = frozenset({b"upgrade", b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding"})

_lowered: BoundedCache[Fields, Fields] = BoundedCache(256)


def lowered(fields: Fields) -> Fields:
    """Return an application's fields with names in lower case, without those that only HTTP/1.1 has, such as
    Connection.
    """
    known = _lowered.get(fields)
    if known is None:
        known = tuple(
            (name.lower(), value.strip(b" \t")) for name, value in fields if name.lower() not in _NOT_IN_HTTP2
        )
        if sum(len(name) + len(value) for name, value in known) <= 2048:
            _lowered.add(fields, known)
    return known


_server_lines: tuple[bytes, Fields] = b"", ()


def server_fields(lines: bytes) -> Fields:
    """Return the fields Date and Server as HTTP/2 sends them, given as `lines`, each with CRLF. The last result is
    cached, because the lines change only once a second.
    """
    global _server_lines
    known, fields = _server_lines
    if known is not lines:
        pairs = (line.partition(b": ") for line in lines.split(b"\r\n") if line)
        fields = tuple((name.lower(), value) for name, _, value in pairs)
        _server_lines = lines, fields
    return fields


class Content:
    """Counts an answer's content, and says how much of it may be sent: none for HEAD, 204 and 304, and no more than its
    Content-Length.
    """

    __slots__ = ("_complain", "_excess", "ended", "forbidden", "remaining", "request", "sent")

    def __init__(self, request: Request, complain: Complain) -> None:
        self.request = request
        self._complain = complain
        self.sent = 0
        """Bytes of content that the application has given, not counting those that must not be sent."""
        self.remaining: int | None = None
        """Bytes of content to come until the Content-Length is reached; None if the answer has no Content-Length."""
        self.forbidden = False
        """True if the request's method or the answer's status allows no content."""
        self.ended = False
        """True if no more content may be sent: none is allowed, or the Content-Length was exceeded."""
        self._excess = False
        """True once content that must not be sent was reported; it is reported once for each answer."""

    def begin(self, head: ResponseHead) -> None:
        self.remaining = head.content_length
        self.ended = self.forbidden = head.status in (204, 304) or self.request.method == "HEAD"

    def allowed(self, part: Part) -> Part:
        """Return what of a part of the content may be sent: all of it, its beginning, or nothing."""
        count = part.count if isinstance(part, FileRegion) else len(part)
        allowed = count
        if self.forbidden:
            allowed = 0
            if count and self.request.method != "HEAD" and not self._excess:
                self._excess = True
                self._complain(
                    f"the answer to {described(self.request)} has content, which its status forbids: it is left out"
                )
        elif self.remaining is not None:
            allowed = min(count, self.remaining)
            if allowed < count:
                self.ended = True
                if not self._excess:
                    self.complain_of_excess(self.request, self.sent + count, self.sent + self.remaining)
            self.remaining -= allowed
        self.sent += allowed
        if isinstance(part, FileRegion):
            part.count = allowed
            return part
        return part if allowed == count else part[:allowed]

    def complain_of_excess(self, request: Request, given: int, promised: int) -> None:
        self._excess = True
        self._complain(
            f"the answer to {described(request)} has {given} bytes or more, but its Content-Length is {promised}: "
            "the excess is left out"
        )

    @property
    def lacking(self) -> bool:
        """True if less content was given than the Content-Length says."""
        return bool(self.remaining) and not self.forbidden

    def complain_of_lack(self) -> None:
        """Log that an answer has ended with less content than its Content-Length says."""
        self._complain(
            f"the answer to {described(self.request)} has {self.sent} bytes, but its Content-Length is "
            f"{self.sent + (self.remaining or 0)}: the stream is reset"
        )


def described(request: Request) -> str:
    return f"{request.method} {request.target.decode('ascii')}"
