"""The generator over WebSocket: messages of all sizes, open and closed loop, pings, refusals."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.sync.server import Server as WebSocketServer
from websockets.sync.server import ServerConnection
from websockets.sync.server import serve as serve_websocket

from septet.lab.load import LoadError, Plan, run
from septet.lab.load.websocket import MessageAnswer, frame, read_header
from support.scripted_server import Connection, ScriptedServer
from support.server import Server, serve
from support.tls import Authority, TlsServer

APP = "support.app_websocket:app"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve("epoll", "asgi", app=APP) as server:
        yield server


def load(server: Server, target: str = "/echo", scheme: str = "ws", **changes: Any) -> Any:
    assert isinstance(server.address, tuple)
    url = f"{scheme}://localhost:{server.address[1]}{target}"
    for duration_s in (0.3, 1.0, 3.0):  # on a very busy machine nothing may come in a short window
        plan = {"users": 3, "duration_s": duration_s, "warmup_s": 0.0}
        figures = run(Plan(url=url, **{**plan, **changes}))
        if figures["answers"] > 3 or figures["errors"]:
            break
    return figures


@pytest.mark.parametrize("size", [1, 125, 126, 65_535, 65_536, 300_000])
@pytest.mark.parametrize("binary", [False, True])
def test_messages_of_all_sizes(server: Server, size: int, binary: bool) -> None:
    figures = load(server, message_size=size, binary=binary)
    assert figures["errors"] == {}
    assert figures["statuses"].keys() == {"101"}
    assert figures["answers"] > 3
    assert figures["body_bytes"] == figures["answers"] * size
    assert figures["reconnects"] == 0


def test_open_loop(server: Server) -> None:
    figures = load(server, rate=100.0, duration_s=0.5, body="user {user}")
    assert figures["errors"] == {}
    assert figures["answers"] >= 45


def test_over_tls(tmp_path: Any) -> None:
    authority = Authority(tmp_path / "authority")
    with TlsServer(authority, APP, "--model", "epoll") as server:
        figures = load(server, scheme="wss", ca=authority.pem.read_text(), message_size=50_000)
    assert figures["errors"] == {}
    assert figures["answers"] > 3


def test_refusal(server: Server) -> None:
    with pytest.raises(LoadError, match=r"ws://localhost:\d+/deny answers 403 to a request for a WebSocket"):
        load(server, "/deny")


def refusing(*pieces: bytes, then_waits: bool = False) -> Callable[[Connection], None]:
    """A script that answers a handshake with these pieces, and closes, or waits until the client does."""

    def script(connection: Connection) -> None:
        connection.request()
        for piece in pieces:
            connection.send(piece)
            time.sleep(0.02)
        if then_waits:
            connection.request()

    return script


HEAD_OF_500 = b"HTTP/1.1 500 Error\r\nContent-Type: text/plain\r\nContent-Length: 15\r\n\r\n"


@pytest.mark.parametrize(
    ("pieces", "kind", "line"),
    [
        ([HEAD_OF_500, b"no place", b"\nleft\n\n"], "handshake: status 500", "no place"),
        ([HEAD_OF_500 + b"no pl"], "handshake: status 500", "no pl"),
        ([b"HTTP/1.1 503 Busy\r\n\r\n", b"later"], "handshake: status 503", "later"),
        ([b"HTTP/1.1 103 Early Hints\r\n\r\n" * 2000, b"HTTP/1.1 502 Bad\r\n\r\n"], "handshake: status 502", None),
        ([b"HTTP/1.1 500 Error\r\n\r\n<html>\n"], "handshake: status 500", None),
        ([b"220 mail.example.org ESMTP\r\n\r\n"], "handshake: malformed", None),
    ],
)
def test_a_handshake_that_fails_is_an_answer(pieces: list[bytes], kind: str, line: str | None) -> None:
    """Users have arrived when they have one: the run goes on, and says what it was."""
    begun = time.monotonic()
    with ScriptedServer(refusing(*pieces)) as server:
        figures = run(Plan(url=server.url.replace("http", "ws"), users=3, duration_s=0.5, warmup_s=0.2))
    assert time.monotonic() - begun < 10, "users were waited for for 10 s"
    assert figures["errors"].keys() == figures["warmup"]["errors"].keys() == {kind}
    assert figures["users_never_answered"] == 0
    assert figures["error_text"] == (line and {"kind": kind, "line": line})


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ([b"HTTP/1.1 400 Bad Request\r\nContent-Length: 9\r\n\r\n", b"use wss:/"], '400 to .*: "use wss:/"$'),
        ([b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"], "404 to a request for a WebSocket$"),
        ([b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"], "200 to a request for a WebSocket$"),
    ],
)
def test_refusal_says_what_the_server_said(pieces: list[bytes], said: str) -> None:
    begun = time.monotonic()
    with ScriptedServer(refusing(*pieces, then_waits=True)) as server, pytest.raises(LoadError, match=said):
        run(Plan(url=server.url.replace("http", "ws"), users=1, duration_s=60.0, warmup_s=0.0))
    assert time.monotonic() - begun < 10


@contextmanager
def serving(handler: Any) -> Iterator[WebSocketServer]:
    with serve_websocket(handler, "localhost", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_pings_and_messages_that_answer_nothing() -> None:
    """By another server: what is sent, it understands, and its pings are answered."""
    answered = []

    def handler(connection: ServerConnection) -> None:
        for message in connection:
            answered.append(connection.ping(b"still there?"))
            connection.send(message)
            connection.send("and another")

    with serving(handler) as server:
        port = server.socket.getsockname()[1]
        figures = run(Plan(url=f"ws://localhost:{port}/", users=2, duration_s=0.3, warmup_s=0.0, expect_length=-1))
    assert figures["errors"] == {}
    assert figures["answers"] > 3
    assert any(event.is_set() for event in answered)


@pytest.mark.parametrize(
    ("close", "kind"),
    [((1008, "no\x1bt a line"), "closed with code 1008 (not a line)"), ((3000, ""), "closed with code 3000")],
)
def test_error_has_the_code_and_the_reason_of_a_close(close: tuple[int, str], kind: str) -> None:
    def handler(connection: ServerConnection) -> None:
        connection.recv()
        connection.close(*close)

    with serving(handler) as server:
        port = server.socket.getsockname()[1]
        figures = run(Plan(url=f"ws://localhost:{port}/", users=2, duration_s=0.2, warmup_s=0.0))
    assert figures["errors"].keys() == {kind}


def test_only_what_a_websocket_can_do() -> None:
    with pytest.raises(LoadError, match="users of WebSockets keep their connections"):
        Plan(url="ws://localhost/", mode="close")


def test_fragments_are_one_answer() -> None:
    first, second = b"\x01\x03abc", b"\x80\x02de"
    for cut in range(1, len(first + second)):
        answer = MessageAnswer()
        answer.feed((first + second)[:cut])
        assert not answer.complete
        answer.feed((first + second)[cut:])
        assert answer.complete
        assert answer.body_bytes == 5


def test_frames_are_masked() -> None:
    made = frame(1, b"hello")
    assert made[:2] == b"\x81\x85"
    assert bytes(byte ^ made[2 + index % 4] for index, byte in enumerate(made[6:])) == b"hello"
    assert read_header(b"\x81\x7e\x01") is None
    assert read_header(b"\x81\x7e\x01\x00") == (0x81, 256, 4)
