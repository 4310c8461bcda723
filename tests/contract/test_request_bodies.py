"""Request bodies: both framings, cut up in any way, read by the application in any way or not at all."""

import json
import select
from collections.abc import Callable, Iterable
from itertools import product

import pytest

from support.behaviour import digest
from support.client import Connection, Response
from support.marks import asgi_only, cases, each_style, engine_decides, wsgi_only
from support.messages import byte_by_byte, chunked, pattern, random_pieces, render
from support.models import EVENT_DRIVEN, LOOPS
from support.server import Server

MIB = 1 << 20

Deliver = Callable[[bytes], Iterable[bytes]]
FRAMINGS = ("length", "chunked", "chunked with extensions and trailers")


def framed(body: bytes, framing: str, target: str, *fields: str) -> bytes:
    """A POST of `body` in `framing`."""
    if framing == "length":
        return render("POST", target, *fields, body=body)
    head = render("POST", target, "Transfer-Encoding: chunked", *fields)
    size = max(1, min(len(body) // 3, 100_000))
    if framing == "chunked":
        return head + chunked(body, size)
    return head + chunked(body, size, ' ; name="quoted \\" ; value";other', ("X-Trailer: value", "X-Other:"))


def assert_received(response: Response, body: bytes) -> None:
    assert response.status == 200, response
    assert json.loads(response.body) == {"length": len(body), "digest": digest(body)}


def whole(data: bytes) -> list[bytes]:
    return [data]


EMPTY_OR_A_BYTE = [(size, deliver) for size in (0, 1) for deliver in (whole, byte_by_byte)]
IN_PIECES = [
    (1 << 16, whole),
    (10 * MIB, whole),
    (300, byte_by_byte),
    (1000, random_pieces),
    (1 << 16, random_pieces),
]
BODIES = [(framing, *one) for framing in FRAMINGS for one in EMPTY_OR_A_BYTE + IN_PIECES]
#: What carriers may do differently: large bodies of either framing, and pieces, which a framing reads in its own way.
CARRIED = [
    ("length", 10 * MIB, whole),
    ("length", 1 << 16, random_pieces),
    ("chunked", 10 * MIB, whole),
    ("chunked", 300, byte_by_byte),
    ("chunked", 1000, random_pieces),
]


@cases(
    "framing,size,deliver",
    everywhere=CARRIED,
    once=[each for each in BODIES if each not in CARRIED],
)
def test_body_is_read(server: Server, framing: str, size: int, deliver: Deliver) -> None:
    body = pattern(size)
    with server.connect() as connection:
        connection.send_pieces(deliver(framed(body, framing, "/read?how=all")))
        assert_received(connection.read_response(), body)
        assert connection.request("GET", "/").status == 200


@each_style
@wsgi_only
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("how", ["all", "minus", "pieces", "lines", "short-lines", "readlines", "iterate"])
def test_ways_of_reading(server: Server, framing: str, how: str) -> None:
    """Every method of wsgi.input (PEP 3333), each to the body's end and not beyond it."""
    body = b"".join(b"line %d\r\n" % i for i in range(5000)) + b"\n\nno line end"
    with server.connect() as connection:
        connection.send(framed(body, framing, f"/read?how={how}") + render("GET", "/next"))
        assert_received(connection.read_response(), body)
        assert json.loads(connection.read_response().body)["path"] == "/next"


#: Each two of size, framing and way; the session drains by its own rules, whatever carries it.
LEFT = [
    ("length", 1 << 16, "none"),
    ("length", 10 * MIB, "first"),
    ("chunked", 1 << 16, "first"),
    ("chunked", 10 * MIB, "none"),
]


@cases(
    "framing,size,how",
    everywhere=LEFT,
    once=[each for each in product(FRAMINGS, [10, 1 << 16, 10 * MIB], ["none", "first"]) if each not in LEFT],
)
def test_unread_body_is_never_taken_for_a_request(server: Server, framing: str, size: int, how: str) -> None:
    """Drained within a bound, or the connection is closed; the first answer arrives in either case."""
    smuggled = render("GET", "/smuggled")
    body = (smuggled * (size // len(smuggled) + 1))[:size]
    with server.connect() as connection:
        connection.send_if_possible(framed(body, framing, f"/read?how={how}") + render("GET", "/next"))
        first = connection.read_response()
        assert first.status == 200
        if how == "none":
            assert_received(first, b"")
        assert_next_or_closed(connection, first.closes)


@cases("framing", everywhere=FRAMINGS[:1], once=FRAMINGS[1:])
def test_who_sends_the_whole_body_first_finds_an_early_answer(server: Server, framing: str) -> None:
    """As httpx does: it looks at no answer before, and a reset in between would destroy that."""
    body = pattern(10 * MIB)
    with server.connect() as connection:
        connection.send(framed(body, framing, "/read?how=none"))
        assert connection.read_response().status == 200


def assert_next_or_closed(connection: Connection, closes: bool) -> None:
    """The second of two requests is answered rightly, or the connection has ended before any byte of an answer."""
    if closes:
        connection.assert_closed()
        return
    if connection.has_more():
        assert json.loads(connection.read_response().body)["path"] == "/next"


@each_style
@pytest.mark.parametrize("framing", FRAMINGS)
def test_small_unread_body_keeps_the_connection(server: Server, framing: str) -> None:
    """A bounded body that has come with its request costs nothing to drain."""
    with server.connect() as connection:
        connection.send(framed(b"ignored", framing, "/read?how=none"))
        assert connection.read_response().status == 200
        assert connection.request("GET", "/next").status == 200


@cases("framing", everywhere=FRAMINGS[:1], once=FRAMINGS[1:])
def test_continue_is_sent_when_the_application_reads(server: Server, framing: str) -> None:
    """RFC 9110, section 10.1.1, as curl does it: the body waits for the 100."""
    head, _, body = framed(b"the body", framing, "/read?how=all", "Expect: 100-continue").partition(b"\r\n\r\n")
    with server.connect() as connection:
        connection.send(head + b"\r\n\r\n")
        assert connection.read_head().status == 100
        connection.assert_nothing_more()
        connection.send(body)
        response = connection.read_response()
        assert_received(response, b"the body")
        assert not response.interim
        assert connection.request("GET", "/").status == 200


def test_continue_is_not_sent_when_the_application_never_reads(server: Server, model: str, interface: str) -> None:
    """Then the connection ends: nobody can know whether the client will send the body all the same.

    Event-driven models read a WSGI body on the application's behalf, before it runs: there the 100 comes at once.
    """
    with server.connect() as connection:
        connection.send(render("POST", "/read?how=none", "Expect: 100-continue", "Content-Length: 8"))
        if interface == "wsgi" and model in EVENT_DRIVEN:
            assert connection.read_head().status == 100
            connection.send(b"the body")
            assert connection.read_response().status == 200
        else:
            response = connection.read_response()
            assert response.status == 200
            assert not response.interim
            assert response.closes
            connection.assert_closed()


@asgi_only
@pytest.mark.parametrize("model", LOOPS)
def test_body_that_is_not_read_stays_with_the_client(server: Server, model: str, interface: str, token: str) -> None:
    """But for what fits into 64 KiB and the kernel's buffers."""
    body = bytes(8 * MIB)
    with server.connect() as connection:
        connection.send(render("POST", f"/gate?gate={token}", f"Content-Length: {len(body)}"))
        server.journal.wait_for(f"at gate {token}")
        sock, sent = connection.socket, 0
        sock.setblocking(False)
        while sent < len(body) and select.select([], [sock], [], 1.0)[1]:
            sent += sock.send(body[sent : sent + 100_000])
        assert sent < len(body)
        server.journal.open_gate(token)


@engine_decides
def test_http_1_0_gets_no_continue(server: Server) -> None:
    """RFC 9110, section 10.1.1: an expectation in an HTTP/1.0 request is ignored."""
    with server.connect() as connection:
        connection.send(render("POST", "/read?how=all", "Expect: 100-continue", body=b"body", version="1.0"))
        response = connection.read_response()
        assert_received(response, b"body")
        assert not response.interim


@engine_decides
def test_get_with_a_body(server: Server) -> None:
    with server.connect() as connection:
        response = connection.request("GET", "/read?how=all", body=b"a body")
        assert_received(response, b"a body")


@each_style
@pytest.mark.parametrize("reason", ["post without length", "get"])
def test_no_body(server: Server, reason: str) -> None:
    """RFC 9112, section 6.3: a request without a length has no body; reading it must not wait for one."""
    with server.connect() as connection:
        connection.send(render("GET" if reason == "get" else "POST", "/read?how=all"))
        assert_received(connection.read_response(), b"")


@cases("expected", everywhere=["Content-Length: 100"], once=["Transfer-Encoding: chunked"])
def test_body_that_breaks_off_ends_alike_everywhere(server: Server, expected: str) -> None:
    """RFC 9112 section 8: who sends no more may still read, and the application has given no answer of its own."""
    with server.connect() as connection:
        connection.send(render("POST", "/read?how=all", expected) + b"5\r\nhello\r\n")
        connection.end_sending()
        response = connection.read_response()
        assert (response.status, response.closes) == (400, True)
        assert response.body == b"the client went away in the middle of its request's body\n"
        connection.assert_closed()


@engine_decides
@pytest.mark.parametrize("line", [b"zz", b"5\n", b"5;a\nb", b"0\r\nA: b\n", b"2\r\nabc"])
def test_chunks_that_cannot_become_valid_are_refused_at_once(server: Server, line: bytes) -> None:
    """The client sends nothing more; by default it would have half a minute for that."""
    with server.connect() as connection:
        connection.send(render("POST", "/read?how=all", "Transfer-Encoding: chunked") + line)
        assert connection.read_response().status == 400
