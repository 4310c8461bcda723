"""Lines that have not all come: one that can no longer become valid is refused at once, not when time is up.

Each case ends where nothing that may follow would make it valid. It is refused there, however it was cut, and the bytes
before its last one are not: they may still become something.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.http.grammar import is_chunk_extensions
from septet.http.incoming import Limits
from support.feeding import Reader

POST = b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n"

REQUEST_LINES = {
    "HTTP/0.9": b"GET /\r",
    "a method alone": b"GET\r",
    "a bare LF after the method": b"GET\n",
    "a method that is no token": b"G[",
    "no method": b" ",
    "a colon in the method": b"Host:",
    "a handshake of TLS": b"\x16",
    "two spaces before the target": b"GET  ",
    "a tab before the target": b"GET\t",
    "a target that is no path": b"GET x",
    "a scheme that is not spoken": b"GET f",
    "a scheme that begins like one": b"GET httpx",
    "a scheme without its slashes": b"GET http:/a",
    "a query alone": b"GET ?",
    "an asterisk and more": b"OPTIONS */",
    "a fragment": b"GET /a#",
    "a bare LF in the target": b"GET /\n",
    "a control byte in the target": b"GET /\x00",
    "a letter beyond ASCII in the target": b"GET /\xe9",
    "no version but a space": b"GET / \r",
    "two spaces before the version": b"GET /  ",
    "a fourth word": b"GET / HTTP/1.1 ",
    "a version in lower case": b"GET / h",
    "another protocol": b"GET / HTC",
    "a version without its minor part": b"GET / HTTP/1\r",
    "a version of two digits": b"GET / HTTP/10",
    "a version with a letter": b"GET / HTTP/x",
    "a minor version of two digits": b"GET / HTTP/1.10",
    "a bare LF after the version": b"GET / HTTP/1.1\n",
    "two CRs after the version": b"GET / HTTP/1.1\r\r",
    "an asterisk with GET": b"GET * HTTP/1.1\r",
    "a bare LF before the request": b"\n",
    "a bare CR before the request": b"\rG",
    "a bare LF after an empty line": b"\r\n\n",
}

FIELD_LINES = {
    "no name": b":",
    "white space before the name": b" ",
    "a tab before the name": b"\t",
    "a folded value": b"A: b\r\n ",
    "white space before the colon": b"A ",
    "a bracket in the name": b"A(",
    "NUL in the name": b"A\0",
    "a letter beyond ASCII in the name": b"\xc4",
    "no colon": b"A\r",
    "no colon in a later line": b"A: b\r\nC: d\r\nE\r",
    "a bare LF in the name": b"A\n",
    "a bare LF in the value": b"A: b\n",
    "a bare LF for an empty value": b"A:\n",
    "a bare LF before the name": b"\n",
    "a bare CR in the value": b"A: b\rc",
    "two CRs after the value": b"A: b\r\r",
    "a bare CR for the empty line": b"A: b\r\n\rC",
    "NUL in the value": b"A: \0",
    "a vertical tab in the value": b"A: \x0b",
    "DEL in a later value": b"A: b\r\nC: \x7f",
}

HEADS = {
    "a length that is none": b"Content-Length: x\r",
    "a negative length": b"content-length:-5\r",
    "an empty length": b"Content-Length:\r",
    "lengths that differ": b"Content-Length: 5, 6\r",
    "a host that is none": GET[:16] + b"Host: a b\r",
    "a list of codings that is malformed": b"Transfer-Encoding: gzip chunked\r",
}

SIZE_LINES = {
    "letters that are no digits": b"z",
    "a letter after a digit": b"5g",
    "0x": b"0x",
    "a sign": b"+",
    "a space before": b" ",
    "a bare LF": b"\n",
    "a bare LF after the size": b"5\n",
    "a bare CR after the size": b"5\rh",
    "two CRs": b"5\r\r",
    "nothing": b"\r",
    "a size and another": b"5 5",
    "white space at the end": b"5 \r",
    "seventeen digits": b"00000000000000000",
    "2**63": b"8000000000000000",
    "a semicolon alone": b"5;\r",
    "two semicolons": b"5;;",
    "an extension without a name": b"5;=",
    "a bare LF after a name": b"5;a\n",
    "two names": b"5;a b",
    "a value that is missing": b"5;a=\r",
    "two values": b"5;a=b=",
    "a bare LF after a value": b"5;a=b\n",
    "a bare LF in a quotation": b'5;a="b\n',
    "an escaped control byte": b'5;a="\\\0',
    "a quotation that goes on": b'5;a="b"c',
    "a quotation that is not closed": b'5;a="b\r',
    "a comma": b"5,",
    "a bare LF for the last size": b"0\n",
}

AFTER_DATA = {
    "a byte too many": b"2\r\nabc",
    "a bare LF": b"2\r\nab\n",
    "a bare CR": b"2\r\nab\rX",
    "a size at once": b"2\r\nab0",
}

CASES = (
    {f"request line: {name}": data for name, data in REQUEST_LINES.items()}
    | {f"head: {name}": GET + data for name, data in FIELD_LINES.items()}
    | {f"head: {name}": (data if data.startswith(b"GET") else GET + data) for name, data in HEADS.items()}
    | {f"size line: {name}": POST + data for name, data in SIZE_LINES.items()}
    | {f"later size line: {name}": POST + b"2\r\nab\r\n" + data for name, data in SIZE_LINES.items()}
    | {f"after data: {name}": POST + data for name, data in AFTER_DATA.items()}
    | {f"trailers: {name}": POST + b"2\r\nab\r\n0\r\n" + data for name, data in FIELD_LINES.items()}
)


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 2, 5, 16, 1000])
@pytest.mark.parametrize("name", CASES)
def test_refused_at_once(name: str, size: int) -> None:
    reader = Reader().feed_all(pieces(CASES[name], size))
    assert reader.status == 400, reader.fault


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("name", CASES)
def test_not_refused_before(name: str, size: int) -> None:
    """After a CR the next byte decides, so it is not refused before that."""
    reader = Reader().feed_all(pieces(CASES[name][:-1], size))
    assert reader.fault is None


VALID = [
    b"OPTIONS * HTTP/1.1\r\nHost: a.test\r\nA:\r\nB: \t c \t\r\n\r\n",
    b"GET HTTP://a.test:80/?q HTTP/1.1\r\nHost: A.test\r\n\r\n",
    b"GET https://a.test HTTP/1.0\r\n\r\n",
    b"\r\n\r\nDELETE /x HTTP/1.9\r\nHost:\r\nContent-Length: 3, 3\r\n\r\nabc",
    POST
    + b'0005 ; a = "\\"b;\\\\ c" ; d\t=e;f\r\nhello\r\n7fff;x=y;"'[:-2]
    + b"\r\n"
    + bytes(0x7FFF)
    + b"\r\n0;l\r\n\r\n",
    POST + b"00000000000000a\r\n0123456789\r\n000\r\nA: b\r\nC:\r\n\r\n",
]


@pytest.mark.parametrize("data", VALID)
def test_no_beginning_of_a_valid_request_is_refused(data: bytes) -> None:
    for size in (1, 2, 3):
        reader = Reader().feed_all(pieces(data, size))
        assert reader.fault is None
        assert reader.seen[-1].complete


SIGNS = [b"5", b"a", b"g", b";", b"=", b'"', b"\\", b" ", b"\t", b"\xe9", b"(", b"\x01"]


@given(st.lists(st.sampled_from(SIGNS), max_size=9))
def test_beginnings_of_extensions(parts: list[bytes]) -> None:
    """A beginning is refused exactly if no continuation makes it valid; one of these would, if any does."""
    line = b"1" + b"".join(parts)
    extensions = line.lstrip(b"15a")
    completable = any(is_chunk_extensions(extensions + end) for end in (b"", b"a", b";a", b'"', b'a"'))
    for size in (1, 1000):
        assert (Reader().feed_all([POST, *pieces(line, size)]).fault is None) is completable, line


def test_versions_that_are_not_spoken_are_told_so_when_their_line_ends() -> None:
    reader = Reader()
    reader.feed(b"GET / HTTP/2.0")
    assert reader.fault is None
    reader.feed(b"\r\n")
    assert reader.status == 505


def test_what_is_malformed_comes_before_what_is_not_spoken() -> None:
    """A line that is malformed and unsupported is refused as malformed, however it is cut."""
    for line in (
        b"G[T / HTTP/2.0",
        b"GET x HTTP/2.0",
        b"GET /# HTTP/2.0",
        b"GET / HTTP/2.00",
        b"CONNECT /\x00 HTTP/1.1",
    ):
        for size in (1, 1000):
            assert Reader().feed_all(pieces(line + b"\r\nHost: a.test\r\n\r\n", size)).status == 400, line


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_fields_are_counted_as_they_come(size: int) -> None:
    reader = Reader(Limits(header_count=5)).feed_all(pieces(GET + b"A: b\r\n" * 5, size))
    assert reader.status == 431


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_method_without_end(size: int) -> None:
    """RFC 9112 section 3: 501 for a long method, and 414 only for a long target."""
    assert Reader(Limits(request_line=50)).feed_all(pieces(b"A" * 60, size)).status == 501
    assert Reader(Limits(request_line=50)).feed_all(pieces(b"A" * 50 + b" /aaaaaaaaa", size)).status == 414
    assert Reader(Limits(request_line=50)).feed_all(pieces(b"A" * 60 + b" / HTTP/1.1\r\n\r\n", size)).status in (
        400,
        501,
    )
