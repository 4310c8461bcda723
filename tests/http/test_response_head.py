"""Heads of answers: what an application may send, and what is refused."""

import pytest

from septet.exchange import Fields
from septet.http.codec import serialise
from septet.http.head import reason_phrase, response_head


def test_block_is_the_status_line_and_the_fields_as_given() -> None:
    fields = ((b"X-Case", b"a b"), (b"set-cookie", b"1"), (b"Set-Cookie", b"2"), (b"E", b""))
    head = response_head(404, b"Not Found", fields)
    assert serialise(head) == b"HTTP/1.1 404 Not Found\r\nX-Case: a b\r\nset-cookie: 1\r\nSet-Cookie: 2\r\nE: \r\n"
    assert (head.status, head.content_length, head.closes, head.has_date, head.has_server) == (
        404,
        None,
        False,
        False,
        False,
    )


def test_reason_may_be_empty_or_obscure() -> None:
    """RFC 9112 section 4: the space before an empty reason stays."""
    assert serialise(response_head(299, b"", ())) == b"HTTP/1.1 299 \r\n"
    assert serialise(response_head(200, b"\xe9t\xe9\t!", ())) == b"HTTP/1.1 200 \xe9t\xe9\t!\r\n"


@pytest.mark.parametrize("status", [-1, 0, 99, 100, 101, 103, 199, 600, 1000])
def test_refused_status(status: int) -> None:
    with pytest.raises(ValueError, match="status"):
        response_head(status, b"", ())


@pytest.mark.parametrize("name", [b"", b"a b", b"a:", b"a\r\nb", b"\xe9", b"a\0", b" a", b"a(b)"])
def test_refused_name(name: bytes) -> None:
    with pytest.raises(ValueError, match="name"):
        response_head(200, b"OK", ((name, b"b"),))


@pytest.mark.parametrize("text", [b"a\r\nSet-Cookie: b", b"a\nb", b"a\rb", b"a\0b", b"\x7f", b"\x1b[2J"])
def test_refused_value_and_reason(text: bytes) -> None:
    """CR and LF would let a client's data write fields, or a whole answer (response splitting)."""
    with pytest.raises(ValueError, match="control byte"):
        response_head(200, b"OK", ((b"a", text),))
    with pytest.raises(ValueError, match="control byte"):
        response_head(200, text, ())


@pytest.mark.parametrize("value", [b"", b"+5", b"-5", b"5_0", b"five", b"5, 5", b"0x5", b"9" * 20])
def test_refused_length(value: bytes) -> None:
    with pytest.raises(ValueError, match="Content-Length"):
        response_head(200, b"OK", ((b"Content-Length", value),))


def test_length_is_said_once() -> None:
    head = response_head(200, b"OK", ((b"content-length", b"5"), (b"A", b"b"), (b"Content-Length", b"5")))
    assert (serialise(head), head.content_length) == (b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 5\r\n", 5)
    with pytest.raises(ValueError, match="two different"):
        response_head(200, b"OK", ((b"content-length", b"5"), (b"Content-Length", b"6")))


@pytest.mark.parametrize(
    ("fields", "closes", "dated", "named"),
    [
        (((b"Date", b"x"),), False, True, False),
        (((b"SERVER", b"x"), (b"date", b"y")), False, True, True),
        (((b"Connection", b"Close"),), True, False, False),
        (((b"Connection", b"keep-alive"),), False, False, False),
        (((b"Connection", b"x-close, closed, enclosed"),), False, False, False),
        (((b"Connection", b", x ,\tCLOSE"), (b"Connection", b"y")), True, False, False),
    ],
)
def test_what_the_application_said_itself(fields: Fields, closes: bool, dated: bool, named: bool) -> None:
    head = response_head(200, b"OK", fields)
    assert (head.closes, head.has_date, head.has_server) == (closes, dated, named)


@pytest.mark.parametrize(
    ("status", "reason"),
    [(200, "OK"), (408, "Request Timeout"), (505, "HTTP Version Not Supported"), (299, "")],
)
def test_reason_phrase(status: int, reason: str) -> None:
    assert reason_phrase(status) == reason
