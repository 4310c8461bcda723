"""Behind a proxy: whose word about the client is believed, in which form, and for which request.

`server` trusts the loopback address, as all servers do by default. `proxied` trusts only 127.0.0.2 and some addresses
that nobody has here, and wants a header of the PROXY protocol from there; 127.0.0.1 is a stranger to it.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support.client import Connection
from support.marks import each_style, engine_decides, with_one_interface
from support.messages import byte_by_byte, render
from support.proxy_headers import LOCAL, OVER_TLS, UNIX, binary, line, tcp
from support.server import Server, serve
from support.waiting import wait_until

OPTIONS = ("--forwarded-allow-ips", "127.0.0.2,203.0.113.0/24", "--proxy-protocol", "--access-log", "access.log")

FORWARDED = ("X-Forwarded-For: 10.0.0.1, 198.51.100.7", "X-Forwarded-Proto: https", "X-Forwarded-Host: shop.example")
RFC7239 = 'Forwarded: for=10.0.0.1;host=forged, for="198.51.100.7:4711";proto=https;host=shop.example'
HEADER = line("198.51.100.7", "198.51.100.8")


@pytest.fixture(scope="module")
def proxied_servers() -> Iterator[dict[tuple[str, str], Server]]:
    servers: dict[tuple[str, str], Server] = {}
    yield servers
    for server in servers.values():
        server.__exit__(None, None, None)


@pytest.fixture
def proxied(proxied_servers: dict[tuple[str, str], Server], model: str, interface: str) -> Iterator[Server]:
    server = proxied_servers.get((model, interface))
    if server is None:
        server = proxied_servers[model, interface] = serve(model, interface, *OPTIONS).__enter__()
    position = len(server.stderr())
    yield server
    assert server.running
    assert not server.complaints(position), server.stderr()[position:]


def from_proxy(server: Server) -> Connection:
    return Connection(server.address, source="127.0.0.2")


def read(connection: Connection) -> dict[str, Any]:
    response = connection.read_response()
    assert response.status == 200, response.body
    seen: dict[str, Any] = json.loads(response.body)
    return seen


def ask(connection: Connection, *fields: str) -> dict[str, Any]:
    connection.send(render("GET", "/", *fields))
    return read(connection)


@engine_decides
def test_client_scheme_and_host_of_a_trusted_proxy(server: Server) -> None:
    with server.connect() as connection:
        for fields, port in ((FORWARDED, 0), ((RFC7239,), 4711)):
            seen = ask(connection, *fields)
            assert (seen["client"], seen["scheme"]) == (["198.51.100.7", port], "https")
            assert seen["fields"]["host"] == "shop.example"


@engine_decides
def test_nothing_passes_from_one_request_to_the_next(server: Server) -> None:
    """One after the other, and at once; by heads that the server has seen before and by new ones."""
    requests = [
        render("GET", "/", "X-Forwarded-For: 198.51.100.7", "X-Forwarded-Proto: https", "X-Forwarded-Host: a"),
        render("GET", "/"),
        render("GET", "/", "X-Forwarded-For: 198.51.100.8"),
        render("GET", "/"),
    ] * 2
    with server.connect() as connection:
        own = list(connection.socket.getsockname())
        expected = [
            (["198.51.100.7", 0], "https", "a"),
            (own, "http", "example.test"),
            (["198.51.100.8", 0], "http", "example.test"),
            (own, "http", "example.test"),
        ] * 2
        apart = []
        for request in requests:
            connection.send(request)
            apart.append(read(connection))
        connection.send(b"".join(requests))
        at_once = [read(connection) for _ in requests]
    for found in (apart, at_once):
        assert [(seen["client"], seen["scheme"], seen["fields"]["host"]) for seen in found] == expected


ENDLESS = "X-Forwarded-For: " + ", ".join(["127.0.0.1"] * 4000)


@engine_decides
@pytest.mark.parametrize(
    "field",
    ["X-Forwarded-Proto: gopher", "X-Forwarded-For: nobody", 'Forwarded: for="', ENDLESS],
    ids=["scheme", "address", "grammar", "length"],
)
def test_nonsense_of_a_trusted_proxy_is_refused(server: Server, field: str) -> None:
    with server.connect() as connection:
        connection.send(render("GET", "/", field) + render("GET", "/"))
        assert connection.read_response().status == 400
        connection.assert_closed()


@engine_decides
def test_strangers_are_not_believed(proxied: Server) -> None:
    with proxied.connect() as connection:
        seen = ask(connection, *FORWARDED, RFC7239, "X-Real-IP: 10.0.0.1", "X_Forwarded_For: 10.0.0.1", "A: b")
        assert seen["client"] == list(connection.socket.getsockname())
        assert seen["scheme"] == "http"
        assert seen["fields"] == {"host": "example.test", "a": "b"}


@each_style
def test_proxy_header_of_a_stranger_is_refused(proxied: Server) -> None:
    for header in (HEADER, tcp("198.51.100.7", "198.51.100.8")):
        with proxied.connect() as connection:
            connection.send_if_possible(header + render("GET", "/"))
            assert connection.read_response().status == 400
            connection.assert_closed()


@engine_decides
def test_proxy_header_is_required_of_a_proxy(proxied: Server) -> None:
    with from_proxy(proxied) as connection:
        connection.send_if_possible(render("GET", "/"))
        response = connection.read_response()
        assert response.status == 400
        assert b"PROXY protocol" in response.body
        connection.assert_closed()


@each_style
@pytest.mark.parametrize(
    ("header", "scheme"),
    [(HEADER, "http"), (tcp("198.51.100.7", "198.51.100.8", OVER_TLS), "https")],
    ids=["v1", "v2"],
)
def test_proxy_header_names_the_client(proxied: Server, header: bytes, scheme: str) -> None:
    """With the first request in one piece, byte by byte, and alone; for all requests of the connection."""
    get = render("GET", "/")
    for pieces in ([header + get], byte_by_byte(header + get), [header, get]):
        with from_proxy(proxied) as connection:
            connection.send_pieces(pieces)
            for seen in (read(connection), ask(connection), ask(connection, *FORWARDED)):
                assert (seen["client"], seen["scheme"]) == (["198.51.100.7", 4711], scheme)
                assert seen["server"] == ["198.51.100.8", 443]


@engine_decides
def test_fields_count_if_the_client_that_the_header_names_is_a_proxy_too(proxied: Server) -> None:
    with from_proxy(proxied) as connection:
        connection.send(line("203.0.113.9", "198.51.100.8"))
        assert ask(connection, *FORWARDED)["client"] == ["198.51.100.7", 0]
        assert ask(connection)["client"] == ["203.0.113.9", 4711]


@engine_decides
def test_proxy_that_asks_for_itself(proxied: Server) -> None:
    with from_proxy(proxied) as connection:
        connection.send(binary(command=LOCAL))
        assert ask(connection)["client"] == list(connection.socket.getsockname())


@engine_decides
@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", binary(bytes(216), family=UNIX)], ids=["v1", "AF_UNIX"])
def test_client_whom_the_proxy_does_not_name_is_not_believed(proxied: Server, header: bytes) -> None:
    with from_proxy(proxied) as connection:
        connection.send(header)
        for _ in range(2):
            seen = ask(connection, *FORWARDED, RFC7239, "A: b")
            assert (seen["scheme"], seen["fields"]) == ("http", {"host": "example.test", "a": "b"})


@each_style
def test_access_log_has_the_client(proxied: Server, token: str) -> None:
    with from_proxy(proxied) as connection:
        connection.send(HEADER)
        connection.request("GET", f"/{token}/1")
    with from_proxy(proxied) as connection:
        connection.send(line("203.0.113.9", "198.51.100.8"))
        connection.request("GET", f"/{token}/2", "X-Forwarded-For: 2001:db8::9")
        connection.request("GET", f"/{token}/3")

    def logged() -> list[str]:
        lines = (proxied.directory / "access.log").read_text().splitlines()
        return [line.split()[0] for line in lines if token in line]

    wait_until(lambda: len(logged()) == 3, "three lines in the access log")
    # Two connections may be two threads' or processes', each of which writes its lines when it gets to it.
    assert sorted(logged()) == ["198.51.100.7", "2001:db8::9", "203.0.113.9"]


@with_one_interface()
def test_unix_socket_is_trusted_by_default(model: str, interface: str, tmp_path: Any) -> None:
    with serve(model, interface, bind=(f"unix:{tmp_path}/s",)) as server, server.connect() as connection:
        assert ask(connection, *FORWARDED)["client"] == ["198.51.100.7", 0]
        assert ask(connection)["client"] == ["", 0]


@pytest.mark.parametrize(("model", "sent"), [("epoll", b""), ("epoll", HEADER[:10]), ("prethreaded", HEADER[:10])])
def test_proxy_header_that_does_not_come_ends_the_connection(model: str, sent: bytes) -> None:
    with serve(model, "wsgi", "--proxy-protocol", "--header-timeout", "0.3") as server, server.connect() as connection:
        connection.send(sent)
        connection.assert_closed()


@pytest.mark.parametrize(("policy", "status"), [("allow", 200), ("refuse", 400)])
@pytest.mark.parametrize("model", ["epoll"])
def test_underscores(model: str, policy: str, status: int) -> None:
    with serve(model, "asgi", "--underscore-headers", policy) as server:
        response = server.get("/", "X_A: b", "A: b")
        assert response.status == status
        if status == 200:
            assert json.loads(response.body)["fields"]["x_a"] == "b"
