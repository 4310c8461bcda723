"""One connection: requests in their order, limits, bodies that are not read, and Expect: 100-continue."""

from collections.abc import Callable

import pytest

from septet.exchange import ClientGone, ProtocolError
from septet.http.codec import Http1Codec
from septet.http.head import response_head
from septet.http.incoming import DRAIN_LIMIT, Limits
from support.feeding import HOST, TAIL, Reader, head, unstamped
from support.messages import chunked, render

Feed = Callable[..., Reader]

OK = response_head(200, b"OK", ())


def connected(*pieces: bytes, limits: Limits | None = None) -> Http1Codec:
    """A codec that has received these bytes and has begun the first request."""
    connection = Http1Codec(limits or Limits(), unstamped)
    for piece in pieces:
        connection.receive(piece)
    assert connection.next_request() is not None
    return connection


# Requests in their order


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1 << 20])
def test_pipelined_requests(size: int) -> None:
    data = b"".join(
        [
            render("POST", "/1", body=b"one"),
            render("GET", "/2"),
            render("POST", "/3", "Transfer-Encoding: chunked", body=chunked(b"three", 2)),
            b"\r\n" + render("POST", "/4", body=b"four"),
            render("GET", "/5"),
        ]
    )
    reader = Reader().feed_all(data[start : start + size] for start in range(0, len(data), size))
    assert reader.fault is None
    assert [(seen.request.target, bytes(seen.body)) for seen in reader.seen] == [
        (b"/1", b"one"), (b"/2", b""), (b"/3", b"three"), (b"/4", b"four"), (b"/5", b""),
    ]  # fmt: skip
    assert reader.connection.pending == 0


def test_body_without_a_length_is_the_next_request() -> None:
    """RFC 9112 section 6.3: a request without Content-Length and Transfer-Encoding has no body."""
    reader = Reader().feed_all([render("POST", "/1") + TAIL])
    assert [seen.request.path for seen in reader.seen] == [b"/1", b"/tail"]


def test_nothing_is_given_before_it_has_come() -> None:
    connection = Http1Codec(Limits(), unstamped)
    assert connection.next_request() is None
    connection.receive(b"")
    assert connection.next_request() is None
    assert connection.ended


def test_last_requests_of_a_stopping_connection() -> None:
    connection = Http1Codec(Limits(), unstamped)
    connection.stopping = True
    connection.receive(TAIL)
    connection.next_request()
    assert not connection.keep_alive
    assert b"\r\nConnection: close\r\n" in connection.respond(OK, b"", True)


# Limits


LINE = "GET /" + "a" * 86 + " HTTP/1.1"  # 100 bytes


@pytest.mark.parametrize(("limit", "status"), [(100, None), (99, 414)])
def test_limit_of_the_request_line(feed: Feed, limit: int, status: int | None) -> None:
    limits = Limits(request_line=limit)
    assert feed(head(LINE, "Host: a"), limits).status == status
    assert feed(head(LINE, "Host: a", "A: " + "b" * 200), limits).status == status


@pytest.mark.parametrize(("limit", "status"), [(1000, None), (999, 431)])
def test_limit_of_the_header_block(feed: Feed, limit: int, status: int | None) -> None:
    """The limit applies to the request line and the fields, without the empty line."""
    block = head("GET / HTTP/1.1", "Host: a", "A: " + "b" * 972)
    assert len(block) == 1000 + 4
    assert feed(block, Limits(header_block=limit)).status == status


@pytest.mark.parametrize(("count", "status"), [(10, None), (11, 431)])
def test_limit_of_the_header_count(feed: Feed, count: int, status: int | None) -> None:
    fields = ["Host: a", *(f"A: {number}" for number in range(count - 1))]
    assert feed(head("GET / HTTP/1.1", *fields), Limits(header_count=10)).status == status


def test_dropped_fields_count_too(feed: Feed) -> None:
    fields = ["Host: a", *(f"A_{number}: b" for number in range(10))]
    assert feed(head("GET / HTTP/1.1", *fields), Limits(header_count=10)).status == 431


@pytest.mark.parametrize(
    ("beginning", "piece", "status"),
    [(b"GET /", b"a", 414), (b"GET / HTTP/1.1\r\nA: ", b"b", 431), (b"GET / HTTP/1.1\r\n", b"A: b\r\n", 431)],
)
def test_endless_head_is_refused_early(beginning: bytes, piece: bytes, status: int) -> None:
    """A head is refused soon after its limit, so that little of an incomplete one is kept."""
    limits = Limits(request_line=500, header_block=2000)
    reader = Reader(limits).feed_all([beginning])
    for _ in range(3000):
        reader.feed(piece)
        assert reader.connection.pending <= 2000 + 4 + len(piece)
    assert reader.status == status


def test_good_requests_before_a_bad_one_are_seen() -> None:
    reader = Reader().feed_all([render("POST", "/1", body=b"one") + render("GET", "/2") + b"GET /\r\n\r\n" + TAIL])
    assert [seen.request.path for seen in reader.seen] == [b"/1", b"/2"]
    assert reader.status == 400


# Expect: 100-continue

EXPECTS = head("POST / HTTP/1.1", "Host: a", "Content-Length: 5", "Expect: 100-continue")


def test_continue_is_wanted_until_it_is_sent_or_the_body_comes() -> None:
    connection = connected(EXPECTS)
    assert connection.wants_continue
    assert connection.read_body() is None
    connection.continued = True
    assert not connection.wants_continue

    connection = connected(EXPECTS)
    connection.receive(b"1")
    assert not connection.wants_continue
    assert connection.read_body() == b"1"
    assert not connection.wants_continue


def test_answer_before_the_continue_closes() -> None:
    """The client may send the body or not (RFC 9110 section 10.1.1), so the beginning of the next request is
    unknown."""
    connection = connected(EXPECTS)
    assert b"\r\nConnection: close\r\n" in connection.respond(OK, b"", True)
    assert not connection.keep_alive


def test_continue_is_not_wanted_any_more_once_the_answer_has_begun() -> None:
    """RFC 9110 section 10.1.1: an interim answer comes before the final one, never in the middle of it."""
    connection = connected(EXPECTS)
    connection.respond(OK, b"first part", False)
    assert not connection.wants_continue


# Bodies that nobody reads


CHUNKED = render("POST", "/", "Transfer-Encoding: chunked")


@pytest.mark.parametrize("data", [render("POST", "/", body=b"12345"), CHUNKED + chunked(b"12345", 2)])
def test_short_body_is_drained(data: bytes) -> None:
    connection = connected(data[:-3])
    assert b"Connection" not in connection.respond(OK, b"", True)
    assert not connection.drain()
    connection.receive(data[-3:] + TAIL)
    assert connection.drain()
    request = connection.next_request()
    assert request is not None
    assert request.path == b"/tail"


def test_body_within_the_bound_keeps_the_connection() -> None:
    connection = connected(render("POST", "/", f"Content-Length: {DRAIN_LIMIT}"))
    connection.respond(OK, b"", True)
    assert connection.keep_alive
    connection.receive(b"a" * DRAIN_LIMIT)
    assert connection.drain()


def test_body_beyond_the_bound_closes() -> None:
    connection = connected(render("POST", "/", f"Content-Length: {DRAIN_LIMIT + 1}"))
    assert b"\r\nConnection: close\r\n" in connection.respond(OK, b"", True)


@pytest.mark.parametrize("size", [1 << 20, 1000, 1])
def test_chunked_body_is_not_drained_for_ever(size: int) -> None:
    """The bound applies to all discarded bytes together, in however many pieces they come."""
    connection = connected(CHUNKED)
    connection.respond(OK, b"", True)
    chunk = b"%x\r\n%b\r\n" % (size, b"a" * size)

    def drain_chunks() -> None:
        for _ in range(2 * DRAIN_LIMIT // size + 1):
            connection.receive(chunk)
            assert not connection.drain()

    with pytest.raises(ProtocolError):
        drain_chunks()


def test_draining_a_malformed_body() -> None:
    connection = connected(CHUNKED + b"x\r\n")
    connection.respond(OK, b"", True)
    with pytest.raises(ProtocolError):
        connection.drain()


def test_draining_a_body_that_breaks_off() -> None:
    connection = connected(render("POST", "/", "Content-Length: 5"), b"123", b"")
    connection.respond(OK, b"", True)
    with pytest.raises(ClientGone):
        connection.drain()


def test_read_body_at_its_end_and_of_none() -> None:
    connection = connected(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (connection.body_complete, connection.read_body()) == (True, b"")
    connection = connected(render("POST", "/", body=b"12345") + TAIL)
    assert [connection.read_body() for _ in range(3)] == [b"12345", b"", b""]
    assert connection.pending == len(TAIL)
