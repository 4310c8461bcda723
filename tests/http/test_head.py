"""Heads of requests: the meaning of each part, and what is refused (RFC 9112 sections 3 to 6, RFC 9110)."""

from collections.abc import Callable

import pytest

from septet.http.incoming import Limits
from support.feeding import Reader, head

Feed = Callable[..., Reader]

HOST = "Host: example.test"


@pytest.mark.parametrize(
    ("method", "target", "path", "query"),
    [
        ("GET", "/", b"/", b""),
        ("GET", "/a/b%20c?x=1&y", b"/a/b%20c", b"x=1&y"),
        ("GET", "/?", b"/", b""),
        ("GET", "/a??b?", b"/a", b"?b?"),
        ("GET", "//other/a", b"//other/a", b""),
        ("GET", "/a:b@c", b"/a:b@c", b""),
        ("GET", "/*", b"/*", b""),
        ("OPTIONS", "*", b"*", b""),
        ("OPTIONS", "/a", b"/a", b""),
        ("GET", "http://example.test/a?b", b"/a", b"b"),
        ("GET", "http://example.test", b"/", b""),
        ("GET", "http://example.test?b", b"/", b"b"),
        ("GET", "HTTPS://EXAMPLE.test/A", b"/A", b""),
        ("PATCH", "/", b"/", b""),
        ("get", "/", b"/", b""),
        ("M-SEARCH!", "/", b"/", b""),
    ],
)
def test_request_line(feed: Feed, method: str, target: str, path: bytes, query: bytes) -> None:
    request = feed(head(f"{method} {target} HTTP/1.1", HOST)).only
    assert (request.method, request.target) == (method, target.encode())
    assert (request.path, request.query) == (path, query)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET /", 400),
        ("GET  / HTTP/1.1", 400),
        (" GET / HTTP/1.1", 400),
        ("GET / HTTP/1.1 ", 400),
        ("GET /a b HTTP/1.1", 400),
        ("GET\t/ HTTP/1.1", 400),
        ("GET /\tHTTP/1.1", 400),
        ("GET / http/1.1", 400),
        ("GET / HTTP/1.10", 400),
        ("GET / HTTP/1.", 400),
        ("GET / HTTP/1.1x", 400),
        ("GET / ICAP/1.1", 400),
        ("GET / HTTP/2.0", 505),
        ("GET / HTTP/0.9", 505),
        ("G@T / HTTP/1.1", 400),
        ("GÉT / HTTP/1.1", 400),
        (" / HTTP/1.1", 400),
        ("GET  HTTP/1.1", 400),
        ("GET a HTTP/1.1", 400),
        ("GET * HTTP/1.1", 400),
        ("OPTIONS ** HTTP/1.1", 400),
        ("GET /a#b HTTP/1.1", 400),
        ("GET /é HTTP/1.1", 400),
        ("GET /\x01 HTTP/1.1", 400),
        ("GET /\x7f HTTP/1.1", 400),
        ("GET /\0 HTTP/1.1", 400),
        ("GET ftp://example.test/ HTTP/1.1", 400),
        ("GET http:///a HTTP/1.1", 400),
        ("GET http:example.test HTTP/1.1", 400),
        ("GET http://user@example.test/ HTTP/1.1", 400),
        ("GET http://other.test/ HTTP/1.1", 400),
        ("GET example.test:80 HTTP/1.1", 400),
        ("CONNECT example.test:80 HTTP/1.1", 501),
    ],
)
def test_refused_request_line(feed: Feed, line: str, status: int) -> None:
    assert feed(head(line, HOST)).status == status


def test_target_without_a_host_is_no_uri(feed: Feed) -> None:
    """RFC 9110 section 4.2.1: an http URI with an empty host must be rejected."""
    assert feed(head("GET http://:80/ HTTP/1.1", "Host: :80")).status == 400


@pytest.mark.parametrize(("sent", "known"), [("1.0", "1.0"), ("1.1", "1.1"), ("1.2", "1.1"), ("1.9", "1.1")])
def test_version(feed: Feed, sent: str, known: str) -> None:
    """RFC 9110 section 2.5: a higher minor version is understood as the highest that is known."""
    assert feed(head(f"GET / HTTP/{sent}", HOST)).only.version == known


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("A: b", (b"a", b"b")),
        ("A:b", (b"a", b"b")),
        ("A: \t b c \t", (b"a", b"b c")),
        ("A:", (b"a", b"")),
        ("A: \t ", (b"a", b"")),
        ("A: :b:", (b"a", b":b:")),
        ("x!#$%&'*+-.^`|~1: b", (b"x!#$%&'*+-.^`|~1", b"b")),
        ("A: \xe9\xff", (b"a", b"\xe9\xff")),
        ("A: \xa0b\x85", (b"a", b"\xa0b\x85")),
    ],
)
def test_field(feed: Feed, line: str, field: tuple[bytes, bytes]) -> None:
    """Only spaces and tabs are stripped from a value; latin-1 has more white space than HTTP."""
    assert feed(head("GET / HTTP/1.1", HOST, line)).only.fields == ((b"host", b"example.test"), field)


@pytest.mark.parametrize(
    "line",
    ["A", "A : b", "A\t: b", ": b", " A: b", "\tA: b", "A b: c", "A(b): c", "É: b", "A: b\0", "A: \x01", "A: \x7f",
     "A: b\rC: d", "\rA: b", "A: b\nC: d", "\nA: b", "A: b\r\n folded", "A: b\r\n\tfolded", "A: b\r\n "],
)  # fmt: skip
def test_refused_field(feed: Feed, line: str) -> None:
    assert feed(head("GET / HTTP/1.1", HOST, line)).status == 400


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\nHost: a\n\n", b"GET / HTTP/1.1\rHost: a\r\r", b"\n", b"\0", b" ", b"\x16\x03"],
)
def test_other_line_ends_and_other_protocols(feed: Feed, data: bytes) -> None:
    assert feed(data).status == 400


def test_order_and_repetition_of_fields_are_kept(feed: Feed) -> None:
    request = feed(head("GET / HTTP/1.1", "B: 1", HOST, "a: 2", "b: 3")).only
    assert request.fields == ((b"b", b"1"), (b"host", b"example.test"), (b"a", b"2"), (b"b", b"3"))


def test_name_with_an_underscore_is_dropped(feed: Feed) -> None:
    """In a CGI environment `Content_Length` would become Content-Length, so it is set aside."""
    request = feed(head("GET / HTTP/1.1", HOST, "Content_Length: 5", "X_A: 1", "_: 2")).only
    assert request.fields == ((b"host", b"example.test"),)
    assert not request.has_body


@pytest.mark.parametrize("host", ["", "a", "a:80", "127.0.0.1", "[::1]:8000", "a:", "xn--e1afmkfd.test"])
def test_host(feed: Feed, host: str) -> None:
    assert feed(head("GET / HTTP/1.1", f"Host: {host}")).only.fields == ((b"host", host.encode()),)


@pytest.mark.parametrize(
    "fields",
    [[], ["Host: a", "Host: a"], ["Host: a", "host: b"], ["Host: a b"], ["Host: a,b:1:2"], ["Host: a/b"], ["Host: http://a"],
     ["Host: u@a"], ["Host: a:b"], ["Host: a:123456"], ["Host: [::1"], ["Host: a\\b"]],
)  # fmt: skip
def test_refused_host(feed: Feed, fields: list[str]) -> None:
    """RFC 9112 section 3.2: exactly one Host, and a valid one."""
    assert feed(head("GET / HTTP/1.1", *fields)).status == 400


def test_host_may_be_missing_in_http_1_0(feed: Feed) -> None:
    assert feed(head("GET / HTTP/1.0")).only.fields == ()
    assert feed(head("GET / HTTP/1.0", "Host: a", "Host: a")).status == 400


@pytest.mark.parametrize(
    ("version", "fields", "persists"),
    [
        ("1.1", [], True),
        ("1.1", ["Connection: close"], False),
        ("1.1", ["Connection: CLOSE"], False),
        ("1.1", ["Connection: keep-alive"], True),
        ("1.1", ["Connection: keep-alive, close"], False),
        ("1.1", ["Connection: x ,\tclose ,"], False),
        ("1.1", ["Connection: x", "Connection: close"], False),
        ("1.1", ["Connection: not-close"], True),
        ("1.1", ["Connection: upgrade"], True),
        ("1.1", ["Connection:"], True),
        ("1.0", [], False),
        ("1.0", ["Connection: keep-alive"], True),
        ("1.0", ["Connection: Keep-Alive"], True),
        ("1.0", ["Connection: x, keep-alive"], True),
        ("1.0", ["Connection: keep-alive", "Connection: close"], False),
        ("1.0", ["Connection: close"], False),
    ],
)
def test_persistence(feed: Feed, version: str, fields: list[str], persists: bool) -> None:
    """RFC 9112 section 9.3; `close` wins over everything."""
    assert feed(head(f"GET / HTTP/{version}", HOST, *fields)).only.keep_alive is persists


@pytest.mark.parametrize(
    ("version", "value", "expects"),
    [("1.1", "100-continue", True), ("1.1", "100-Continue", True), ("1.0", "100-continue", False), ("1.0", "x", False),
     ("1.1", ",100-continue, 100-continue,", True), ("1.1", "", False), ("1.1", ",", False)],
)  # fmt: skip
def test_expectation(feed: Feed, version: str, value: str, expects: bool) -> None:
    """RFC 9110 section 10.1.1: what an HTTP/1.0 client expects is ignored."""
    assert feed(head(f"GET / HTTP/{version}", HOST, f"Expect: {value}")).only.expects_continue is expects


@pytest.mark.parametrize(
    "fields", [["Expect: 200-ok"], ["Expect: 100-continue, x"], ["Expect: 100-continue", "Expect: x"]]
)
def test_expectation_that_cannot_be_met(feed: Feed, fields: list[str]) -> None:
    assert feed(head("POST / HTTP/1.1", HOST, *fields)).status == 417


def test_empty_line_before_a_request_is_passed_over(feed: Feed) -> None:
    """RFC 9112 section 2.2."""
    assert feed(b"\r\n" + head("GET / HTTP/1.1", HOST)).only.path == b"/"


def test_two_empty_lines_are_taken_alike_however_they_come() -> None:
    """Empty lines are ignored, independently of how the network cuts them."""
    data = b"\r\n\r\n" + head("GET / HTTP/1.1", HOST)
    ways = [[data], [data[i : i + 1] for i in range(len(data))], [data[:2], data[2:]], [data[:3], data[3:]]]
    assert len({Reader().feed_all(pieces).status for pieces in ways}) == 1


def test_incomplete_head_is_waited_for() -> None:
    data = head("GET / HTTP/1.1", HOST)
    for end in range(len(data)):
        reader = Reader(Limits()).feed_all([data[:end]])
        assert (reader.seen, reader.fault) == ([], None)
        reader.feed(data[end:])
        assert reader.only.path == b"/"
