"""Parses answers. An answer of HTTP/1.x is parsed from the bytes that come, without I/O, until its end is found (RFC
9112 section 6). An answer of HTTP/2 comes in parts that the module `http2` has parsed already.

Only what a load generator needs is read: the status, where the answer ends, whether another request may follow. The
module shares no code with the server of this project: a generator that did would share its mistakes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum, auto
from functools import lru_cache
from typing import NamedTuple

CHUNKED, UNTIL_CLOSE = -1, -2
"""Values of `Framing.length` for a body in chunks, and for one that ends when the server closes the connection."""
HEAD_BYTES_MAX = 65536
TEXT_BYTES_MAX = 2000
"""A body of more bytes is not taken for a short text that says what is wrong."""
LINE_CHARACTERS_MAX = 200
STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: .*)?")
CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")


def first_line(body: bytes) -> str:
    """Return the first line of a short text, with single spaces in it, and at most LINE_CHARACTERS_MAX long. `body` is
    that of an answer, in UTF-8. Returns "" if it is longer than TEXT_BYTES_MAX, or no text for people: HTML,
    or compressed.
    """
    if len(body) > TEXT_BYTES_MAX:
        return ""
    try:
        line = " ".join(body.decode().strip().partition("\n")[0].split())
    except UnicodeDecodeError:
        return ""
    if line.startswith("<") or not line.isprintable() or not any(map(str.isalnum, line)):
        return ""
    return line if len(line) <= LINE_CHARACTERS_MAX else line[: LINE_CHARACTERS_MAX - 1] + "…"


def _beginning(body: bytearray, framing: Framing | None, data: bytes) -> bytes:
    """Return the part of the next bytes of a body, `data`, that is kept although nothing compares the body: of an error
    (status 400 to 599) the first bytes, one more than `first_line` takes. `body` is what is kept already.
    """
    if framing is None or framing.status < 400:
        return b""
    return data[: TEXT_BYTES_MAX + 1 - len(body)]


class Malformed(Exception):
    """The received bytes do not follow the protocol in which the answer is expected: HTTP/1.x, HTTP/2 or WebSocket."""


class Framing(NamedTuple):
    """What a client needs to know from the head of an answer: its status, where the answer ends, whether the connection
    goes on, and the cookies.
    """

    status: int
    length: int
    """The length of the body in bytes, or CHUNKED, or UNTIL_CLOSE."""
    keep: bool
    """True if another request may follow on the connection."""
    cookies: tuple[bytes, ...] = ()
    """The values of all Set-Cookie fields."""


@lru_cache(maxsize=256)  # heads of one server differ in their Date, once a second
def parse_head(head: bytes) -> Framing:
    """Parse the head of an answer, which is given without its final empty line (RFC 9112 sections 4, 6.3 and 9.3).
    Raises Malformed.
    """
    status_line, *lines = head.split(b"\r\n")
    start = STATUS_LINE.fullmatch(status_line)
    if not start:
        raise Malformed("status line")
    lengths: list[bytes] = []
    codings: list[bytes] = []
    options: list[bytes] = []
    cookies: list[bytes] = []
    for line in _unfolded(lines):
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip():
            raise Malformed("header field")
        match name.lower():
            case b"content-length":
                lengths += _elements(value) or [b""]
            case b"transfer-encoding":
                codings += _elements(value) or [b""]
            case b"connection":
                options += _elements(value)
            case b"set-cookie":
                cookies.append(value.strip(b" \t"))
    keep = b"close" not in options and (start[1] == b"1" or b"keep-alive" in options)
    if codings and (lengths or start[1] == b"0"):
        keep = False  # RFC 9112 section 6.1: the framing is faulty
    length = _body_length(int(start[2]), lengths, codings)
    return Framing(int(start[2]), length, keep and length != UNTIL_CLOSE, tuple(cookies))


def _unfolded(lines: list[bytes]) -> list[bytes]:
    """Join each header line with the lines that continue it, which begin with white space (RFC 9112 section 5.2).
    Raises Malformed if the first line is such a line.
    """
    if not any(line.startswith((b" ", b"\t")) for line in lines):
        return lines
    whole: list[bytes] = []
    for line in lines:
        if not line.startswith((b" ", b"\t")):
            whole.append(line)
        elif whole:
            whole[-1] += b" " + line.strip(b" \t")
        else:
            raise Malformed("white space before the first header field")
    return whole


def _elements(value: bytes) -> list[bytes]:
    """Return the elements of a comma-separated list, in lower case, without empty ones (RFC 9110 section 5.6.1.2)."""
    return [element for each in value.lower().split(b",") if (element := each.strip(b" \t"))]


def _body_length(status: int, lengths: list[bytes], codings: list[bytes]) -> int:
    """Return the length of an answer's body in bytes, or CHUNKED or UNTIL_CLOSE, by RFC 9112 section 6.3, from its
    status and the values of Content-Length and Transfer-Encoding.
    """
    if status < 200 or status in (204, 304):
        return 0
    if codings:
        return CHUNKED if codings[-1] == b"chunked" else UNTIL_CLOSE
    if not lengths:
        return UNTIL_CLOSE
    if len(set(lengths)) > 1 or not lengths[0].isdigit():
        raise Malformed("Content-Length")
    return int(lengths[0])


class Place(Enum):
    """The kind of line that comes next in a chunked body (RFC 9112 section 7.1)."""

    SIZE = auto()
    DATA_END = auto()
    TRAILERS = auto()


class Answer:
    """Parses one answer of HTTP/1.x: its bytes are given to `feed` until it is complete.

    `bodiless`: True if the request was HEAD, so that the answer has no body (RFC 9110 section 9.3.2). `keeps_body`:
    True to keep the decoded body in the attribute `body`; of an error its beginning is kept in any case.
    """

    # fmt: off
    __slots__ = (
        "_bodiless", "_chunk_left", "_place", "_unread", "body", "body_bytes", "complete", "framing", "keeps_body"
    )
    # fmt: on

    def __init__(self, bodiless: bool = False, keeps_body: bool = False) -> None:
        self.framing: Framing | None = None
        """What the head says about status, length and connection; None until the head is complete."""
        self.body_bytes = 0
        self.complete = False
        self.keeps_body = keeps_body
        self.body = bytearray()
        self._bodiless = bodiless
        self._unread = b""
        self._chunk_left = 0
        self._place = Place.SIZE

    def feed(self, data: bytes) -> bool:
        """Parse the next bytes (b"" when the server has closed); returns True when the answer is complete. Raises
        Malformed.
        """
        if not data:
            self.complete = self.framing is not None and self.framing.length == UNTIL_CLOSE
            return self.complete
        self._unread += data
        if self.framing is None:
            self._take_head()
        if self.framing is None:
            return False
        if self.framing.length == CHUNKED:
            self.complete = self._take_chunks()
        else:
            self._take_plain(self.framing.length)
        if self.complete and self._unread:
            raise Malformed("bytes after the answer")
        return self.complete

    def _take_head(self) -> None:
        while self.framing is None:
            head, end, rest = self._unread.partition(b"\r\n\r\n")
            if len(head) > HEAD_BYTES_MAX:
                raise Malformed("head too large")
            if not end:
                return
            self._unread = rest
            framing = parse_head(head)
            if framing.status >= 200:  # a 1xx answer is followed by the real one (RFC 9110 section 15.2)
                self.framing = framing._replace(length=0) if self._bodiless else framing

    def _take_plain(self, length: int) -> None:
        taken = len(self._unread) if length == UNTIL_CLOSE else min(len(self._unread), length - self.body_bytes)
        self._take(taken)
        self.complete = self.body_bytes == length

    def _take(self, taken: int) -> None:
        if self.keeps_body:
            self.body += self._unread[:taken]
        else:
            self.body += _beginning(self.body, self.framing, self._unread[:taken])
        self.body_bytes += taken
        self._unread = self._unread[taken:]

    def _take_chunks(self) -> bool:
        """Parse as much of a chunked body as has been received (RFC 9112 section 7.1). Returns True if its last line
        was among it.
        """
        while True:
            if self._chunk_left > 0:
                taken = min(self._chunk_left, len(self._unread))
                self._take(taken)
                self._chunk_left -= taken
                if self._chunk_left:
                    return False
                self._place = Place.DATA_END
            line, end, rest = self._unread.partition(b"\r\n")
            if not end:
                if len(line) > HEAD_BYTES_MAX:
                    raise Malformed("line too long")
                return False
            self._unread = rest
            if self._place is Place.TRAILERS:
                if not line:
                    return True
            elif self._place is Place.DATA_END:
                if line:
                    raise Malformed("chunk longer than its size")
                self._place = Place.SIZE
            else:
                self._begin_chunk(line)

    def _begin_chunk(self, line: bytes) -> None:
        size = CHUNK_SIZE.fullmatch(line)
        if not size:
            raise Malformed("chunk size")
        self._chunk_left = int(size[1], 16)
        if not self._chunk_left:
            self._place = Place.TRAILERS


class StreamAnswer:
    """One answer over HTTP/2, which is given in parts: its head, then its content, then its end.

    `bodiless`: True if the request was HEAD, so that the answer has no content. `keeps_body`: True to keep the content
    in the attribute `body`; of an error its beginning is kept in any case.
    """

    __slots__ = ("_bodiless", "_declared", "body", "body_bytes", "first_ns", "framing", "keeps_body", "uncredited")

    def __init__(self, bodiless: bool = False, keeps_body: bool = False) -> None:
        self.framing: Framing | None = None
        """What the head says about status, length and connection; None until the head has come."""
        self.first_ns = 0
        """When the head came, in ns of the monotonic clock."""
        self.body_bytes = 0
        self.keeps_body = keeps_body
        self.body = bytearray()
        self.uncredited = 0
        """Bytes of content for which no WINDOW_UPDATE of the stream has been sent yet."""
        self._bodiless = bodiless
        self._declared: int | None = None

    def begin(self, fields: Iterable[tuple[bytes, bytes]], now: int) -> None:
        """Read the head of the answer from its fields, whose names are in lower case. It came at `now`, in ns of the
        monotonic clock. Raises Malformed.
        """
        status, lengths, cookies = b"", set(), []
        for name, value in fields:
            match name:
                case b":status":
                    status = value
                case b"content-length":
                    lengths.add(value)
                case b"set-cookie":
                    cookies.append(value)
        if len(status) != 3 or not status.isdigit() or len(lengths) > 1 or not all(map(bytes.isdigit, lengths)):
            raise Malformed("head")
        self.framing, self.first_ns = Framing(int(status), UNTIL_CLOSE, True, tuple(cookies)), now
        if lengths and not self._bodiless and status not in (b"204", b"304"):
            self._declared = int(lengths.pop())

    def take(self, data: bytes) -> None:
        """Count the next bytes of the content, and keep them if `keeps_body` says so."""
        self.body_bytes += len(data)
        self.body += data if self.keeps_body else _beginning(self.body, self.framing, data)

    def ending(self) -> str:
        """Return the kind of error that the answer has if it ends now, such as "short body", or "" if all of the answer
        has come.
        """
        if self.framing is None:
            return "malformed"
        if self._declared is None or self.body_bytes == self._declared:
            return ""
        return "short body" if self.body_bytes < self._declared else "malformed"
