import pytest

from septet.lab.load.answer import CHUNKED, UNTIL_CLOSE, Answer, Framing, Malformed, first_line, parse_head

COMPLETE = {
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, 5),
    "no body": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, 0),
    "no reason": (b"HTTP/1.1 404\r\ncontent-length:5\r\n\r\nhello", 404, 5),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, 0),
    "304 with the length it would have": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, 0),
    "after a 100": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, 5),
    "chunked": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n2;x=y\r\nab\r\n0\r\n\r\n", 200, 7),
    "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\n\n\r\n0\r\nA: b\r\nC: d\r\n\r\n", 200, 1),
    "equal lengths twice": (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", 200, 1),
}
MALFORMED = {
    "another protocol": b"SSH-2.0-OpenSSH\r\n\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "line without colon": b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
    "space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello",
    "different lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "length with a sign": b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
    "chunk size with a sign": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n",
    "chunk longer than its size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhello\r\n0\r\n\r\n",
}


def in_bytes(wire: bytes) -> list[bytes]:
    return [wire[place : place + 1] for place in range(len(wire))]


@pytest.mark.parametrize("pieces", [lambda wire: [wire], in_bytes], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("name", COMPLETE)
def test_complete_at_the_last_byte(name: str, pieces: object) -> None:
    wire, status, length = COMPLETE[name]
    answer = Answer()
    *others, last = pieces(wire)  # type: ignore[operator]
    assert not any(answer.feed(piece) for piece in others)
    assert answer.feed(last)
    assert answer.framing is not None
    assert (answer.framing.status, answer.body_bytes) == (status, length)


@pytest.mark.parametrize("name", COMPLETE)
def test_a_tail_is_malformed(name: str) -> None:
    with pytest.raises(Malformed):
        Answer().feed(COMPLETE[name][0] + b"x")


@pytest.mark.parametrize("name", COMPLETE)
def test_the_end_before_the_end_is_incomplete(name: str) -> None:
    answer = Answer()
    answer.feed(COMPLETE[name][0][:-1])
    assert not answer.feed(b"")


@pytest.mark.parametrize("pieces", [lambda wire: [wire], in_bytes], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(name: str, pieces: object) -> None:
    answer = Answer()
    with pytest.raises(Malformed):
        any(answer.feed(piece) for piece in pieces(MALFORMED[name]))  # type: ignore[operator]


def test_endless_head_is_malformed() -> None:
    with pytest.raises(Malformed):
        Answer().feed(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000)


def test_until_close_ends_with_the_connection() -> None:
    answer = Answer()
    assert not answer.feed(b"HTTP/1.0 200 OK\r\n\r\nhello")
    assert not answer.feed(b", world")
    assert answer.feed(b"")
    assert answer.body_bytes == 12


@pytest.mark.parametrize(
    ("head", "framing"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1", Framing(200, 1, True)),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: Close", Framing(200, 1, False)),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: x, close", Framing(200, 1, False)),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1", Framing(200, 1, False)),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive", Framing(200, 1, True)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked", Framing(200, CHUNKED, True)),
        (b"HTTP/1.1 200 OK", Framing(200, UNTIL_CLOSE, False)),
    ],
)
def test_framing(head: bytes, framing: Framing) -> None:
    assert parse_head(head) == framing


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b"no room\r\nfor you\r\n", "no room"),
        (b"\n  caf\xc3\xa9\tau lait ", "café au lait"),
        (b'{"detail":"Not Found"}', '{"detail":"Not Found"}'),
        (b"x" * 201, "x" * 199 + "…"),
        (b"", ""),
        (b"{\n}", ""),
        (b"<!DOCTYPE html>\n<p>no", ""),
        (b"a \x1b[31mred", ""),
        (b"\x1f\x8b\x08\x00", ""),
        (b"word " * 1000, ""),
    ],
)
def test_first_line_of_a_text(body: bytes, line: str) -> None:
    assert first_line(body) == line


@pytest.mark.parametrize(("status", "kept"), [(200, b""), (399, b""), (400, b"y" * 2001), (599, b"y" * 2001)])
def test_beginning_of_an_error_is_kept(status: int, kept: bytes) -> None:
    head = b"HTTP/1.1 %d Status\r\nContent-Length: 5000\r\n\r\n" % status
    for pieces in ([head + b"y" * 5000], [head, b"y" * 1500, b"y" * 3500]):
        answer = Answer()
        for piece in pieces:
            answer.feed(piece)
        assert (answer.complete, answer.body_bytes, bytes(answer.body)) == (True, 5000, kept)
