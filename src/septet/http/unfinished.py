"""Checks of heads and size lines that are not complete yet: one that can no longer become valid is refused at once.

Otherwise a client that waits for an answer to half a line would wait until its deadline, and a proxy that ends lines
differently than we do would get its 400 half a minute late. `scan` is called with all bytes of a head received so far,
and scans each byte once, however slowly they come. A line that is complete is parsed as it will be when the whole head
has come.

What is refused here would be refused when the head is complete, for the same reason. If a request line is malformed and
also asks for something that the server does not do (501, 505), it is refused as malformed, in `request_head` as well: a
line that is not complete yet may still turn out to be malformed.
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


def _refused(data: bytes | bytearray, position: int, reason: str) -> ProtocolError:
    """Return the ProtocolError(400) for the wrong byte at `position`. If that is a CR or LF, the reason says that lines
    must end in CRLF, which is the likeliest mistake; else it is `reason`."""
    bare = data[position : position + 1] in (b"\r", b"\n")
    return ProtocolError(400, "a line ends in something other than CRLF" if bare else reason)


class UnfinishedFields:
    """Checks the field lines of an incomplete head or trailer section. `start` is the index at which they begin in the
    bytes that `scan` is given.

    `check` is called with each complete line and raises ProtocolError; `most` is the largest number of lines.
    """

    __slots__ = ("_check", "_colon_found", "_line_start", "_most", "_scanned")

    def __init__(self, start: int, most: int, check: Callable[[bytes], object] = check_field_line) -> None:
        self._check = check
        self._line_start = start
        """Index at which the current field line begins in the bytes that `scan` is given."""
        self._scanned = start
        """Index, in the bytes that `scan` is given, of the first byte that was not scanned yet."""
        self._colon_found = False
        """True if the colon of the current line was found."""
        self._most = most

    def scan(self, data: bytes | bytearray) -> None:
        """Scan what has been added to `data` since the last call. Raises ProtocolError(400 or 431)."""
        while (end := data.find(CRLF, self._scanned)) >= 0:
            self._check_line(data, end)
            self._most -= 1
            self._line_start = self._scanned = end + 2
            self._colon_found = False
        end = len(data)
        if end > self._scanned and data[-1:] == b"\r":  # nothing but an LF may follow
            end -= 1
            if end > self._line_start:
                self._check_line(data, end)
        if end > self._line_start:
            self._check_partial_line(data, end)
        self._scanned = end

    def _check_line(self, data: bytes | bytearray, end: int) -> None:
        self._count()
        self._check(bytes(data[self._line_start : end]))

    def _count(self) -> None:
        if self._most <= 0:
            raise ProtocolError(431, "the request has too many header fields")

    def _check_partial_line(self, data: bytes | bytearray, end: int) -> None:
        """Scan the current field line up to index `end`, where the bytes received end. Raises ProtocolError(400 or
        431)."""
        self._count()
        start = self._scanned
        if not self._colon_found:
            matched = _token_run(data, start, end)
            assert matched is not None, "a run of no bytes is one"
            start = matched.end()
            if start == end:
                return
            if data[start] != ord(":") or start == self._line_start:
                if start == self._line_start and data[start] in b" \t":
                    raise ProtocolError(400, "a header field is folded: its line begins with white space")
                raise _refused(data, start, "a header field has no name, or one that is not a token")
            self._colon_found = True
        if found := _find_control(data, start, end):
            raise _refused(data, found.start(), "a header field's value holds a control byte")


class UnfinishedHead:
    """Checks an incomplete request head, from its first byte; `most` is the largest number of field lines."""

    __slots__ = ("_fields", "_most", "_scanned", "_word_start", "_words")

    def __init__(self, most: int) -> None:
        self._most = most
        self._words: list[bytes] = []
        """Those words of the request line (method, target, version) that are complete."""
        self._word_start = 0
        """Index at which the current word of the request line begins."""
        self._scanned = 0
        """Index, in the bytes that `scan` is given, of the first byte that was not scanned yet."""
        self._fields: UnfinishedFields | None = None
        """The object that checks the field lines; None while the request line is not complete."""

    def scan(self, data: bytes | bytearray) -> None:
        """Scan what has been added to `data` since the last call. Raises ProtocolError, with the status that the
        complete head would get.
        """
        if self._fields is None:
            self._scan_request_line(data)
        if self._fields is not None:
            self._fields.scan(data)

    def _scan_request_line(self, data: bytes | bytearray) -> None:
        end = data.find(CRLF, self._scanned)
        if end >= 0:
            read_request_line(bytes(data[:end]))
            self._fields = UnfinishedFields(end + 2, self._most)
        elif data[-1:] == b"\r":  # nothing but an LF may follow
            read_request_line(bytes(data[:-1]))
            self._scanned = len(data) - 1
        else:
            self._scan_words(data)

    def _scan_words(self, data: bytes | bytearray) -> None:
        """Scan a request line without its end, word by word: method, target, version. Raises ProtocolError(400)."""
        if not self._words and not self._scan_word(_token_run, data, "the method is not a token"):
            return
        if len(self._words) == 1:
            ended = self._scan_word(_target_run, data, "the request target holds a byte that may not stand there")
            if not ended and not _may_become_target(
                self._words[0], bytes(data[self._word_start : self._word_start + 9])
            ):
                raise ProtocolError(400, "the request target has none of the four forms")
            if not ended:
                return
            split_target(*self._words)
        begun = bytes(data[self._word_start : self._word_start + 9])
        if not _VERSION.startswith(begun.translate(_DIGITS)):
            raise _refused(data, len(data) - 1, "the request line does not end in an HTTP version")

    def _scan_word(self, run: Run, data: bytes | bytearray, reason: str) -> bool:
        """Scan the rest of the current word, whose bytes `run` matches. Returns True if a space has ended it; then the
        next word is the current one. Raises ProtocolError(400) with `reason` at another byte."""
        matched = run(data, self._scanned)
        assert matched is not None, "a run of no bytes is one"
        end = self._scanned = matched.end()
        if end == len(data):
            return False
        if data[end] != ord(" ") or end == self._word_start:
            raise _refused(data, end, reason)
        self._words.append(bytes(data[self._word_start : end]))
        self._word_start = self._scanned = end + 1
        return True


def _may_become_target(method: bytes, begun: bytes) -> bool:
    """True if one of the four forms of a request target (RFC 9112 section 3.2) can begin with `begun`, the target's
    first bytes (at most nine)."""
    if begun[:1] in (b"", b"/") or method == b"CONNECT":
        return True
    if begun[:1] == b"*":
        return begun == b"*"
    lower = begun.lower()
    return any(scheme.startswith(lower) or lower.startswith(scheme) for scheme in _SCHEMES)


class UnfinishedSize:
    """Checks an incomplete size line of a chunk (RFC 9112 section 7.1), by a state machine."""

    __slots__ = ("_scanned", "_state")

    def __init__(self) -> None:
        self._state = ""
        """Key of the current row of `_TRANSITIONS`; "" while digits of the size may follow."""
        self._scanned = 0

    def scan(self, line: bytes) -> None:
        """Scan the bytes that have been added to `line` since the last call. `line` must not end in CR. Raises
        ProtocolError(400).
        """
        if not self._state:
            digits = _hexadecimal_run(line)
            assert digits is not None, "a run of no bytes is one"
            self._scanned = digits.end()
            if self._scanned > 16 or int(digits[0] or b"0", 16) >= MAX_LENGTH:
                raise ProtocolError(400, "a chunk's size is not a hexadecimal number below 2**63")
            if self._scanned == len(line):
                return
            if self._scanned == 0:
                raise _refused(line, 0, "a chunk's size is not a hexadecimal number below 2**63")
            self._state = "end"
        for byte_class in line[self._scanned :].translate(_BYTE_CLASSES).decode("ascii"):
            state = _TRANSITIONS[self._state].get(byte_class)
            if state is None:
                raise ProtocolError(400, "a chunk's size line is malformed, or ends in something other than CRLF")
            self._state = state
        self._scanned = len(line)


_hexadecimal_run = re.compile(rb"[0-9A-Fa-f]*+").match


def _byte_class(byte: int) -> str:
    """Return the class of a byte in a size line: `t` for a byte of a token, `c` for a control byte, a blank for a tab,
    `o` for other bytes; for blank ; = " and backslash the character itself."""
    character = chr(byte)
    if character in ' ;="\\':
        return character
    if character == "\t":
        return " "
    if byte < 0x20 or byte == 0x7F:
        return "c"
    return "t" if is_token(bytes([byte])) else "o"


_BYTE_CLASSES = "".join(map(_byte_class, range(256))).encode("ascii")

_TRANSITIONS = {
    "end": {" ": "end", ";": ";"},  # after the size, or after a value
    ";": {" ": ";", "t": "name"},
    "name": {"t": "name", " ": "named", ";": ";", "=": "="},
    "named": {" ": "named", ";": ";", "=": "="},
    "=": {" ": "=", "t": "value", '"': "quoted"},
    "value": {"t": "value", " ": "end", ";": ";"},
    "quoted": {" ": "quoted", "t": "quoted", "o": "quoted", ";": "quoted", "=": "quoted", '"': "end", "\\": "escaped"},
    "escaped": dict.fromkeys(' to;="\\', "quoted"),
}
"""The next state, by state and class of the next byte; a class that is missing is an error. It accepts chunk-ext of RFC
9112 section 7.1.1; `grammar.is_chunk_extensions` is the rule for a line that is complete."""
