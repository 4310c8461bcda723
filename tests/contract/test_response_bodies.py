"""Response bodies: their framing, their streaming, and their absence where HTTP allows none."""

import json
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from itertools import product

import pytest

from support.client import Connection, Response, Truncated
from support.marks import cases, each_style, engine_decides, wsgi_only
from support.messages import pattern, render
from support.models import carries_concurrently
from support.server import Server
from support.waiting import wait_until

MIB = 1 << 20
SIZES = [0, 1, 1000, 1 << 16, 10 * MIB]


def get_on(connection: Connection, target: str, version: str = "1.1", *fields: str) -> Response:
    connection.send(render("GET", target, *fields, version=version))
    return connection.read_response()


def assert_open(connection: Connection) -> None:
    """The connection carries another request: nothing of the last answer is left on it."""
    assert json.loads(connection.request("GET", "/next").body)["path"] == "/next"


@cases(
    "size,parts",
    everywhere=[(1000, 7), (10 * MIB, 1), (10 * MIB, 7)],
    once=[(0, 1), (0, 7), (1, 1), (1, 7), (1000, 1), (1 << 16, 1), (1 << 16, 7)],
)
def test_with_content_length(server: Server, size: int, parts: int) -> None:
    with server.connect() as connection:
        response = get_on(connection, f"/send?size={size}&parts={parts}&length=auto")
        assert (response.status, response.framing) == (200, "length")
        assert response.body == pattern(size)
        assert_open(connection)


@cases(
    "size,options",
    everywhere=product([1000, 10 * MIB], ["parts=7&empty"]),
    once=[*product([0, 1, 1 << 16], ["parts=7&empty"]), *product(SIZES, ["parts=2", "parts=1000&empty"])],
)
def test_without_content_length(server: Server, size: int, options: str) -> None:
    """Chunked; an empty part must not become the empty chunk that ends the body."""
    with server.connect() as connection:
        response = get_on(connection, f"/send?size={size}&{options}")
        assert response.status == 200
        assert response.body == pattern(size)
        assert response.framing == ("chunked" if size > 1 else response.framing)
        assert_open(connection)


@cases("size", everywhere=[10 * MIB], once=[0, 1, 1000, 1 << 16])
def test_without_content_length_on_http_1_0(server: Server, size: int) -> None:
    """HTTP/1.0 knows no chunks: the body ends with the connection, whatever the client asked for."""
    with server.connect() as connection:
        response = get_on(connection, f"/send?size={size}&parts=3", "1.0", "Connection: keep-alive")
        assert response.status == 200
        assert response.body == pattern(size)
        assert response.framing in ("close", "length")
        if response.framing == "close":
            connection.assert_closed()


@wsgi_only
@cases(
    "size,options",
    everywhere=[(1000, ""), (10 * MIB, "&parts=100&empty")],
    once=[
        (1000, "&parts=100&empty"),
        (10 * MIB, ""),
        *product([0, 1, 1 << 16], ["", "&parts=100&empty"]),
        *product(SIZES, ["&length=auto"]),
    ],
)
def test_write_callable(server: Server, size: int, options: str) -> None:
    with server.connect() as connection:
        assert get_on(connection, f"/write?size={size}{options}").body == pattern(size)
        assert_open(connection)


@each_style
@wsgi_only
def test_write_callable_before_an_iterable(server: Server) -> None:
    assert server.get("/write?size=1000&end").body == pattern(1000) + b"end"


@wsgi_only
@cases(
    "options,end",
    everywhere=[("", b""), ("&single", b"end")],
    once=[("&end", b"end"), ("&length=auto", b""), ("&parts=100&empty", b"")],
)
def test_write_callable_within_the_iterable(server: Server, options: str, end: bytes) -> None:
    """An iterable that gives nothing, or one part, after it has written, does not begin a second answer."""
    with server.connect() as connection:
        assert get_on(connection, f"/write-within?size=1000{options}").body == pattern(1000) + end
        assert_open(connection)


def test_parts_are_sent_when_they_are_made(server: Server, token: str) -> None:
    """PEP 3333 and ASGI alike: a part must not wait for the next one."""
    with server.connect() as connection:
        connection.send(render("GET", f"/gate?first&gate={token}"))
        assert connection.read_head().status == 200
        assert connection.read_chunk() == b"first"
        server.journal.open_gate(token)
        assert connection.read_chunk() == b"rest"
        assert connection.read_chunk() == b""
        assert_open(connection)


def test_slow_reader(server: Server, model: str) -> None:
    """More than the socket takes at once: others are served in between, and nothing is lost."""
    with Connection(server.address, receive_buffer=4096) as connection:
        connection.send(render("GET", f"/send?size={10 * MIB}&parts=10&length=auto"))
        assert connection.read_head().status == 200
        if carries_concurrently(model):
            assert server.get("/other").status == 200
        assert b"".join(slowly(connection, 10 * MIB)) == pattern(10 * MIB)
        assert_open(connection)


def slowly(connection: Connection, size: int) -> Iterator[bytes]:
    """Read `size` bytes, at first a few at a time, so that the sender finds the socket full again and again."""
    read = 0
    while read < size:
        step = min(1000 if read < 100_000 else 1 << 16, size - read)
        data = connection.read_some(step)
        read += len(data)
        yield data


def test_back_pressure(server: Server, token: str, model: str, interface: str) -> None:
    """A client that does not read must not fill the server's memory, nor its disk."""
    with server.connect(receive_buffer=4096) as connection:
        connection.send(render("GET", f"/endless?token={token}"))
        assert connection.read_head().status == 200
        if carries_concurrently(model):
            assert server.get("/other").status == 200
    wait_until(lambda: server.journal.starting(f"parts of {token}: "), "the application hears that its client left")
    (parts,) = server.journal.starting(f"parts of {token}: ")
    # A WSGI application may run ahead of its client there, by 32 MiB in a temporary file (models/_run_ahead.py).
    bound = 800 if interface == "wsgi" and model in ("poll", "epoll", "io_uring") else 400
    assert int(parts) < bound, "so many parts of 64 KiB were taken for a client that had read one head"


@each_style
@pytest.mark.parametrize(
    "target", ["/send?size=1000&length=auto", "/send?size=1000&parts=7", "/fields", "/files/plain.txt", "/files/none"]
)
def test_head_is_get_without_the_body(server: Server, target: str) -> None:
    with server.connect() as connection:
        head = connection.request("HEAD", target)
        get = connection.request("GET", target)
        assert (head.status, head.body) == (get.status, b"")
        assert head.get("content-type") == get.get("content-type")
        assert head.get("content-length") in (get.get("content-length"), None)
        if get.framing == "length" and "auto" in target:
            assert head.get("content-length") == get.get("content-length")
        assert_open(connection)


@engine_decides
@pytest.mark.parametrize("code", [204, 304])
@pytest.mark.parametrize("body", ["", "&body=forbidden"])
def test_statuses_without_a_body(server: Server, code: int, body: str) -> None:
    """RFC 9110, sections 15.3.5 and 15.4.5; the client refuses a 204 with a length, and bytes after the header."""
    with server.connect() as connection:
        response = get_on(connection, f"/status?code={code}{body}")
        assert response.status == code
        assert response.get("transfer-encoding") is None
        assert_open(connection)


@engine_decides
@pytest.mark.parametrize("code", [200, 201, 303, 404, 418, 503, 599])
def test_status(server: Server, code: int) -> None:
    response = server.get(f"/status?code={code}&body=text")
    assert (response.status, response.body) == (code, b"text")


@engine_decides
def test_response_fields(server: Server) -> None:
    """In order, repeated, in Latin-1; the application's own Date and Server are not given a second."""
    response = server.get("/fields")
    assert response.all("set-cookie") == ["a=1; Path=/", "b=2; Path=/"]
    assert response.get("x-latin") == "caf\xe9"
    assert response.get("x-empty") == ""
    assert response.get("date") == "Sun, 06 Nov 1994 08:49:37 GMT"
    assert response.get("server") == "the application's own"


@engine_decides
@pytest.mark.parametrize("target", ["/", "/files/plain.txt", "/files/none", "/fail?when=before start&token="])
def test_fields_of_the_server(server: Server, target: str) -> None:
    """RFC 9110, section 6.6.1: an origin server with a clock must send Date."""
    response = server.get(target.replace(" ", "%20"))
    assert response.get("server") == "septet"
    date = response.get("date")
    assert date is not None
    assert parsedate_to_datetime(date).tzinfo is not None
    assert date.endswith(" GMT")


@each_style
def test_longer_than_its_content_length(server: Server) -> None:
    """What exceeds it would be taken for the next answer: left out, or the error is told by 500 or a cut connection."""
    with server.connect() as connection:
        connection.send(render("GET", "/send?size=1000&length=10", "Connection: close"))
        try:
            response = connection.read_response()
        except Truncated as end:
            sent = end.received
        else:
            sent = response.body if response.status == 200 else b""
            assert response.status in (200, 500)
        assert pattern(10).startswith(sent)
        connection.assert_closed()


def test_shorter_than_its_content_length(server: Server) -> None:
    """The client must be able to tell: the connection ends."""
    with server.connect() as connection:
        connection.send(render("GET", "/send?size=10&parts=2&length=1000"))
        with pytest.raises(Truncated) as end:
            connection.read_response()
        assert end.value.received == pattern(10)
