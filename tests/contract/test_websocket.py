"""WebSockets (RFC 6455, ASGI): conversations, refusals, ends, back-pressure and stops, under every process model."""

import asyncio
import json
import select
import signal
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import httpx_ws
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from contract.conftest import staying_well
from support.marks import each_style, engine_decides
from support.pool import Pool
from support.server import Server, serve
from support.tls import Authority, TlsServer
from support.waiting import PATIENCE_S, becomes_true, wait_until
from support.websocket import BINARY, CLOSE, HANDSHAKE, PING, PONG, TEXT, Frame, frame, raw_websocket

APP = "support.app_websocket:app"


@pytest.fixture
def server(servers: Pool, model: str) -> Iterator[Server]:
    with staying_well(servers.get(model, "asgi", app=APP)) as shared:
        yield shared


def dial(server: Server, target: str, **settings: Any) -> ClientConnection:
    assert isinstance(server.address, tuple)
    host, port = server.address
    scheme = "wss" if "ssl" in settings else "ws"
    return connect(f"{scheme}://{host}:{port}{target}", max_size=None, proxy=None, open_timeout=PATIENCE_S, **settings)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def test_over_tls(model: str, authority: Authority, token: str) -> None:
    """Conversation, back-pressure, and the order to stop."""
    context = authority.context_for_websockets()
    with TlsServer(authority, APP, "--model", model) as server:
        with dial(server, "/describe", ssl=context) as client:
            scope = json.loads(client.recv(PATIENCE_S))
            assert scope["scheme"] == "wss"
            assert scope["extensions"].keys() == {"websocket.http.response", "tls"}
        with dial(server, f"/flood?token={token}&count=20", ssl=context) as client:
            assert [client.recv(PATIENCE_S) for _ in range(20)] == [n.to_bytes(4) * 25_000 for n in range(20)]
        with dial(server, f"/echo?token={token}", ssl=context) as client:
            for message in ("hello", "y" * 3_000_000):
                client.send(message)
                assert client.recv(PATIENCE_S) == message
            server.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed):
                client.recv(PATIENCE_S)
            assert client.close_code == 1012
        assert server.wait() == 0


@each_style
@pytest.mark.parametrize("options", [("--metrics-bind", "unix:metrics"), ("--request-timeout", "1")], ids=" ".join)
def test_observed(model: str, authority: Authority, options: tuple[str, ...], token: str) -> None:
    """Options that have other sessions made; and a WebSocket may last for longer than a request. Over TLS."""
    with TlsServer(authority, APP, "--model", model, *options) as server:
        with dial(server, f"/echo?token={token}", ssl=authority.context_for_websockets()) as client:
            assert not becomes_true(lambda: "SEP101" in server.stderr(), 1.5)
            client.send("hello")
            assert client.recv(PATIENCE_S) == "hello"
        server.stop()
        assert not server.complaints()


@pytest.mark.parametrize("compression", ["deflate", None])
def test_conversation(server: Server, compression: str | None, token: str) -> None:
    with dial(server, f"/echo?token={token}", compression=compression) as client:
        for message in ("hello", b"", "", b"\0\xff", "né\u2603\U0001f600", "x" * 70_000, b"y" * 3_000_000):
            client.send(message)
            assert client.recv(PATIENCE_S) == message
        client.send(["in ", "three ", "parts"])
        assert client.recv(PATIENCE_S) == "in three parts"
        for number in range(200):
            client.send(str(number))
        assert [client.recv(PATIENCE_S) for _ in range(200)] == [str(number) for number in range(200)]
        assert client.ping().wait(PATIENCE_S)
        client.close(4001, "good bye")
    server.journal.wait_for(f"{token} 4001 good bye")


def test_client_that_leaves_without_a_word(server: Server, token: str) -> None:
    with raw_websocket(server.address, f"/echo?token={token}") as client:
        client.sock.sendall(frame(TEXT, b"hello"))
        assert client.read() == Frame(TEXT, b"hello")
    server.journal.wait_for(f"{token} 1006 ")


def test_what_follows_the_handshake_at_once_is_read(server: Server, token: str) -> None:
    """And what comes behind a close frame, or an error, does not take away the answer to what came before."""
    with raw_websocket(server.address, f"/echo?token={token}") as client:
        client.sock.sendall(frame(TEXT, b"one") + frame(TEXT, b"two") + frame(CLOSE, b"\x0f\xa0bye"))
        assert [client.read(), client.read()] == [Frame(TEXT, b"one"), Frame(TEXT, b"two")]
        assert client.read() == Frame(CLOSE, b"\x0f\xa0bye")
        assert client.read() is None
    server.journal.wait_for(f"{token} 4000 bye")


@each_style
def test_a_flood_of_small_frames_is_answered(server: Server, token: str) -> None:
    """Pings within a message in very many fragments, in one segment as far as the network allows; then the end."""
    with raw_websocket(server.address, f"/echo?token={token}") as client:
        flood = b"".join(frame(PING, number.to_bytes(2)) + frame(0, b"x", fin=False) for number in range(8000))
        client.sock.sendall(frame(TEXT, b"", fin=False) + flood + frame(0, b"") + frame(CLOSE, b"\x0f\xa0bye"))
        found = [one for one in iter(client.read, None) if one is not None]
        assert [one.payload for one in found if one.opcode == PONG] == [number.to_bytes(2) for number in range(8000)]
        assert found.count(Frame(TEXT, b"x" * 8000)) == 1
        assert (len(found), found[-1]) == (8002, Frame(CLOSE, b"\x0f\xa0bye"))
    server.journal.wait_for(f"{token} 4000 bye")


def test_scope_and_acceptance(server: Server, model: str, token: str) -> None:
    target = f"/describe?token={token}&x=%20"
    with dial(server, target, subprotocols=["first", "last"]) as client:
        assert client.subprotocol == "last"
        assert client.response is not None
        assert client.response.headers["X-Application"] == "yes"
        scope = json.loads(client.recv(PATIENCE_S))
        with pytest.raises(ConnectionClosed):
            client.recv(PATIENCE_S)
        assert (client.close_code, client.close_reason) == (3333, "that is all")
    assert scope["type"] == "websocket"
    assert scope["scheme"] == "ws"
    assert scope["http_version"] == "1.1"
    assert scope["asgi"]["version"] == "3.0"
    assert scope["path"] == "/describe"
    assert scope["query_string"] == target.partition("?")[2]
    assert scope["subprotocols"] == ["first", "last"]
    assert scope["extensions"] == {"websocket.http.response": {}}
    assert scope["state"] == {"started": "yes"}
    assert "method" not in scope
    server.journal.wait_for(f"{token} websocket.disconnect 3333")
    server.journal.wait_for(f"{token} websocket.send was sent after the WebSocket was closed")


@each_style
def test_refusals(server: Server, model: str, token: str) -> None:
    """They are answers of HTTP, and the connection goes on."""
    with server.connect() as connection:
        answer = connection.request("GET", f"/deny?token={token}", *HANDSHAKE)
        assert (answer.status, answer.body) == (403, b"")
        answer = connection.request("GET", f"/deny?token={token}&status=451", *HANDSHAKE)
        assert (answer.status, answer.body, answer.get("x-why")) == (451, b"in two parts", "deliberate")
        assert connection.request("GET", "/info").status == 200
    wait_until(lambda: server.journal.count(f"{token} websocket.disconnect 1006") == 2, "both were told")


@each_style
def test_application_that_raises(server: Server, model: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        dial(server, "/fail?when=before")
    assert refused.value.response.status_code == 500
    with dial(server, "/fail?when=accepted") as client:
        assert client.recv(PATIENCE_S) == "now"
        with pytest.raises(ConnectionClosed):
            client.recv(PATIENCE_S)
        assert client.close_code == 1011
    assert "ValueError: deliberate" in server.stderr()


@each_style
def test_application_that_returns(server: Server, model: str) -> None:
    with dial(server, "/leave") as client:
        assert client.recv(PATIENCE_S) == b"last words"
        with pytest.raises(ConnectionClosed):
            client.recv(PATIENCE_S)
        assert client.close_code == 1000


@engine_decides
@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ((*HANDSHAKE[:3], "Sec-WebSocket-Key: short"), 400),
        (HANDSHAKE[:3], 400),
        ((*HANDSHAKE, "Sec-WebSocket-Extensions: ;"), 400),
        ((*HANDSHAKE[:2], "Sec-WebSocket-Version: 8", HANDSHAKE[3]), 426),
    ],
)
def test_malformed_handshakes(server: Server, model: str, fields: tuple[str, ...], status: int) -> None:
    answer = server.get("/echo", *fields)
    assert answer.status == status
    assert answer.get("sec-websocket-version") == "13"


def test_client_that_does_not_read_stops_the_application(server: Server, token: str) -> None:
    """100 messages of 100 kB: more than the socket buffers of both sides hold."""
    count = 100
    with raw_websocket(server.address, f"/flood?token={token}&count={count}") as client:
        sent = f"{token} sent"
        before = -1
        while (now := server.journal.count(sent)) != before:
            before = now
            time.sleep(0.3)  # nothing to wait for: it is to stand still
        assert before < count
        for number in range(count):
            assert client.read() == Frame(BINARY, number.to_bytes(4) * 25_000)
        assert client.read() == Frame(CLOSE, b"\x03\xe8")


def test_application_that_does_not_read_stops_the_client(server: Server, token: str) -> None:
    """Bytes beyond the queue stay in the kernel's buffers, and at the client."""
    message = frame(BINARY, bytes(10_000))
    wanted, sent = 3000, 0
    data = memoryview(message * wanted)
    with raw_websocket(server.address, f"/hold?token={token}") as client:
        client.sock.setblocking(False)
        while sent < len(data) and select.select([], [client.sock], [], 1.0)[1]:
            sent += client.sock.send(data[sent : sent + 100_000])
        assert sent < len(data)
        client.sock.settimeout(PATIENCE_S)
        server.journal.open_gate(token)
        client.sock.sendall(data[sent:])
        client.sock.sendall(frame(BINARY, b""))
        assert client.read() == Frame(TEXT, b"%d" % wanted)


def test_stop(model: str, token: str) -> None:
    """The client is told 1012, the application as well; a client that does not answer holds up nothing for long."""
    with serve(model, "asgi", app=APP) as server, dial(server, f"/echo?token={token}") as client:
        client.send("hello")
        assert client.recv(PATIENCE_S) == "hello"
        server.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed):
            client.recv(PATIENCE_S)
        assert client.close_code == 1012
        assert server.wait() == 0
        lines = server.journal.lines()
        assert lines.index(f"{token} 1012 the server stops") < len(lines) - 1 - lines[::-1].index("shutdown")


@each_style
def test_stop_with_a_client_that_is_deaf(model: str, token: str) -> None:
    with (
        serve(model, "asgi", "--graceful-timeout", "600", app=APP) as server,
        raw_websocket(server.address, f"/echo?token={token}") as client,
    ):
        client.sock.sendall(frame(TEXT, b"hello"))
        assert client.read() == Frame(TEXT, b"hello")
        server.send_signal(signal.SIGTERM)
        assert client.read() == Frame(CLOSE, b"\x03\xf4the server stops")
        assert server.wait() == 0


@each_style
def test_pings_find_dead_clients(model: str, token: str) -> None:
    options = ("--ws-ping-interval", "0.2", "--ws-ping-timeout", "2", "--keep-alive-timeout", "0.5")
    with (
        serve(model, "asgi", *options, app=APP) as server,
        raw_websocket(server.address, f"/echo?token={token}") as client,
    ):
        for _ in range(3):
            assert client.read() == Frame(PING, b"")
            client.sock.sendall(frame(PONG, b""))
        assert client.read() == Frame(PING, b"")
        assert client.read() == Frame(CLOSE, b"\x03\xf3no answer to a ping")
        server.journal.wait_for(f"{token} 1011 no answer to a ping")


@each_style
def test_access_log(model: str, token: str) -> None:
    """One line for each WebSocket, when it is over."""
    with serve(model, "asgi", "--access-log", "access.log", app=APP) as server:
        log = server.directory / "access.log"
        with dial(server, f"/echo?token={token}", compression=None) as client:
            client.send("hello")
            assert client.recv(PATIENCE_S) == "hello"
            assert not becomes_true(log.read_text, 0.1)
        wait_until(log.read_text, "the line is written")
        assert f'"GET /echo?token={token} HTTP/1.1" 101 ' in log.read_text()


@engine_decides
def test_message_that_is_too_long(model: str, token: str) -> None:
    with serve(model, "asgi", "--ws-max-message", "1000", app=APP) as server:
        for compression in ("deflate", None):
            with dial(server, f"/echo?token={token}", compression=compression) as client:
                client.send("x" * 1000)
                assert client.recv(PATIENCE_S) == "x" * 1000
                client.send("x" * 1001)
                with pytest.raises(ConnectionClosed):
                    client.recv(PATIENCE_S)
                assert client.close_code == 1009


@each_style
@pytest.mark.parametrize(
    ("interface", "options", "why"),
    [("asgi", ("--ws", "none"), "--ws is none"), ("wsgi", (), "an application that speaks WSGI has none")],
)
def test_where_there_is_none(model: str, interface: str, options: tuple[str, ...], why: str) -> None:
    """The request is an ordinary one, and one warning says so."""
    with serve(model, interface, *options) as server:
        assert server.get("/info", "Connection: Upgrade", "Upgrade: h2c").status == 200
        assert "WebSocket" not in server.stderr()
        for path in ("/info?x", "/info?y", "/info?y"):
            assert server.get(path, *HANDSHAKE).status == 200
        # What libraries do that find no socket to talk over.
        assert server.get("/fail?when=before%20start", *HANDSHAKE).status == 500
        server.stop()
        line, raised = [line for line in server.stderr().splitlines() if "WebSocket" in line]
        assert "ERROR septet: SEP141 the application raised at GET /fail" in raised
        assert f"WARNING septet: a client asks for a WebSocket at /info, and {why}: " in line
        assert "Traceback" not in server.stderr()


@engine_decides
def test_without_the_library(model: str) -> None:
    with serve(model, "asgi", app="support.app_without_the_library:plain") as server:
        assert server.get("/info", *HANDSHAKE).status == 200
        why = "the library websockets is not installed (pip install 'septet[websocket]')"
        assert f"asks for a WebSocket at /info, and {why}: " in server.stderr()
    routed = "support.app_without_the_library:routed"
    with serve(model, "asgi", app=routed, wait_ready=False) as server:
        assert server.wait() == 1
        assert f"septet: APP '{routed}' has routes for WebSockets, and the library" in server.stderr()
    with serve(model, "asgi", "--ws", "none", app=routed) as server:
        assert server.get("/talk", *HANDSHAKE).status == 404


@each_style
def test_other_clients(server: Server, model: str) -> None:
    """aiohttp's and httpx's; the library `websockets` is the client of the other tests, and Chromium the chat's."""
    assert isinstance(server.address, tuple)
    url = "ws://{}:{}/echo".format(*server.address)
    messages = ["hello", b"\0\xff", "x" * 100_000]

    async def by_aiohttp() -> list[Any]:
        async with aiohttp.ClientSession() as session, session.ws_connect(url, compress=12) as client:
            found = []
            for message in messages:
                await (client.send_str(message) if isinstance(message, str) else client.send_bytes(message))
                found.append((await client.receive(PATIENCE_S)).data)
            await client.close(code=4000)
            assert client.close_code == 4000
        return found

    assert asyncio.run(by_aiohttp()) == messages
    with httpx_ws.connect_ws(url) as client:
        for message in messages:
            (client.send_text if isinstance(message, str) else client.send_bytes)(message)
            received = client.receive_text if isinstance(message, str) else client.receive_bytes
            assert received(timeout=PATIENCE_S) == message
