"""Heads of answers: what an application says of its answer, checked (RFC 9110 sections 6 and 15).

Nothing here depends on the version of HTTP; `connection` puts heads into the bytes of HTTP/1.1.
"""

from http import HTTPStatus

from septet.exchange import Fields, ResponseHead
from septet.http.grammar import BLANKED, WHITESPACE, is_digits, is_token

HOP_BY_HOP = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding"})
"""Fields of an answer that belong to the connection, which is ours (RFC 9110 section 7.6.1)."""

_NOT_TRAILERS = HOP_BY_HOP | {
    *(b"trailer", b"upgrade", b"host", b"max-forwards", b"expect", b"range", b"accept-ranges"),
    *(b"age", b"cache-control", b"date", b"expires", b"location", b"retry-after", b"vary", b"warning", b"pragma"),
    *(b"authorization", b"authentication-info", b"cookie", b"set-cookie"),
    *(b"proxy-authenticate", b"proxy-authentication-info", b"proxy-authorization", b"www-authenticate"),
}
"""Framing, routing, control data, authentication: of no use, or of evil use, after the content."""


def reason_phrase(status: int) -> str:
    """The standard reason of a status code; empty for one that has none (RFC 9112 section 4 allows that)."""
    return _REASONS.get(status, "")


_REASONS = {int(status): status.phrase for status in HTTPStatus} | {
    # As RFC 9110 has them; Python does from 3.13 on.
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}


def response_head(status: int, reason: bytes, fields: Fields) -> ResponseHead:
    """Check what an application says of its answer.

    Raises ValueError when it may not be put on the wire: a status outside 200-599, a name that is not a token, a
    control byte in a value or reason (CR and LF would let a client's data write fields), a wrong Content-Length.
    """
    if not 200 <= status <= 599:
        raise ValueError(f"the status of an answer lies between 200 and 599, not {status}")
    if reason.translate(BLANKED) != reason:
        raise ValueError(f"the reason phrase {reason!r} holds a control byte")
    kept: list[tuple[bytes, bytes]] = []
    ours: dict[bytes, bytes] = {}
    closes = False
    for name, value in fields:
        _check_said(name, value)
        lower = name.lower()
        if lower in _WATCHED and ours.setdefault(lower, value) != value and lower == b"content-length":
            raise ValueError("two different values of Content-Length")
        if lower == b"connection":
            closes = closes or b"close" in [option.strip(WHITESPACE) for option in value.lower().split(b",")]
        if lower not in _SET_BY_US:
            kept.append((name, value))
    length = _promised_length(status, ours.get(b"content-length"))
    if length is not None:
        kept.append((b"Content-Length", b"%d" % length))
    return ResponseHead(status, reason, tuple(kept), length, closes, b"date" in ours, b"server" in ours)


_SET_BY_US = HOP_BY_HOP | {b"content-length"}
_WATCHED = _SET_BY_US | {b"date", b"server"}


def interim_fields(fields: Fields) -> Fields:
    """Fields of an interim answer (1xx). Raises ValueError like `response_head`.

    It has no content, and is not the last answer: fields that say otherwise are left out, as `response_head` does.
    """
    said = tuple(field for field in fields if field[0].lower() not in _SET_BY_US)
    for name, value in said:
        _check_said(name, value)
    return said


def check_trailers(fields: Fields) -> None:
    """Raise ValueError unless these fields may follow the content (RFC 9110 section 6.5.1): a recipient need not know
    them before it, and they may be put on the wire."""
    for name, _ in fields:
        lower = name.lower()
        if lower in _NOT_TRAILERS or lower.startswith((b"content-", b"if-", b"access-control-")):
            raise ValueError(f"{lower.decode('latin-1')} may not stand in a trailer section")
    for name, value in fields:
        _check_said(name, value)


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
    fields = (*head.fields, (b"Content-Length", b"%d" % length))
    return ResponseHead(head.status, head.reason, fields, length, head.closes, head.dated, head.named)


def _promised_length(status: int, value: bytes | None) -> int | None:
    if value is None or status == 204:  # RFC 9110 section 8.6: 204 never bears a length
        return None
    if not is_digits(value):
        raise ValueError(f"{value!r} is not a Content-Length")
    return int(value)
