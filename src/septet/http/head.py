"""Heads of answers: the status and fields that an application gives, checked (RFC 9110 sections 6 and 15).

Nothing here depends on the version of HTTP; `codec` turns heads into the bytes of HTTP/1.1.
"""

from http import HTTPStatus

from septet.exchange import Fields, ResponseHead
from septet.http.grammar import BLANKED, WHITESPACE, is_digits, is_token

HOP_BY_HOP = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding"})
"""Fields of an answer that belong to the connection. The server sets them itself, and drops the application's (RFC 9110
section 7.6.1)."""

_NOT_TRAILERS = HOP_BY_HOP | {
    *(b"trailer", b"upgrade", b"host", b"max-forwards", b"expect", b"range", b"accept-ranges"),
    *(b"age", b"cache-control", b"date", b"expires", b"location", b"retry-after", b"vary", b"warning", b"pragma"),
    *(b"authorization", b"authentication-info", b"cookie", b"set-cookie"),
    *(b"proxy-authenticate", b"proxy-authentication-info", b"proxy-authorization", b"www-authenticate"),
}
"""Names, in lower case, of fields that an application may not send as trailers: fields of framing, routing, control and
authentication are useless or dangerous after the content (RFC 9110 section 6.5.1).
"""


def reason_phrase(status: int) -> str:
    """Return the standard reason phrase of a status code; "" for one that has none (RFC 9112 section 4 allows that)."""
    return _REASONS.get(status, "")


_REASONS = {int(status): status.phrase for status in HTTPStatus} | {
    # As RFC 9110 has them; Python does from 3.13 on.
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}


def response_head(status: int, reason: bytes, fields: Fields) -> ResponseHead:
    """Return the head of an answer, checked and without the fields that the server sets itself. `fields` are the
    application's, in its spelling.

    Raises ValueError for what must not be sent: a status outside 200-599, a name that is not a token, a control byte in
    a value or reason (CR and LF would let a client's data write fields), a wrong Content-Length.
    """
    if not 200 <= status <= 599:
        raise ValueError(f"the status of an answer lies between 200 and 599, not {status}")
    if reason.translate(BLANKED) != reason:
        raise ValueError(f"the reason phrase {reason!r} holds a control byte")
    kept: list[tuple[bytes, bytes]] = []
    seen: dict[bytes, bytes] = {}
    closes = False
    for name, value in fields:
        _check_field(name, value)
        lower = name.lower()
        if lower in _READ_BY_US and seen.setdefault(lower, value) != value and lower == b"content-length":
            raise ValueError("two different values of Content-Length")
        if lower == b"connection":
            closes = closes or b"close" in [option.strip(WHITESPACE) for option in value.lower().split(b",")]
        if lower not in _SET_BY_US:
            kept.append((name, value))
    length = _content_length(status, seen.get(b"content-length"))
    if length is not None:
        kept.append((b"Content-Length", b"%d" % length))
    return ResponseHead(status, reason, tuple(kept), length, closes, b"date" in seen, b"server" in seen)


_SET_BY_US = HOP_BY_HOP | {b"content-length"}
_READ_BY_US = _SET_BY_US | {b"date", b"server"}


def interim_fields(fields: Fields) -> Fields:
    """Return the fields of an interim answer (1xx), checked. Raises ValueError for a malformed field.

    Fields of framing and of the connection are left out: an interim answer has no content, and another answer follows.
    """
    kept = tuple(field for field in fields if field[0].lower() not in _SET_BY_US)
    for name, value in kept:
        _check_field(name, value)
    return kept


def upgrade_head(ours: Fields, fields: Fields) -> ResponseHead:
    """Return the head of an answer 101: `ours`, the server's fields about the protocol that follows, then the
    application's `fields`, checked. Raises ValueError for a malformed field, and for one that the server sets itself.
    """
    head = response_head(200, b"Switching Protocols", fields)
    taken = {name.lower() for name, _ in ours}
    for name, _ in head.fields:
        if name.lower() in taken or name.lower() == b"content-length":
            raise ValueError(f"{name.decode('ascii')} is set by the server in the answer to a WebSocket's request")
    return ResponseHead(101, head.reason, ours + head.fields, None, False, head.has_date, head.has_server)


def check_trailers(fields: Fields) -> None:
    """Raise ValueError unless these fields may follow the content: they are valid, and a recipient does not need them
    before the content (RFC 9110 section 6.5.1)."""
    for name, _ in fields:
        lower = name.lower()
        if lower in _NOT_TRAILERS or lower.startswith((b"content-", b"if-", b"access-control-")):
            raise ValueError(f"{lower.decode('latin-1')} may not stand in a trailer section")
    for name, value in fields:
        _check_field(name, value)


def _check_field(name: bytes, value: bytes) -> None:
    """Raise ValueError if an application's field is malformed."""
    if not is_token(name):
        raise ValueError(f"{name!r} is not the name of a header field")
    if value.translate(BLANKED) != value:
        raise ValueError(f"the value of {name.decode('ascii')} holds a control byte: {value!r}")


def with_length(head: ResponseHead, length: int) -> ResponseHead:
    """Return a copy of `head` with a Content-Length of `length` bytes; `head` itself if its status is 204, which has
    none."""
    if head.status == 204:
        return head
    fields = (*head.fields, (b"Content-Length", b"%d" % length))
    return ResponseHead(head.status, head.reason, fields, length, head.closes, head.has_date, head.has_server)


def with_fields(head: ResponseHead, more: Fields) -> ResponseHead:
    """Return a copy of `head` with `more`, fields of the server's own, which are not checked. Where the application has
    given a field of the same name, the application's is kept.
    """
    names = {name.lower() for name, _ in head.fields}
    added = tuple(field for field in more if field[0].lower() not in names)
    fields = (*added, *head.fields)
    return ResponseHead(
        head.status, head.reason, fields, head.content_length, head.closes, head.has_date, head.has_server
    )


def _content_length(status: int, value: bytes | None) -> int | None:
    if value is None or status == 204:  # RFC 9110 section 8.6: 204 never bears a length
        return None
    if not is_digits(value):
        raise ValueError(f"{value!r} is not a Content-Length")
    return int(value)
