"""The corpus of requests (`tests/corpus`), translated to frames and held to the same answers.

Left out is what HTTP/2 has in another form or not at all: line ends, chunks, Connection, versions, several requests in
a row, and requests that have not all come. What HTTP/1.1 refuses with 400 may be a malformed request here, whose stream
is reset (RFC 9113 section 8.1.1).
"""

import re
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest

from corpus.cases import CASES, Case, Seen
from septet.http.head import response_head
from septet.http.incoming import Limits
from septet.rules import Rules
from support.http2 import CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Client, Fields, Peer, block, frame

MOST = 16384
"""Bytes in a frame."""

_LEFT_OUT = {"chunks", "trailers", "persistence", "pipelining", "line-ends", "incomplete", "limits", "expect"}

_CONNECTION = {
    *(b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding"),
    *(b"te", b"upgrade", b"http2-settings"),
}


def translated(case: Case) -> tuple[Fields, bytes] | None:
    """The fields and the body of a case with one request; None if it cannot be said in HTTP/2."""
    if case.name.partition(":")[0] in _LEFT_OUT or len(case.answers) != 1 or case.ends:
        return None
    head, end, body = case.data.partition(b"\r\n\r\n")
    line, *lines = head.split(b"\r\n")
    matched = re.fullmatch(rb"(\S+) (\S+) HTTP/1\.1", line)
    if not end or not matched or any(b":" not in each or each[:1] in b" \t" for each in lines):
        return None
    method, target = matched.groups()
    named = [each.partition(b":")[::2] for each in lines]
    fields = [(name.lower(), value.strip(b" \t")) for name, value in named]
    if any(name in _CONNECTION for name, _ in fields) or re.match(rb"(?i)https?://", target) or method == b"CONNECT":
        return None
    hosts = [value for name, value in fields if name == b"host"]
    if len(hosts) != 1:
        return None
    rest = [field for field in fields if field[0] != b"host"]
    return [(b":method", method), (b":scheme", b"http"), (b":authority", hosts[0]), (b":path", target), *rest], body


_STRICTER = (
    "content-length: the same length more than once: in ",  # the library wants one number in each field
    "host: a host: nothing",  # RFC 9113 section 8.3.1: neither :authority nor Host may be empty
)

TRANSLATED = [(case, found) for case in CASES if (found := translated(case)) is not None]


def test_most_of_it_is_translated() -> None:
    assert len(TRANSLATED) > 100


@pytest.mark.parametrize(("case", "request_"), TRANSLATED, ids=[case.name for case, _ in TRANSLATED])
def test_case(case: Case, request_: tuple[Fields, bytes]) -> None:
    fields, body = request_
    peer = Peer(Rules(concurrent=True, limits=Limits()), client=Client())
    flags = END_HEADERS if body else END_HEADERS | END_STREAM
    packed = block(fields)
    peer.receive(frame(HEADERS, flags if len(packed) <= MOST else flags & ~END_HEADERS, 1, packed[:MOST]))
    for begin in range(MOST, len(packed), MOST):
        last = begin + MOST >= len(packed)
        peer.receive(frame(CONTINUATION, END_HEADERS if last else 0, 1, packed[begin : begin + MOST]))
    if body and not peer.session.codec.over:
        peer.receive(frame(DATA, END_STREAM, 1, body))
    seen = None
    for exchange in peer.due:
        if not exchange.lost:
            seen = as_seen(exchange)
            exchange.respond(response_head(200, b"", ()), b"", True)
    peer.send(told=False)
    (expected,) = case.answers
    if case.name.startswith(_STRICTER) and " fields" not in case.name:
        assert seen is None
    elif isinstance(expected, Seen):
        assert seen is not None, "the application should have answered"
        wanted = Seen(expected.method, expected.path, expected.query, "2", expected.body, _fields(expected.fields))
        assert wanted.difference(seen) is None, wanted.difference(seen)
    else:
        was_reset = frame(3, 0, 1, (1).to_bytes(4)) in peer.said or peer.session.codec.over
        assert seen is None or 200 in expected
        if seen is None and not was_reset:
            assert any(b"\x03%d" % status in peer.said or _indexed(status) in peer.said for status in expected)
        elif seen is None:
            assert 400 in expected or 411 in expected, expected


def _fields(fields: Any) -> Any:
    return {name: value for name, value in fields.items() if name.encode() not in _CONNECTION}


def _indexed(status: int) -> bytes:
    """The status as a number of HPACK's table; only some are in it."""
    known = {200: 8, 204: 9, 206: 10, 304: 11, 400: 12, 404: 13, 500: 14}
    return bytes([0x80 | known[status]]) if status in known else b"\0never"


def as_seen(exchange: Any) -> Seen:
    request = exchange.request
    fields: dict[str, str | bool] = {}
    for name, value in request.fields:
        text = name.decode("latin-1")
        joined = f"{fields[text]}{'; ' if text == 'cookie' else ','}" if text in fields else ""
        fields[text] = joined + value.decode("latin-1")
    body = b""
    while part := exchange.poll():
        body += part
    path = unquote_to_bytes(request.path).decode("utf-8", "replace")
    query = request.query.decode("latin-1")
    return Seen(request.method, path, query, request.version, body.decode("latin-1"), fields)
