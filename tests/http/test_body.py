"""How the body of a request is delimited, and chunked bodies (RFC 9112 sections 6 and 7)."""

from collections.abc import Callable

import pytest

from septet.exchange import ProtocolError
from septet.http.body import MAX_CHUNK_LINE, MAX_TRAILERS, ChunkedDecoder, LengthDecoder
from septet.http.incoming import Limits
from support.feeding import Reader, head
from support.messages import byte_by_byte, chunked, pattern, render

Feed = Callable[..., Reader]

HOST = "Host: example.test"
CHUNKED = head("POST / HTTP/1.1", HOST, "Transfer-Encoding: chunked")


@pytest.mark.parametrize(
    ("values", "length"),
    [(["0"], 0), (["5"], 5), (["005"], 5), ([" \t5 "], 5), (["5", "5"], 5), (["0" * 18 + "5"], 5), (["0", "0"], 0),
     (["5, 5"], 5), (["5,5\t,5"], 5), (["5, 5", "5"], 5), (["0,0"], 0)],
)  # fmt: skip
def test_content_length(feed: Feed, values: list[str], length: int) -> None:
    """The same length twice is one length (RFC 9110 section 8.6)."""
    reader = feed(head("POST / HTTP/1.1", HOST, *(f"Content-Length: {value}" for value in values)) + b"12345"[:length])
    assert reader.only.content_length == length
    assert reader.only.has_body is (length > 0)
    assert reader.seen[0].body == b"12345"[:length]


@pytest.mark.parametrize(
    "values",
    [["5", "6"], ["5", "05"], ["5,"], [",5"], ["5,,5"], ["5, 05"], ["5,6"], ["5, 6"] * 2,
     ["+5"], ["-5"], ["5_0"], ["0x5"], ["5.0"], ["5 5"], ["five"], [""],
     ["٥"], ["\xb2"], [str(2**63)], ["9" * 19], ["9" * 20], ["0" * 20], ["9" * 5000], ["5", ""]],
)  # fmt: skip
def test_refused_content_length(feed: Feed, values: list[str]) -> None:
    data = b"".join(b"Content-Length: %b\r\n" % value.encode() for value in values)
    assert feed(b"POST / HTTP/1.1\r\nHost: a\r\n" + data + b"\r\n12345").status == 400


def test_largest_content_length() -> None:
    reader = Reader().feed_all([head("POST / HTTP/1.1", HOST, f"Content-Length: {2**63 - 1}"), b"12345"])
    assert reader.seen[0].request.content_length == 2**63 - 1
    assert (bytes(reader.seen[0].body), reader.seen[0].complete) == (b"12345", False)


@pytest.mark.parametrize("value", ["chunked", "Chunked", " CHUNKED\t", "chunked,", " , ,chunked"])
def test_chunked(feed: Feed, value: str) -> None:
    reader = feed(head("POST / HTTP/1.1", HOST, f"Transfer-Encoding: {value}") + chunked(b"hello world", 4))
    assert (reader.only.chunked, reader.only.has_body, reader.only.content_length) == (True, True, 0)
    assert reader.seen[0].body == b"hello world"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (["Transfer-Encoding: gzip"], 400),
        (["Transfer-Encoding: identity"], 400),
        (["Transfer-Encoding: xchunked"], 400),
        (["Transfer-Encoding: chunked-x"], 400),
        (["Transfer-Encoding: gzip, chunked"], 501),
        (["Transfer-Encoding: ,gzip,,chunked,"], 501),
        (["Transfer-Encoding: chunked, chunked"], 400),
        (["Transfer-Encoding: chunked, gzip"], 400),
        (["Transfer-Encoding: ,"], 400),
        (["Transfer-Encoding: chunked;q=1"], 400),
        (["Transfer-Encoding: \x0bchunked"], 400),
        (["Transfer-Encoding:"], 400),
        (["Transfer-Encoding: chunked"] * 2, 400),
        (["Transfer-Encoding: gzip", "Transfer-Encoding: chunked"], 501),
        (["Transfer-Encoding: chunked", "Content-Length: 5"], 400),
        (["Content-Length: 0", "Transfer-Encoding: chunked"], 400),
        (["Transfer-Encoding : chunked"], 400),
        (["Transfer-Encoding: chunked\r\n "], 400),
    ],
)
def test_refused_transfer_encoding(feed: Feed, fields: list[str], status: int) -> None:
    assert feed(head("POST / HTTP/1.1", HOST, *fields) + b"0\r\n\r\n").status == status


def test_transfer_encoding_is_refused_in_http_1_0(feed: Feed) -> None:
    """RFC 9112 section 6.1: such a message has faulty framing."""
    assert feed(head("POST / HTTP/1.0", "Transfer-Encoding: chunked") + b"0\r\n\r\n").status == 400


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (b"0\r\n\r\n", b""),
        (b"0000\r\n\r\n", b""),
        (b"1\r\na\r\n0\r\n\r\n", b"a"),
        (b"00A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"a\r\n0123456789\r\n1\r\n\r\r\n0\r\n\r\n", b"0123456789\r"),
        (b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n"),
        (b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n"),
        (b"3;a\r\nabc\r\n0;b=c\r\n\r\n", b"abc"),
        (b'3 \t; a = "b;c" ;d\r\nabc\r\n0\r\n\r\n', b"abc"),
        (b"3\r\nabc\r\n0\r\nA: b\r\n\r\n", b"abc"),
        (b"0\r\nA: b\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\nHost:\r\n\r\n", b""),
    ],
)
def test_chunks(feed: Feed, data: bytes, body: bytes) -> None:
    """Extensions and trailers are checked and ignored; no trailer changes the framing."""
    reader = feed(CHUNKED + data)
    assert reader.only.chunked
    assert reader.seen[0].body == body


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"x\r\n",
        b"0x1\r\na\r\n0\r\n\r\n",
        b"+1\r\na\r\n0\r\n\r\n",
        b"-1\r\na\r\n0\r\n\r\n",
        b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n",
        b" 1\r\na\r\n0\r\n\r\n",
        b"1 \r\na\r\n0\r\n\r\n",
        b"\t1\r\na\r\n0\r\n\r\n",
        b"1,1\r\na\r\n0\r\n\r\n",
        b";a\r\na\r\n0\r\n\r\n",
        b"1;\r\na\r\n0\r\n\r\n",
        b"1;a\nb\r\na\r\n0\r\n\r\n",
        b"1;a\rb\r\na\r\n0\r\n\r\n",
        b"1;\0\r\na\r\n0\r\n\r\n",
        b"1\n\r\na\r\n0\r\n\r\n",
        b"1\ra\r\n0\r\n\r\n",
        b"10000000000000000\r\n",
        b"8000000000000000\r\n",
        b"1;a \r\na\r\n0\r\n\r\n",
        b"1\r\nab\r\n0\r\n\r\n",
        b"2\r\na\r\n0\r\n\r\n",
        b"1\r\na\n0\r\n\r\n",
        b"1\r\na0\r\n\r\n",
        b"1\r\na\r0\r\n\r\n",
        b"0\r\nA\r\n\r\n",
        b"0\r\nA : b\r\n\r\n",
        b"0\r\n A: b\r\n\r\n",
        b"0\r\nA: b\r\n c\r\n\r\n",
        b"0\r\nA: b\nC: d\r\n\r\n",
        b"0\r\nA: \0\r\n\r\n",
    ],
)
def test_refused_chunks(feed: Feed, data: bytes) -> None:
    assert feed(CHUNKED + data).status == 400


def extended(count: int, length: int) -> bytes:
    """Chunks of one byte whose size lines have this length; 16 bytes and twice the content do not count."""
    return (b"1;" + b"a" * (length - 2) + b"\r\nx\r\n") * count


@pytest.mark.parametrize(
    ("data", "allowed"),
    [
        (b"1;" + b"a" * (MAX_CHUNK_LINE - 2) + b"\r\na\r\n0\r\n\r\n", True),
        (b"1;" + b"a" * (MAX_CHUNK_LINE - 1) + b"\r\na\r\n0\r\n\r\n", False),
        (b"0" * (MAX_CHUNK_LINE + 1), False),
        (extended(100, 18 + 163) + b"0\r\n\r\n", True),
        (extended(100, 18 + 164) + b"0\r\n\r\n", False),
        (b"0\r\nA: " + b"b" * (MAX_TRAILERS - 3) + b"\r\n\r\n", True),
        (b"0\r\nA: " + b"b" * (MAX_TRAILERS - 2) + b"\r\n\r\n", False),
        (b"0\r\n" + b"A: b\r\n" * MAX_TRAILERS + b"\r\n", False),
    ],
    ids=[
        "line within",
        "line beyond",
        "endless line",
        "extensions within",
        "extensions beyond",
        "trailers within",
        "trailers beyond",
        "many trailers",
    ],
)
def test_bounds_of_what_is_not_content(feed: Feed, data: bytes, allowed: bool) -> None:
    """The bounds of a size line and of a trailer section do not depend on how the bytes are cut."""
    assert feed(CHUNKED + data).status == (None if allowed else 400)


def test_limit_of_a_promised_body(feed: Feed) -> None:
    limits = Limits(body=10)
    assert feed(render("POST", "/", body=b"0123456789"), limits).only.content_length == 10
    reader = feed(render("POST", "/", body=b"0123456789a"), limits)
    assert (reader.status, reader.seen) == (413, [])  # before any of it was read


def test_limit_of_a_chunked_body(feed: Feed) -> None:
    limits = Limits(body=10)
    assert feed(CHUNKED + chunked(b"0123456789", 3), limits).only.chunked
    reader = feed(CHUNKED + chunked(b"0123456789a", 3), limits)
    assert reader.status == 413
    assert len(reader.seen[0].body) <= 10


@pytest.mark.parametrize(
    "data", [render("POST", "/", body=b"12345"), CHUNKED + chunked(b"12345", 2, trailers=("A: b",))]
)
def test_body_that_breaks_off(data: bytes) -> None:
    """ClientGone at any end of input within the body; a truncated body never looks complete."""
    for end in range(data.index(b"\r\n\r\n") + 4, len(data)):
        reader = Reader().feed_all([data[:end], b""])
        assert reader.broken_off
        assert not reader.seen[0].complete


def test_body_comes_in_order_and_as_it_comes() -> None:
    """Each piece is returned at once, except for a chunk's last byte, which is checked together with its CRLF."""
    reader = Reader().feed_all([CHUNKED])
    data = pattern(1000)
    reader.feed(b"3e8\r\n" + data[:500])
    assert reader.seen[0].body == data[:500]
    reader.feed(data[500:])
    assert reader.seen[0].body == data[:999]
    reader.feed(b"\r\n0\r\n\r\n")
    assert (bytes(reader.seen[0].body), reader.seen[0].complete) == (data, True)


def test_length_decoder_leaves_what_is_not_its_own() -> None:
    decoder = LengthDecoder(5)
    assert decoder.decode(b"123") == (b"123", b"")
    assert not decoder.complete
    assert decoder.decode(b"45GET") == (b"45", b"GET")
    assert decoder.complete
    assert LengthDecoder(0).complete


def test_chunked_decoder_keeps_little_back() -> None:
    """The bytes kept between two calls are bounded by a size line or a trailer section, not by the body."""
    decoder = ChunkedDecoder()
    left = b""
    for piece in byte_by_byte(chunked(pattern(3000), 1000, extension=";a=b")):
        _, left = decoder.decode(left + piece)
        assert len(left) <= len(b"3e8;a=b\r\n")
    assert (decoder.complete, left) == (True, b"")


def test_chunked_decoder_refuses_an_endless_line() -> None:
    decoder = ChunkedDecoder()
    with pytest.raises(ProtocolError, match="too long"):
        decoder.decode(b"1" + b";" * (MAX_CHUNK_LINE + 1))
