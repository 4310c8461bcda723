"""Bounds on what a client may send: 414, 431 and 413, each at its own option, and never beyond the bound."""

from collections.abc import Iterator

import pytest

from support.marks import engine_decides
from support.messages import chunked, render
from support.server import Server, serve

LIMIT_BODY = 1000


def request_line(size: int) -> str:
    """A target that makes the request line `GET TARGET HTTP/1.1` `size` bytes long, without its CRLF."""
    return "/" + "a" * (size - len("GET / HTTP/1.1"))


@engine_decides
def test_request_line_within_the_limit(server: Server) -> None:
    assert server.get(request_line(8190)).status == 200


@engine_decides
@pytest.mark.parametrize("data", [render("GET", request_line(8195)), b"GET /" + b"a" * 9000], ids=["ended", "endless"])
def test_request_line_over_the_limit(server: Server, data: bytes) -> None:
    with server.connect() as connection:
        connection.send_if_possible(data)
        response = connection.read_response()
        assert (response.status, response.closes) == (414, True)
        connection.assert_closed()


@engine_decides
def test_header_block_within_the_limit(server: Server) -> None:
    assert server.get("/", *(f"X-{number}: {'v' * 6000}" for number in range(10))).status == 200


@engine_decides
@pytest.mark.parametrize("end", [b"\r\n\r\n", b""], ids=["ended", "endless"])
def test_header_block_over_the_limit(server: Server, end: bytes) -> None:
    fields = b"".join(b"X-%d: %s\r\n" % (number, b"v" * 6000) for number in range(12))
    with server.connect() as connection:
        connection.send_if_possible(b"GET / HTTP/1.1\r\nHost: example.test\r\n" + fields + end)
        response = connection.read_response()
        assert (response.status, response.closes) == (431, True)
        connection.assert_closed()


@engine_decides
def test_as_many_fields_as_allowed(server: Server) -> None:
    assert server.get("/", *(f"X-{number}: v" for number in range(99))).status == 200  # and Host


@engine_decides
def test_too_many_fields(server: Server) -> None:
    with server.connect() as connection:
        connection.send_if_possible(render("GET", "/", *(f"X-{number}: v" for number in range(100))))
        response = connection.read_response()
        assert (response.status, response.closes) == (431, True)
        connection.assert_closed()


@pytest.fixture
def limited(model: str, interface: str) -> Iterator[Server]:
    """A server with limits of its own, small enough to tell them from the defaults."""
    options = ["--limit-body", str(LIMIT_BODY), "--limit-request-line", "100"]
    options += ["--limit-header-block", "500", "--limit-header-count", "5"]
    with serve(model, interface, *options) as server:
        yield server


def test_own_limits(limited: Server) -> None:
    """One start for all of them: each is met, and each is exceeded on a connection that ends with it."""
    body = b"b" * LIMIT_BODY
    assert limited.request("POST", "/read?how=all", body=body).status == 200
    assert_answer(limited, render("POST", "/read?how=all", "Transfer-Encoding: chunked") + chunked(body, 100), 200)
    assert_answer(limited, render("POST", "/read?how=all", body=body + b"b"), 413)
    assert_answer(limited, render("POST", "/read?how=all", body=body * 500), 413)
    assert_answer(limited, render("POST", "/read?how=all", "Expect: 100-continue", "Content-Length: 1001"), 413)
    over = chunked(body + b"b", 100)
    assert_answer(limited, render("POST", "/read?how=all", "Transfer-Encoding: chunked") + over, 413)
    assert_answer(limited, render("GET", request_line(90)), 200)
    assert_answer(limited, render("GET", request_line(105)), 414)
    assert_answer(limited, render("GET", "/", "A: " + "v" * 400), 200)
    assert_answer(limited, render("GET", "/", "A: " + "v" * 500), 431)
    assert_answer(limited, render("GET", "/", "A: 1", "B: 2", "C: 3", "D: 4"), 200)
    assert_answer(limited, render("GET", "/", "A: 1", "B: 2", "C: 3", "D: 4", "E: 5"), 431)


def assert_answer(server: Server, data: bytes, status: int) -> None:
    """One answer, without a 100 before a refusal, and the connection closed after one: not by a reset, which could
    overtake the answer while the client still sends (RFC 9112, section 9.6)."""
    with server.connect() as connection:
        connection.send_if_possible(data)
        response = connection.read_response()
        assert response.status == status
        assert not response.interim
        if status != 200:
            assert response.closes
            connection.assert_closed_in_order()
