"""Heads of messages: bytes to `Request`, status and fields to `ResponseHead` (RFC 9112 sections 2-6).

Different requests share most of their field lines. So single lines are remembered, by their exact bytes and in
bounded number, and a new head made of known lines costs little more than splitting it. (Whole heads are remembered
too, by the connections, which know the limits that they passed.)
"""

from functools import lru_cache
from http import HTTPStatus

from septet.http.events import Fields, ProtocolError, Request, ResponseHead
from septet.http.forwarded import is_from_proxies
from septet.http.grammar import (
    BLANKED,
    MAX_LENGTH,
    TARGET_BYTES,
    WHITESPACE,
    is_digits,
    is_host,
    is_token,
    is_version,
    split_absolute,
)
from septet.http.memory import Memory

REMEMBERED_LINES = 1024
REMEMBERED_LINE = 256
"""Longer lines are read each time."""

HOP_BY_HOP = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding"})
"""Fields of an answer that belong to the connection, which is ours (RFC 9110 section 7.6.1)."""

_NOT_TRAILERS = HOP_BY_HOP | {
    *(b"te", b"trailer", b"upgrade", b"host", b"max-forwards", b"expect", b"range", b"accept-ranges"),
    *(b"age", b"cache-control", b"date", b"expires", b"location", b"retry-after", b"vary", b"warning", b"pragma"),
    *(b"authorization", b"authentication-info", b"cookie", b"set-cookie"),
    *(b"proxy-authenticate", b"proxy-authentication-info", b"proxy-authorization", b"www-authenticate"),
}
"""Framing, routing, control data, authentication: of no use, or of evil use, after the content."""

Field = tuple[bytes, bytes]


def parse_request(block: bytes) -> Request:
    """The request whose head is `block`: request line and field lines without the empty line that ends them.

    Raises ProtocolError(400, 417, 501 or 505). Limits are the caller's business.
    """
    lines = block.split(b"\r\n")
    line = lines[0]
    del lines[0]
    read = _known_request_line if len(line) <= REMEMBERED_LINE else _request_line
    method, target, version, path, query = read(line)
    fields = tuple(filter(None, map(_field_lines.__getitem__, lines)))
    ours = _ours(fields)
    _check_host(target, version, ours.get(b"host"))
    length, chunked = _framing(version, ours)
    has_body = chunked or length > 0
    keep_alive = _keep_alive(version, ours.get(b"connection"))
    return Request(
        method,
        target,
        path,
        query,
        version,
        fields,
        length,
        chunked,
        keep_alive,
        _expects_continue(version, ours.get(b"expect")),
        has_body,
        len(line),
        len(lines),
        keep_alive and not has_body and version == "1.1" and method != "HEAD",
        () if len(fields) == len(lines) else _doubtful(lines),
    )


def _request_line(line: bytes) -> tuple[str, bytes, str, bytes, bytes]:
    """Method, target, version, path and query (RFC 9112 sections 2.3 and 3)."""
    words = line.split(b" ")
    if len(words) != 3:
        raise ProtocolError(400, "the request line is not three words with one space between them")
    method, target, version = words
    matched = is_version(version)
    if not matched:
        raise ProtocolError(400, "the request line does not end in an HTTP version")
    if matched[1] != b"1":
        raise ProtocolError(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    if not is_token(method):
        raise ProtocolError(400, "the method is not a token")
    if not target or target.translate(None, TARGET_BYTES):
        raise ProtocolError(400, "the request target holds a byte that may not stand there")
    path, query = _split_target(method, target)
    # A higher minor version is answered as the highest we know (RFC 9110 section 2.5).
    return method.decode("ascii"), target, "1.0" if matched[2] == b"0" else "1.1", path, query


_known_request_line = lru_cache(256)(_request_line)


def _split_target(method: bytes, target: bytes) -> tuple[bytes, bytes]:
    """Path and query of the target's form (RFC 9112 section 3.2)."""
    if method == b"CONNECT":
        raise ProtocolError(501, "tunnels (CONNECT) are not built here")
    if target[:1] == b"/":
        path, _, query = target.partition(b"?")
        return path, query
    if target == b"*" and method == b"OPTIONS":
        return target, b""
    matched = split_absolute(target)
    if not matched or not is_host(matched[1]) or matched[1][:1] == b":":  # RFC 9110 section 4.2.1: no empty host
        raise ProtocolError(400, "the request target has none of the four forms")
    return matched[2] or b"/", (matched[3] or b"?")[1:]


class _FieldLines(Memory[bytes, Field | None]):
    """Field lines by their bytes, read when they are looked up; None for a doubtful one."""

    def __missing__(self, line: bytes) -> Field | None:
        read = _field(line)
        field = None if _doubtful_names[read[0]] else read
        if len(line) <= REMEMBERED_LINE:
            self.keep(line, field)
        return field


_field_lines = _FieldLines(REMEMBERED_LINES)


class _DoubtfulNames(Memory[bytes, bool]):
    """`X_Forwarded_For` would reach a WSGI application as `X-Forwarded-For`, and that is not for everybody to send."""

    def __missing__(self, name: bytes) -> bool:
        doubtful = b"_" in name or is_from_proxies(name)
        if len(name) <= REMEMBERED_LINE:
            self.keep(name, doubtful)
        return doubtful


_doubtful_names = _DoubtfulNames(REMEMBERED_LINES)


def _doubtful(lines: list[bytes]) -> Fields:
    return tuple(_doubtful_lines[line] for line in lines if _field_lines[line] is None)


class _DoubtfulLines(Memory[bytes, Field]):
    def __missing__(self, line: bytes) -> Field:
        field = _field(line)
        if len(line) <= REMEMBERED_LINE:
            self.keep(line, field)
        return field


_doubtful_lines = _DoubtfulLines(REMEMBERED_LINES)


def _field(line: bytes) -> Field:
    """One field line (RFC 9112 section 5): no white space before the colon, no folding, no control bytes."""
    name, colon, value = line.partition(b":")
    lower = _names[name]
    if not colon:
        raise ProtocolError(400, "a header field has no colon")
    if value.translate(BLANKED) != value:
        raise ProtocolError(400, "a header field's value holds a control byte")
    return lower, value.strip(WHITESPACE)


class _Names(Memory[bytes, bytes]):
    """Names of fields in lower case, by how they were sent."""

    def __missing__(self, name: bytes) -> bytes:
        if not is_token(name):
            raise ProtocolError(400, "a header field has no name, or one that is not a token")
        lower = name.lower()
        if len(name) <= REMEMBERED_LINE:
            self.keep(name, lower)
        return lower


_names = _Names(REMEMBERED_LINES)


def _ours(fields: Fields) -> dict[bytes, bytes]:
    """Fields by name. Those that we read ourselves and that came more than once are joined (RFC 9110 section 5.3), with
    two exceptions: two hosts are refused, and two equal lengths are one."""
    named = dict(fields)
    if len(named) == len(fields):
        return named
    for name in _READ_BY_US:
        values = [value for other, value in fields if other == name]
        if len(values) > 1:
            if name == b"host":
                raise ProtocolError(400, "a request has exactly one Host field")
            named[name] = values[0] if name == b"content-length" and len(set(values)) == 1 else b",".join(values)
    return named


_READ_BY_US = (b"host", b"content-length", b"transfer-encoding", b"connection", b"expect")


def check_trailers(lines: list[bytes]) -> None:
    """Trailer fields are held to the grammar and then let go: none of them may set framing or routing."""
    for line in lines:
        _field(line)


def _check_host(target: bytes, version: str, host: bytes | None) -> None:
    """Exactly one Host in HTTP/1.1, and one that agrees with an absolute target (RFC 9112 section 3.2)."""
    if host is None:
        if version == "1.1":
            raise ProtocolError(400, "a request has exactly one Host field")
        return
    if not (_is_known_host(host) if len(host) <= REMEMBERED_LINE else is_host(host)):
        raise ProtocolError(400, "the Host field is not a host with an optional port")
    if target[:1] != b"/":  # RFC 9112 section 3.2.2 would ignore Host; a disagreement is an attack or a mistake
        matched = split_absolute(target)
        if matched and matched[1].lower() != host.lower():
            raise ProtocolError(400, "the request target and the Host field name different hosts")


@lru_cache(256)
def _is_known_host(host: bytes) -> bool:
    return is_host(host) is not None


def _framing(version: str, ours: dict[bytes, bytes]) -> tuple[int, bool]:
    """Length of the body, and whether it is chunked instead (RFC 9112 section 6)."""
    coding = ours.get(b"transfer-encoding")
    length = ours.get(b"content-length")
    if coding is not None:
        if length is not None or version == "1.0":
            raise ProtocolError(400, "Transfer-Encoding stands beside Content-Length, or in HTTP/1.0")
        if coding.lower() != b"chunked":
            raise ProtocolError(501 if is_token(coding) else 400, "the only transfer coding is chunked, once")
        return 0, True
    if length is None:
        return 0, False
    if not is_digits(length) or int(length) >= MAX_LENGTH:
        raise ProtocolError(400, "Content-Length is not one number")
    return int(length), False


def _keep_alive(version: str, value: bytes | None) -> bool:
    """Whether the connection persists (RFC 9112 section 9.3)."""
    if value is None or value == b"keep-alive":
        return version == "1.1" or value is not None
    options = [option.strip(WHITESPACE) for option in value.lower().split(b",")]
    return b"close" not in options and (version == "1.1" or b"keep-alive" in options)


def _expects_continue(version: str, value: bytes | None) -> bool:
    if value is None or version == "1.0":  # RFC 9110 section 10.1.1: a 1.0 expectation is ignored
        return False
    if value.lower() != b"100-continue":
        raise ProtocolError(417, "the only expectation that can be met is 100-continue")
    return True


def reason_phrase(status: int) -> str:
    """The standard reason of a status code; empty for one that has none (RFC 9112 section 4 allows that)."""
    return _REASONS.get(status, "")


_REASONS = {int(status): status.phrase for status in HTTPStatus}


def response_head(status: int, reason: bytes, fields: Fields) -> ResponseHead:
    """Serialise what an application says of its answer.

    Raises ValueError when it may not be put on the wire: a status outside 200-599, a name that is not a token, a
    control byte in a value or reason (CR and LF would let a client's data write fields), a wrong Content-Length.
    """
    if not 200 <= status <= 599:
        raise ValueError(f"the status of an answer lies between 200 and 599, not {status}")
    if reason.translate(BLANKED) != reason:
        raise ValueError(f"the reason phrase {reason!r} holds a control byte")
    lines = [b"HTTP/1.1 %d %b" % (status, reason)]
    ours: dict[bytes, bytes] = {}
    closes = False
    for name, value in fields:
        _check_said(name, value)
        lower = name.lower()
        if lower in _WATCHED and ours.setdefault(lower, value) != value and lower == b"content-length":
            raise ValueError("two different values of Content-Length")
        if lower == b"connection" and b"close" in value.lower():
            closes = True
        if lower not in _SET_BY_US:
            lines.append(b"%b: %b" % (name, value))
    length = _promised_length(status, ours.get(b"content-length"))
    if length is not None:
        lines.append(b"Content-Length: %d" % length)
    lines.append(b"")
    return ResponseHead(status, b"\r\n".join(lines), length, closes, b"date" in ours, b"server" in ours)


_SET_BY_US = HOP_BY_HOP | {b"content-length"}
_WATCHED = _SET_BY_US | {b"date", b"server"}


def interim_head(status: int, fields: Fields) -> bytes:
    """An interim answer (1xx), whole. Raises ValueError like `response_head`."""
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason_phrase(status).encode("ascii"), _lines(fields))


def trailer_section(fields: Fields) -> bytes:
    """Fields that follow the content (RFC 9110 section 6.5.1).

    Raises ValueError for one that a recipient must know before the content, or that may not be put on the wire.
    """
    for name, _ in fields:
        lower = name.lower()
        if lower in _NOT_TRAILERS or lower.startswith((b"content-", b"if-", b"access-control-")):
            raise ValueError(f"{lower.decode('latin-1')} may not stand in a trailer section")
    return _lines(fields)


def _lines(fields: Fields) -> bytes:
    for name, value in fields:
        _check_said(name, value)
    return b"".join(b"%b: %b\r\n" % field for field in fields)


def _check_said(name: bytes, value: bytes) -> None:
    """Raise ValueError if an application's field may not be put on the wire."""
    if not is_token(name):
        raise ValueError(f"{name!r} is not the name of a header field")
    if value.translate(BLANKED) != value:
        raise ValueError(f"the value of {name.decode('ascii')} holds a control byte: {value!r}")


def with_length(head: ResponseHead, length: int) -> ResponseHead:
    """The same head with a Content-Length, if an answer of its status may have one."""
    if head.status == 204:
        return head
    block = head.block + b"Content-Length: %d\r\n" % length
    return ResponseHead(head.status, block, length, head.closes, head.dated, head.named)


def _promised_length(status: int, value: bytes | None) -> int | None:
    if value is None or status == 204:  # RFC 9110 section 8.6: 204 never bears a length
        return None
    if not is_digits(value):
        raise ValueError(f"{value!r} is not a Content-Length")
    return int(value)
