"""Answers whose content contradicts their head: what is sent, and how often it is reported."""

import pytest

from septet.exchange import FileRegion
from septet.http.codec import Http1Codec
from septet.http.head import check_trailers, response_head
from septet.http.incoming import Limits
from support.feeding import unstamped
from support.messages import render

HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


class Talk:
    """One exchange, the complaints about it, and its bytes."""

    def __init__(self, method: str = "GET", version: str = "1.1") -> None:
        self.complaints: list[str] = []
        self.connection = Http1Codec(Limits(), unstamped, self.complaints.append)
        self.connection.receive(render(method, "/a", version=version))
        assert self.connection.next_request() is not None

    def answer(self, status: int, promised: int | None, *parts: bytes | FileRegion) -> bytes:
        fields = () if promised is None else ((b"Content-Length", b"%d" % promised),)
        data = self.connection.respond(response_head(status, b"", fields), parts[0], len(parts) == 1)
        for number, part in enumerate(parts[1:], 2):
            data += self.connection.send(part, number == len(parts))
        return data


@pytest.mark.parametrize(
    ("promised", "parts", "complaint"),
    [
        (5, [b"12345"], None),
        (5, [b"123", b"", b"45", b""], None),
        (None, [b"123", b"45"], None),
        (0, [b""], None),
        (5, [b"123"], "GET /a has 3 bytes, but its Content-Length is 5"),
        (5, [b"12", b"3", b""], "GET /a has 3 bytes, but its Content-Length is 5"),
        (3, [b"12345"], "GET /a has 5 bytes or more, but its Content-Length is 3"),
        (3, [b"12", b"345", b"6", b"7"], "GET /a has 5 bytes or more, but its Content-Length is 3"),
        (3, [b"123", b"", b"4", b""], "GET /a has 4 bytes or more, but its Content-Length is 3"),
        (0, [b"1", b"2"], "GET /a has 1 bytes or more, but its Content-Length is 0"),
        (5, [FileRegion(-1, 0, 3), b""], "GET /a has 3 bytes, but its Content-Length is 5"),
        (3, [FileRegion(-1, 0, 5)], "GET /a has 5 bytes or more, but its Content-Length is 3"),
    ],
)
def test_length_that_is_not_kept_is_told_once(
    promised: int | None, parts: list[bytes | FileRegion], complaint: str | None
) -> None:
    talk = Talk()
    talk.answer(200, promised, *parts)
    assert len(talk.complaints) == (complaint is not None)
    assert complaint is None or complaint in talk.complaints[0]


@pytest.mark.parametrize(("status", "told"), [(204, 1), (304, 1)])
@pytest.mark.parametrize("promised", [None, 5])
def test_content_that_may_not_be_is_told_once(status: int, told: int, promised: int | None) -> None:
    talk = Talk()
    assert talk.answer(status, promised, b"123", b"45").endswith(b"\r\n\r\n")
    assert len(talk.complaints) == told


@pytest.mark.parametrize(("status", "promised"), [(200, 5), (200, 1), (200, None), (204, None), (304, 9)])
def test_nobody_complains_of_a_head_request(status: int, promised: int | None) -> None:
    talk = Talk("HEAD")
    assert talk.answer(status, promised, b"123").endswith(b"\r\n\r\n")
    assert talk.complaints == []


@pytest.mark.parametrize("promised", [None, 4])
@pytest.mark.parametrize("content", ["text", "", 5, None, ["a"], {}])
def test_content_that_is_not_bytes(content: object, promised: int | None) -> None:
    for parts in ([content], [b"1", content]):
        talk = Talk()
        with pytest.raises(TypeError, match="bytes"):
            talk.answer(200, promised, *parts)  # type: ignore[arg-type]
        assert bool(talk.connection.status) is (len(parts) > 1)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_any_kind_of_bytes(kind: type) -> None:
    assert Talk().answer(200, None, kind(b"1"), kind(b"23")).endswith(b"\r\n1\r\n1\r\n2\r\n23\r\n0\r\n\r\n")


# Files in chunks, trailers, interim answers


def test_stretches_of_a_file_are_chunks() -> None:
    """The CRLF that ends a file's chunk is sent with the next part."""
    talk = Talk()
    head = response_head(200, b"OK", ())
    assert talk.connection.respond(head, FileRegion(-1, 0, 5), False).endswith(b"\r\n\r\n5\r\n")
    assert talk.connection.send(FileRegion(-1, 9, 16), False) == b"\r\n10\r\n"
    assert talk.connection.send(FileRegion(-1, 9, 0), False) == b""
    assert talk.connection.send(b"abc", False) == b"\r\n3\r\nabc\r\n"
    assert talk.connection.send(FileRegion(-1, 0, 1), False) == b"1\r\n"
    assert talk.connection.send(b"", True) == b"\r\n0\r\n\r\n"
    assert talk.connection.sent == 25


@pytest.mark.parametrize(
    ("method", "version", "promised", "end"),
    [
        ("GET", "1.1", None, b"0\r\na: b\r\n\r\n"),
        ("GET", "1.1", 3, b""),
        ("GET", "1.0", None, b""),
        ("HEAD", "1.1", None, b""),
    ],
)
def test_trailers_go_where_there_is_room(method: str, version: str, promised: int | None, end: bytes) -> None:
    talk = Talk(method, version)
    fields = () if promised is None else ((b"Content-Length", b"%d" % promised),)
    talk.connection.respond(response_head(200, b"", fields), b"123", False)
    assert talk.connection.finish(((b"a", b"b"),)) == end
    assert talk.connection.answered
    assert talk.complaints == []


@pytest.mark.parametrize(
    "name",
    [
        *(b"Content-Length", b"transfer-encoding", b"Host", b"TE", b"Trailer", b"Connection", b"If-Match"),
        *(b"content-type", b"Set-Cookie", b"authorization", b"Cache-Control", b"WWW-Authenticate"),
    ],
)
def test_no_trailer_is_framing_routing_or_authentication(name: bytes) -> None:
    with pytest.raises(ValueError, match="trailer section"):
        check_trailers(((b"x", b"y"), (name, b"1")))


@pytest.mark.parametrize(("name", "value"), [(b"x", b"a\r\nb: c"), (b"x y", b"a"), (b"", b"a"), (b"x", b"\0")])
def test_no_field_splits_an_interim_answer_or_a_check_trailers(name: bytes, value: bytes) -> None:
    with pytest.raises(ValueError, match=r"control byte|not the name"):
        check_trailers(((name, value),))
    with pytest.raises(ValueError, match=r"control byte|not the name"):
        Talk().connection.inform(103, ((name, value),))


@pytest.mark.parametrize("name", [b"Content-Length", b"transfer-encoding", b"Connection"])
def test_interim_answer_says_nothing_of_framing(name: bytes) -> None:
    """RFC 9110 section 8.6, RFC 9112 section 6.1: a client that believed it would lose the beginning of the final
    answer."""
    assert Talk().connection.inform(103, ((name, b"5"), (b"Link", b"</a>"))) == HINTS


def test_interim_answer() -> None:
    assert Talk().connection.inform(103, ((b"Link", b"</a>"),)) == HINTS
    assert Talk(version="1.0").connection.inform(103, ((b"Link", b"</a>"),)) == b""
