"""Lines that have not all come: what can no longer become valid is refused at once.

A client that waits for the answer to half a line would else wait until time is up, and a proxy that ends lines in
another way than we do would learn of it half a minute late. Every byte is looked at once, however slowly they come; a
line that is complete is read as it will be when all of the head is there.

What is refused here would be refused when it is whole, and for the same reason. Where a request line is malformed and
also asks for what is not spoken here (505, 501), the grammar comes first, in `request_head` too: a line cannot be known
to be whole before its end.
"""

import re
from collections.abc import Callable

from septet.exchange import ProtocolError
from septet.http.grammar import CRLF, MAX_LENGTH, TARGET_RUN, TOKEN_RUN, is_token
from septet.http.request_head import read_request_line, split_target
from septet.http.sections import check_field_line

_token_run = re.compile(TOKEN_RUN).match
_target_run = re.compile(TARGET_RUN).match
_find_control = re.compile(rb"[\x00-\x08\x0A-\x1F\x7F]").search

_SCHEMES = (b"http://", b"https://")

_VERSION = b"HTTP/0.0"
_DIGITS = bytes.maketrans(b"123456789", b"000000000")

Run = Callable[[bytes | bytearray, int], re.Match[bytes] | None]


def _refused(data: bytes | bytearray, place: int, reason: str) -> ProtocolError:
    """For the byte at `place`. That a line ends in a bare CR or LF is the likeliest mistake, and is told as such."""
    bare = data[place : place + 1] in (b"\r", b"\n")
    return ProtocolError(400, "a line ends in something other than CRLF" if bare else reason)


class UnfinishedFields:
    """The field lines of a head or a trailer section, which begin at the byte `start` of what has come.

    `check` reads a complete line; `most` is how many there may be.
    """

    __slots__ = ("_check", "_line", "_most", "_named", "_seen")

    def __init__(self, start: int, most: int, check: Callable[[bytes], object] = check_field_line) -> None:
        self._check = check
        self._line = start
        """Where the present line begins."""
        self._seen = start
        """Up to where it has been looked at."""
        self._named = False
        """Its colon has come."""
        self._most = most

    def look(self, data: bytes | bytearray) -> None:
        """Look at what has come since the last time. Raises ProtocolError(400 or 431)."""
        while (end := data.find(CRLF, self._seen)) >= 0:
            self._check_line(data, end)
            self._most -= 1
            self._line = self._seen = end + 2
            self._named = False
        end = len(data)
        if end > self._seen and data[-1:] == b"\r":  # nothing but an LF may follow
            end -= 1
            if end > self._line:
                self._check_line(data, end)
        if end > self._line:
            self._check_begun(data, end)
        self._seen = end

    def _check_line(self, data: bytes | bytearray, end: int) -> None:
        self._count()
        self._check(bytes(data[self._line : end]))

    def _count(self) -> None:
        if self._most <= 0:
            raise ProtocolError(431, "the request has too many header fields")

    def _check_begun(self, data: bytes | bytearray, end: int) -> None:
        self._count()
        start = self._seen
        if not self._named:
            matched = _token_run(data, start, end)
            assert matched is not None, "a run of no bytes is one"
            start = matched.end()
            if start == end:
                return
            if data[start] != ord(":") or start == self._line:
                if start == self._line and data[start] in b" \t":
                    raise ProtocolError(400, "a header field is folded: its line begins with white space")
                raise _refused(data, start, "a header field has no name, or one that is not a token")
            self._named = True
        if found := _find_control(data, start, end):
            raise _refused(data, found.start(), "a header field's value holds a control byte")


class UnfinishedHead:
    """A request's head, from its first byte; at most `most` fields."""

    __slots__ = ("_fields", "_most", "_seen", "_word", "_words")

    def __init__(self, most: int) -> None:
        self._most = most
        self._words: list[bytes] = []
        """Those of the request line that are complete."""
        self._word = 0
        """Where the present one begins."""
        self._seen = 0
        """Up to where it has been looked at."""
        self._fields: UnfinishedFields | None = None
        """None while the request line is not complete."""

    def look(self, data: bytes | bytearray) -> None:
        """Look at what has come since the last time. Raises ProtocolError as for a whole head."""
        if self._fields is None:
            self._look_at_request_line(data)
        if self._fields is not None:
            self._fields.look(data)

    def _look_at_request_line(self, data: bytes | bytearray) -> None:
        end = data.find(CRLF, self._seen)
        if end >= 0:
            read_request_line(bytes(data[:end]))
            self._fields = UnfinishedFields(end + 2, self._most)
        elif data[-1:] == b"\r":  # nothing but an LF may follow
            read_request_line(bytes(data[:-1]))
            self._seen = len(data) - 1
        else:
            self._look_at_words(data)

    def _look_at_words(self, data: bytes | bytearray) -> None:
        if not self._words and not self._word_ends(_token_run, data, "the method is not a token"):
            return
        if len(self._words) == 1:
            ended = self._word_ends(_target_run, data, "the request target holds a byte that may not stand there")
            if not ended and not _may_become_target(self._words[0], bytes(data[self._word : self._word + 9])):
                raise ProtocolError(400, "the request target has none of the four forms")
            if not ended:
                return
            split_target(*self._words)
        begun = bytes(data[self._word : self._word + 9])
        if not _VERSION.startswith(begun.translate(_DIGITS)):
            raise _refused(data, len(data) - 1, "the request line does not end in an HTTP version")

    def _word_ends(self, run: Run, data: bytes | bytearray, reason: str) -> bool:
        """Go on in the present word; True when a space ends it, and the next has begun."""
        matched = run(data, self._seen)
        assert matched is not None, "a run of no bytes is one"
        end = self._seen = matched.end()
        if end == len(data):
            return False
        if data[end] != ord(" ") or end == self._word:
            raise _refused(data, end, reason)
        self._words.append(bytes(data[self._word : end]))
        self._word = self._seen = end + 1
        return True


def _may_become_target(method: bytes, begun: bytes) -> bool:
    """Whether one of the four forms (RFC 9112 section 3.2) can begin with these, the first nine bytes at most."""
    if begun[:1] in (b"", b"/") or method == b"CONNECT":
        return True
    if begun[:1] == b"*":
        return begun == b"*"
    lower = begun.lower()
    return any(scheme.startswith(lower) or lower.startswith(scheme) for scheme in _SCHEMES)


class UnfinishedSize:
    """The size line of a chunk (RFC 9112 section 7.1): where in the grammar it has come to."""

    __slots__ = ("_place", "_seen")

    def __init__(self) -> None:
        self._place = ""
        """A row of `_FOLLOWS`; none while the digits are coming."""
        self._seen = 0

    def look(self, line: bytes) -> None:
        """Look at what has come of `line` since the last time; no CR is its last byte. Raises ProtocolError(400)."""
        if not self._place:
            digits = _hexadecimal_run(line)
            assert digits is not None, "a run of no bytes is one"
            self._seen = digits.end()
            if self._seen > 16 or int(digits[0] or b"0", 16) >= MAX_LENGTH:
                raise ProtocolError(400, "a chunk's size is not a hexadecimal number below 2**63")
            if self._seen == len(line):
                return
            if self._seen == 0:
                raise _refused(line, 0, "a chunk's size is not a hexadecimal number below 2**63")
            self._place = "end"
        for kind in line[self._seen :].translate(_KINDS).decode("ascii"):
            place = _FOLLOWS[self._place].get(kind)
            if place is None:
                raise ProtocolError(400, "a chunk's size line is malformed, or ends in something other than CRLF")
            self._place = place
        self._seen = len(line)


_hexadecimal_run = re.compile(rb"[0-9A-Fa-f]*+").match


def _kind(byte: int) -> str:
    """What a byte is in a size line: `t` may stand in a token, `c` is a control byte, `o` is for quotations."""
    character = chr(byte)
    if character in ' ;="\\':
        return character
    if character == "\t":
        return " "
    if byte < 0x20 or byte == 0x7F:
        return "c"
    return "t" if is_token(bytes([byte])) else "o"


_KINDS = "".join(map(_kind, range(256))).encode("ascii")

_FOLLOWS = {
    "end": {" ": "end", ";": ";"},  # of the size, or of a value
    ";": {" ": ";", "t": "name"},
    "name": {"t": "name", " ": "named", ";": ";", "=": "="},
    "named": {" ": "named", ";": ";", "=": "="},
    "=": {" ": "=", "t": "value", '"': "quoted"},
    "value": {"t": "value", " ": "end", ";": ";"},
    "quoted": {" ": "quoted", "t": "quoted", "o": "quoted", ";": "quoted", "=": "quoted", '"': "end", "\\": "escaped"},
    "escaped": dict.fromkeys(' to;="\\', "quoted"),
}
"""chunk-ext of RFC 9112 section 7.1.1: by place and kind of byte, the next place. `grammar` has it in one piece."""
