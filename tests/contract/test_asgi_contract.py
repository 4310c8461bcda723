"""What ASGI 3 (HTTP, specification 2.3 and later) promises an application, beyond what it shares with WSGI."""

import json
import socket

import pytest

from support.client import connections
from support.marks import asgi_only, each_style, engine_decides
from support.messages import render
from support.server import Server, serve
from support.waiting import wait_until

pytestmark = asgi_only


@engine_decides
def test_scope(server: Server) -> None:
    info = json.loads(server.get("/info?a=b", "X-Field: value").body)
    assert info["type"] == "http"
    assert info["asgi"]["version"] == "3.0"
    assert float(info["asgi"]["spec_version"]) >= 2.3
    assert info["raw_path"] == "/info"
    assert info["root_path"] == ""
    assert info["state"]["started"] == "yes"
    assert set(info["kinds"]) == {"bytesbytes"}


@engine_decides
def test_raw_path_is_as_the_client_sent_it(server: Server) -> None:
    assert json.loads(server.get("/%69nfo").body)["raw_path"] == "/%69nfo"


@each_style
def test_factory(model: str, interface: str) -> None:
    with serve(model, interface, "--factory", "--interface", "asgi", app="support.apps_asgi:factory") as server:
        assert server.get("/").status == 200


@each_style
@pytest.mark.parametrize("size", [0, 1, 1_000_000])
def test_answer_in_one_message(server: Server, size: int) -> None:
    with server.connect() as connection:
        response = connection.request("GET", f"/send-whole?size={size}")
        assert response.status == 200
        assert len(response.body) == size
        assert connection.request("GET", "/").status == 200


def test_receive_after_the_answer_gives_disconnect(server: Server, token: str) -> None:
    """At once, although the connection stays open."""
    with server.connect() as connection:
        assert connection.request("POST", f"/after-answer?token={token}", body=b"body").status == 200
        server.journal.wait_for(f"after answer {token}: http.disconnect")
        assert connection.request("GET", "/").status == 200


@pytest.mark.parametrize("how", ["FIN", "RST"])
def test_receive_gives_disconnect_when_the_client_leaves(server: Server, how: str, token: str) -> None:
    """An application that waits for nothing else learns it without having sent anything."""
    with server.connect() as connection:
        connection.send(render("POST", f"/client-leaves?token={token}", body=b"body"))
        server.journal.wait_for(f"body read {token}")
        if how == "RST":
            connection.reset()
    server.journal.wait_for(f"client left {token}: http.disconnect")
    assert server.get("/").status == 200


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("gather", [1, 2]),
        ("thread", True),
        ("own_server", "HELLO\n"),
        ("names", "127.0.0.1"),
        ("timeout", "timed out"),
        ("call_later", ["first", "second"]),
        ("context", ["unset", "set"]),
        ("cancel", "CancelledError"),
    ],
)
def test_event_loop(server: Server, name: str, result: object) -> None:
    with server.connect() as connection:
        for _ in range(3):
            response = connection.request("GET", f"/tasks?name={name}")
            assert response.status == 200
            assert json.loads(response.body) == result


def test_requests_that_come_together_have_a_context_each(server: Server) -> None:
    """Also where the next request's turn comes in the midst of the last one's task."""
    with server.connect() as connection:
        for name, result in (("context", ["unset", "set"]), ("gather", [1, 2])):
            connection.send(render("GET", f"/tasks?name={name}") * 20)
            assert [json.loads(connection.read_response().body) for _ in range(20)] == [result] * 20


def test_connection_to_another_server(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with server.connect() as connection:
            connection.send(render("GET", f"/tasks?name=connection&port={listener.getsockname()[1]}"))
            peer, _ = listener.accept()
            with peer:
                assert peer.recv(1000).startswith(b"GET / ")
                peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            assert json.loads(connection.read_response().body) == "HTTP/1.1 200 OK"


@pytest.mark.parametrize("model", ["forking", "threaded", "poll", "epoll", "io_uring"])
def test_requests_wait_together(server: Server, token: str) -> None:
    """Twenty at once, in the models whose number of workers does not bound them."""
    with connections(server.address, 20) as clients:
        for client in clients:
            client.send(render("GET", f"/gate?gate={token}"))
        wait_until(lambda: server.journal.count(f"at gate {token}") == 20, "all have arrived at the gate")
        server.journal.open_gate(token)
        for client in clients:
            assert client.read_response().body == b"rest"
