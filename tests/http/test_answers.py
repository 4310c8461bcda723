"""What an answer looks like on the wire, judged by parsers that are not ours: h11, and http.client for HTTP/1.0."""

import io
from http.client import HTTPResponse
from typing import Any, NamedTuple

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.exchange import FileRegion
from septet.http.codec import Http1Codec
from septet.http.head import response_head
from septet.http.incoming import Limits
from support.feeding import unstamped


class Answer(NamedTuple):
    status: int
    fields: list[tuple[bytes, bytes]]
    body: bytes
    persists: bool


def connection_for(method: str, version: str) -> Http1Codec:
    connection = Http1Codec(Limits(), unstamped)
    connection.receive(f"{method} / HTTP/{version}\r\nHost: a\r\nConnection: keep-alive\r\n\r\n".encode())
    assert connection.next_request() is not None
    return connection


def answer(connection: Http1Codec, status: int, fields: list[tuple[bytes, bytes]], parts: list[bytes]) -> bytes:
    """All bytes of an answer with these parts."""
    head = response_head(status, b"Reason", tuple(fields))
    data = connection.respond(head, parts[0], len(parts) == 1)
    for number, part in enumerate(parts[1:], 2):
        data += connection.send(part, number == len(parts))
    return data


def parse_1_1(method: str, data: bytes) -> Answer:
    """The answer as h11 parses it."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    response: Any = None
    body = b""
    while client.their_state is not h11.DONE and client.their_state is not h11.MUST_CLOSE:
        event = client.next_event()
        if event is h11.NEED_DATA:
            client.receive_data(b"")
        elif isinstance(event, h11.Response):
            response = event
        elif isinstance(event, h11.Data):
            body += event.data
    assert client.trailing_data == (b"", client.their_state is not h11.DONE and client.trailing_data[1])
    return Answer(response.status_code, list(response.headers), body, client.their_state is h11.DONE)


class _Wire:
    """The part of a socket that http.client needs."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def makefile(self, mode: str) -> io.BytesIO:
        return self._file


def parse_1_0(method: str, data: bytes) -> Answer:
    """The answer as http.client parses it, up to the end of the connection."""
    wire: Any = _Wire(data)
    response = HTTPResponse(wire, method=method)
    response.begin()
    closes = response.getheader("Connection", "").lower() == "close"
    fields = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.getheaders()]
    return Answer(response.status, fields, response.read(), not closes)


def parse(method: str, version: str, data: bytes) -> Answer:
    return parse_1_1(method, data) if version == "1.1" else parse_1_0(method, data)


def own(fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The fields without those of framing."""
    framing = (b"content-length", b"transfer-encoding", b"connection")
    return [(name.lower(), value.strip()) for name, value in fields if name.lower() not in framing]


HOP = (b"keep-alive", b"proxy-connection", b"upgrade")
NAMES = st.from_regex(rb"[A-Za-z][A-Za-z0-9\-]{0,15}", fullmatch=True).filter(
    lambda name: own([(name, b"")]) and name.lower() not in HOP
)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20).map(lambda text: text.encode())


@given(
    method=st.sampled_from(["GET", "HEAD", "POST"]),
    version=st.sampled_from(["1.0", "1.1"]),
    status=st.sampled_from([200, 201, 204, 206, 301, 304, 404, 500, 599]),
    fields=st.lists(st.tuples(NAMES, VALUES), max_size=5),
    parts=st.lists(st.binary(max_size=50), min_size=1, max_size=4),
    promised=st.booleans(),
)
def test_any_answer_parses_back(
    method: str, version: str, status: int, fields: list[tuple[bytes, bytes]], parts: list[bytes], promised: bool
) -> None:
    """Status, fields, content and persistence are the same at the other end, in every framing."""
    connection = connection_for(method, version)
    content = b"".join(parts)
    length = [(b"Content-Length", b"%d" % len(content))] if promised else []
    got = parse(method, version, answer(connection, status, fields + length, parts))
    contentless = method == "HEAD" or status in (204, 304)
    assert got.status == status
    assert own(got.fields) == own(fields)
    assert got.body == (b"" if contentless else content)
    assert got.persists is connection.keep_alive
    assert connection.sent == len(got.body)


def fields_of(
    method: str, version: str, status: int, fields: list[tuple[bytes, bytes]], parts: list[bytes]
) -> dict[bytes, bytes]:
    connection = connection_for(method, version)
    return dict(parse(method, version, answer(connection, status, fields, parts)).fields)


@pytest.mark.parametrize(
    ("method", "version", "status", "parts", "framing"),
    [
        ("GET", "1.1", 200, [b"abc"], {b"content-length": b"3"}),
        ("GET", "1.1", 200, [b""], {b"content-length": b"0"}),
        ("GET", "1.1", 200, [b"abc", b""], {b"transfer-encoding": b"chunked"}),
        ("GET", "1.1", 200, [b"", b"abc"], {b"transfer-encoding": b"chunked"}),
        ("HEAD", "1.1", 200, [b"abc"], {b"content-length": b"3"}),
        ("HEAD", "1.1", 200, [b""], {}),
        ("HEAD", "1.1", 200, [b"abc", b"def"], {}),
        ("GET", "1.1", 204, [b""], {}),
        ("GET", "1.1", 204, [b"abc", b"def"], {}),
        ("GET", "1.1", 304, [b""], {}),
        ("GET", "1.0", 200, [b"abc"], {b"content-length": b"3", b"connection": b"keep-alive"}),
        ("GET", "1.0", 200, [b"abc", b"def"], {b"connection": b"close"}),
        ("HEAD", "1.0", 200, [b""], {b"connection": b"keep-alive"}),
    ],
)
def test_framing(method: str, version: str, status: int, parts: list[bytes], framing: dict[bytes, bytes]) -> None:
    """One part has a length, several are chunked, and HTTP/1.0 ends with the connection (RFC 9112 section 6.3)."""
    assert fields_of(method, version, status, [], parts) == framing


@pytest.mark.parametrize("status", [204, 304])
def test_length_beside_no_content(status: int) -> None:
    """RFC 9110 section 8.6: never with 204; with 304 it is the length of the content that a 200 would have."""
    got = fields_of("GET", "1.1", status, [(b"Content-Length", b"5")], [b""])
    assert got == ({} if status == 204 else {b"content-length": b"5"})


@pytest.mark.parametrize("name", [b"Connection", b"Keep-Alive", b"Proxy-Connection", b"Transfer-Encoding"])
def test_fields_of_the_connection_are_not_the_applications(name: bytes) -> None:
    assert fields_of("GET", "1.1", 200, [(name, b"x")], [b"abc"]) == {b"content-length": b"3"}


@pytest.mark.parametrize("fields", [[b"close"], [b"Close"], [b"x, close"], [b"keep-alive", b"close"]])
def test_application_may_close(fields: list[bytes]) -> None:
    connection = connection_for("GET", "1.1")
    got = parse_1_1("GET", answer(connection, 200, [(b"Connection", value) for value in fields], [b"abc"]))
    assert not got.persists
    assert not connection.keep_alive


@pytest.mark.parametrize("parts", [[b"abcdef"], [b"abc", b"def"], [b"a", b"b", b"c", b"def"], [b"abc", b"", b"d"]])
def test_content_beyond_its_promise_is_left_out(parts: list[bytes]) -> None:
    connection = connection_for("GET", "1.1")
    got = parse_1_1("GET", answer(connection, 200, [(b"Content-Length", b"3")], parts))
    assert (got.body, got.persists) == (b"abc", True)


@pytest.mark.parametrize("parts", [[b"ab"], [b"a", b"b"], [b""]])
def test_content_short_of_its_promise_closes(parts: list[bytes]) -> None:
    """The client must notice that the answer is incomplete, and must not take the next answer for its rest."""
    connection = connection_for("GET", "1.1")
    data = answer(connection, 200, [(b"Content-Length", b"3")], parts)
    assert data.endswith(b"\r\n\r\n" + b"".join(parts))
    assert not connection.keep_alive


def test_promise_of_a_head_answer_is_not_a_shortfall() -> None:
    connection = connection_for("HEAD", "1.1")
    got = parse_1_1("HEAD", answer(connection, 200, [(b"Content-Length", b"3")], [b""]))
    assert (dict(got.fields), got.persists, connection.keep_alive) == ({b"content-length": b"3"}, True, True)


@pytest.mark.parametrize(("method", "promised", "count"), [("GET", 5, 5), ("GET", 3, 3), ("HEAD", 5, 0)])
def test_file_is_cut_to_what_may_be_sent(method: str, promised: int, count: int) -> None:
    connection = connection_for(method, "1.1")
    region = FileRegion(descriptor=-1, offset=0, count=5)
    head = response_head(200, b"OK", ((b"Content-Length", b"%d" % promised),))
    assert connection.respond(head, region, True).endswith(b"\r\n\r\n")
    assert (region.count, connection.sent) == (count, count)


def test_file_needs_a_length() -> None:
    with pytest.raises(ValueError, match="Content-Length"):
        connection_for("GET", "1.1").respond(response_head(200, b"OK", ()), FileRegion(-1, 0, 5), True)


@pytest.mark.parametrize(
    ("given", "asked"),
    [((), (True, True)), ((b"Date",), (False, True)), ((b"date", b"SERVER"), (False, False))],
)
def test_stamp_is_asked_for_what_the_application_left_out(given: tuple[bytes, ...], asked: tuple[bool, bool]) -> None:
    calls = []

    def date_and_server(date: bool, server: bool) -> bytes:
        calls.append((date, server))
        return b"X: y\r\n"

    connection = Http1Codec(Limits(), date_and_server)
    connection.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    connection.next_request()
    data = connection.respond(response_head(200, b"OK", tuple((name, b"z") for name in given)), b"", True)
    assert calls == [asked]
    assert b"\r\nX: y\r\n" in data
