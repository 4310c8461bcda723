"""WebSockets over HTTP/2 (RFC 8441): conversations, ends, back-pressure and stops, beside other streams."""

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from support.http2 import Client, Connection, get
from support.messages import pattern
from support.server import Server, serve
from support.websocket import CLOSE, PING, PONG, TEXT, StreamSocket, frame

APP = "support.app_websocket:app"


@pytest.fixture(scope="module")
def ws_servers() -> Iterator[dict[str, Server]]:
    with ExitStack() as stack:

        class Starting(dict[str, Server]):
            def __missing__(self, model: str) -> Server:
                self[model] = stack.enter_context(serve(model, "asgi", "--http2-cleartext", app=APP))
                return self[model]

        yield Starting()


@pytest.fixture
def server(ws_servers: dict[str, Server], model: str) -> Iterator[Server]:
    shared = ws_servers[model]
    position = len(shared.stderr())
    yield shared
    assert shared.running
    assert not shared.complaints(position), shared.stderr()[position:]


def test_conversation(server: Server, token: str) -> None:
    with Connection(server.address) as connection:
        socket = StreamSocket(connection, f"/echo?token={token}")
        assert socket.answer.status == 200
        assert b"sec-websocket-accept" not in socket.answer.fields
        for message in (b"hello", pattern(300_000).hex().encode()):
            socket.send(frame(TEXT, message))
            assert socket.read() == (TEXT, message)
        socket.send(frame(PING, b"?"))
        assert socket.read() == (PONG, b"?")
        socket.send(frame(CLOSE, b"\x03\xe8bye"))
        assert socket.read() == (CLOSE, b"\x03\xe8bye")
        server.journal.wait_for(f"{token} 1000 bye")
        assert connection.answer(socket.stream).ended
        assert connection.request("/").status == 200  # the connection goes on


def test_what_the_application_is_told(server: Server, token: str) -> None:
    with Connection(server.address) as connection:
        socket = StreamSocket(connection, f"/describe?token={token}", (b"sec-websocket-protocol", b"a, b"))
        assert socket.answer.fields[b"sec-websocket-protocol"] == b"b"
        assert socket.answer.fields[b"x-application"] == b"yes"
        _, scope = socket.read()
        told = json.loads(scope)
        assert (told["type"], told["http_version"], told["scheme"]) == ("websocket", "2", "ws")
        assert socket.read() == (CLOSE, (3333).to_bytes(2) + b"that is all")
        socket.send(frame(CLOSE, (3333).to_bytes(2)))
        server.journal.wait_for(f"{token} websocket.disconnect 3333")


def test_refusal(server: Server, token: str) -> None:
    with Connection(server.address) as connection:
        assert StreamSocket(connection, f"/deny?token={token}").answer.status == 403
        other = StreamSocket(connection, f"/deny?token={token}&status=418")
        assert connection.answer(other.stream).body == b"in two parts"
        assert other.answer.status == 418
        bad = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *get("/echo")[1:]]
        assert connection.answer(connection.ask(bad, end=False)).status == 400


def test_cancelled_stream_is_an_abnormal_end(server: Server, token: str) -> None:
    with Connection(server.address) as connection:
        socket = StreamSocket(connection, f"/echo?token={token}")
        connection.client.h2.reset_stream(socket.stream, 8)
        connection.flush()
        server.journal.wait_for(f"{token} 1006 ")
        assert connection.request("/").status == 200


def test_back_pressure(server: Server, token: str) -> None:
    """The application sends no further than the window."""
    with Connection(server.address, client=Client(reads=False)) as connection:
        socket = StreamSocket(connection, f"/flood?token={token}&count=20")
        connection.until(lambda: len(socket.answer.body) == 65535)
        connection.client.h2.increment_flow_control_window(3_000_000)
        connection.client.h2.increment_flow_control_window(3_000_000, socket.stream)
        connection.flush()
        for number in range(20):
            assert socket.read()[1] == number.to_bytes(4) * 25_000


def test_stop(model: str, token: str) -> None:
    with serve(model, "asgi", "--http2-cleartext", app=APP) as server:
        with Connection(server.address) as connection:
            socket = StreamSocket(connection, f"/echo?token={token}")
            server.send_signal(signal.SIGTERM)
            opcode, payload = socket.read()
            assert (opcode, payload[:2]) == (CLOSE, (1012).to_bytes(2))
            server.journal.wait_for(f"{token} 1012 the server stops")
            socket.send(frame(CLOSE, payload))
            connection.read_to_end()
        assert server.wait() == 0


@pytest.mark.parametrize("model", ["epoll", "threaded"])
@pytest.mark.parametrize("window", [0, 65535])
def test_stop_does_not_wait_for_a_client_that_takes_nothing(model: str, window: int, token: str) -> None:
    """Neither the close frame, because its window is 0, nor the rest of the messages."""
    with serve(model, "asgi", "--http2-cleartext", app=APP) as server:
        with Connection(server.address, client=Client(window, reads=False)) as connection:
            path = f"/flood?token={token}&count=20" if window else f"/echo?token={token}"
            socket = StreamSocket(connection, path)
            connection.until(lambda: len(socket.answer.body) == window)
            server.send_signal(signal.SIGTERM)
            assert server.wait(timeout_s=8) == 0  # far from the 30 s of --write-timeout


@pytest.mark.parametrize("model", ["epoll", "io_uring"])
def test_beside_other_streams(server: Server, model: str) -> None:
    """On a loop a WebSocket shares its connection."""
    with Connection(server.address) as connection:
        sockets = [StreamSocket(connection, "/echo?token=x") for _ in range(3)]
        assert connection.request("/send?size=100000&parts=3").body == pattern(100_000)
        for number, socket in enumerate(sockets):
            socket.send(frame(TEXT, b"%d" % number))
        assert [socket.read() for socket in sockets] == [(TEXT, b"0"), (TEXT, b"1"), (TEXT, b"2")]
        for socket in sockets:
            socket.send(frame(CLOSE, b"\x03\xe8"))


@pytest.mark.parametrize("model", ["epoll", "threaded"])
def test_silent_client(model: str, token: str) -> None:
    options = ("--ws-ping-interval", "0.3", "--ws-ping-timeout", "0.3")
    with serve(model, "asgi", "--http2-cleartext", *options, app=APP) as server:
        with Connection(server.address) as connection:
            socket = StreamSocket(connection, f"/echo?token={token}")
            assert socket.read() == (PING, b"")
            assert socket.read()[0] == CLOSE
            server.journal.wait_for(f"{token} 1011 no answer to a ping")
