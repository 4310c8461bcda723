"""Requests that are not HTTP: 400, the connection closed, and nothing that follows them believed."""

import json

import pytest

from support.marks import engine_decides
from support.messages import render
from support.server import Server

pytestmark = engine_decides

HOST = b"Host: example.test\r\n"

#: Heads that must be refused, by what is wrong with them.
MALFORMED_HEADS: dict[str, bytes] = {
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "no target": b"GET HTTP/1.1\r\n" + HOST + b"\r\n",
    "two spaces after the method": b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n",
    "space at the line's end": b"GET / HTTP/1.1 \r\n" + HOST + b"\r\n",
    "space in the target": b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n",
    "tab for a space": b"GET\t/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "version in lower case": b"GET / http/1.1\r\n" + HOST + b"\r\n",
    "version with two digits": b"GET / HTTP/1.10\r\n" + HOST + b"\r\n",
    "method that is no token": b"G@T / HTTP/1.1\r\n" + HOST + b"\r\n",
    "target without a slash": b"GET a HTTP/1.1\r\n" + HOST + b"\r\n",
    "control character in the target": b"GET /a\x01b HTTP/1.1\r\n" + HOST + b"\r\n",
    "NUL in the target": b"GET /a\0b HTTP/1.1\r\n" + HOST + b"\r\n",
    "bare LF": b"GET / HTTP/1.1\n" + HOST.replace(b"\r", b"") + b"\n",
    "bare LF after a field": b"GET / HTTP/1.1\r\nA: b\n" + HOST + b"\r\n",
    "bare CR in a field": b"GET / HTTP/1.1\r\nA: b\rC: d\r\n" + HOST + b"\r\n",
    "no colon": b"GET / HTTP/1.1\r\nfield\r\n" + HOST + b"\r\n",
    "space before the colon": b"GET / HTTP/1.1\r\nA : b\r\n" + HOST + b"\r\n",
    "empty field name": b"GET / HTTP/1.1\r\n: b\r\n" + HOST + b"\r\n",
    "field name that is no token": b"GET / HTTP/1.1\r\nA(b): c\r\n" + HOST + b"\r\n",
    "space before the first field": b"GET / HTTP/1.1\r\n A: b\r\n" + HOST + b"\r\n",
    "folded field": b"GET / HTTP/1.1\r\nA: b\r\n c\r\n" + HOST + b"\r\n",
    "NUL in a value": b"GET / HTTP/1.1\r\nA: b\0c\r\n" + HOST + b"\r\n",
    "control character in a value": b"GET / HTTP/1.1\r\nA: b\x0bc\r\n" + HOST + b"\r\n",
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "Host that is none": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "Content-Length that is no number": b"POST / HTTP/1.1\r\nContent-Length: ten\r\n" + HOST + b"\r\n",
    "Content-Length with a sign": b"POST / HTTP/1.1\r\nContent-Length: +5\r\n" + HOST + b"\r\n12345",
    "negative Content-Length": b"POST / HTTP/1.1\r\nContent-Length: -5\r\n" + HOST + b"\r\n",
    "Content-Length with an underscore": b"POST / HTTP/1.1\r\nContent-Length: 1_0\r\n" + HOST + b"\r\n1234567890",
    "empty Content-Length": b"POST / HTTP/1.1\r\nContent-Length:\r\n" + HOST + b"\r\n",
    "two different Content-Lengths": b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n"
    + HOST
    + b"\r\n12345",
    "huge Content-Length": b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n" + HOST + b"\r\n",
    "Content-Length and Transfer-Encoding": b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n"
    + HOST
    + b"\r\n0\r\n\r\n",
    "chunked twice": b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n" + HOST + b"\r\n0\r\n\r\n",
    "chunked not last": b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n" + HOST + b"\r\n0\r\n\r\n",
    "empty Transfer-Encoding": b"POST / HTTP/1.1\r\nTransfer-Encoding:\r\n" + HOST + b"\r\n0\r\n\r\n",
    "Transfer-Encoding in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n" + HOST + b"\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("case", sorted(MALFORMED_HEADS))
def test_malformed_head(server: Server, case: str) -> None:
    """The request behind it must not be answered: who framed the first wrongly cannot know where the second begins."""
    with server.connect() as connection:
        connection.send_if_possible(MALFORMED_HEADS[case] + render("GET", "/smuggled"))
        response = connection.read_response()
        assert response.status in ((400, 501) if "chunked" in case else (400,)), response
        assert response.closes
        connection.assert_closed()


@pytest.mark.parametrize("coding", ["gzip, chunked", "xchunked", "identity", "chunked;q=1"])
def test_unknown_transfer_coding(server: Server, coding: str) -> None:
    """RFC 9112, section 6.1: 501; what does not end in chunked has no length: 400."""
    with server.connect() as connection:
        connection.send_if_possible(render("POST", "/read?how=all", f"Transfer-Encoding: {coding}") + b"0\r\n\r\n")
        response = connection.read_response()
        assert response.status in (400, 501)
        assert response.closes
        connection.assert_closed()


@pytest.mark.parametrize("version", ["HTTP/2.0", "HTTP/3.0", "HTTP/0.9"])
def test_unknown_version(server: Server, version: str) -> None:
    with server.connect() as connection:
        connection.send(b"GET / " + version.encode() + b"\r\n" + HOST + b"\r\n")
        response = connection.read_response()
        assert response.status in (400, 505)
        connection.assert_closed()


def test_later_minor_version_is_understood(server: Server) -> None:
    """RFC 9110, section 2.5: a minor version may only add what may be ignored."""
    with server.connect() as connection:
        connection.send(b"GET / HTTP/1.2\r\n" + HOST + b"\r\n")
        assert connection.read_response().status in (200, 505)


@pytest.mark.parametrize(
    "body",
    [
        b"x\r\n",
        b"\r\n",
        b"0x5\r\n12345\r\n0\r\n\r\n",
        b"+5\r\n12345\r\n0\r\n\r\n",
        b"-1\r\n",
        b"5 \r\n12345\r\n0\r\n\r\n",
        b"1_0\r\n1234567890123456\r\n0\r\n\r\n",
        b"5\r\n12345XX0\r\n\r\n",
        b"5\r\n12345\n0\r\n\r\n",
        b"5\n12345\r\n0\r\n\r\n",
        b"5;a\nb\r\n12345\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\nA : b\r\n\r\n",
    ],
)
def test_malformed_chunks(server: Server, body: bytes) -> None:
    with server.connect() as connection:
        connection.send_if_possible(render("POST", "/read?how=all", "Transfer-Encoding: chunked") + body)
        connection.send_if_possible(render("GET", "/smuggled"))
        response = connection.read_response()
        assert response.status == 400, response
        assert response.closes
        connection.assert_closed()


def test_same_content_length_twice(server: Server) -> None:
    """RFC 9110, section 8.6, allows either: refuse it, or take it for one."""
    with server.connect() as connection:
        connection.send(render("POST", "/", "Content-Length: 4", "Content-Length: 4") + b"body")
        response = connection.read_response()
        assert response.status == 400 or json.loads(response.body)["body"] == "body"


def test_good_requests_before_a_bad_one_are_answered(server: Server) -> None:
    with server.connect() as connection:
        connection.send(render("GET", "/good") * 2 + MALFORMED_HEADS["no colon"])
        assert [connection.read_response().status for _ in range(3)] == [200, 200, 400]
        connection.assert_closed()
