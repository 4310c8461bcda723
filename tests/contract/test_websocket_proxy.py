"""A WebSocket through an application that relays it to another server, as Jupyter's proxy does, over TLS.

Both ends of the relay are Septet: the application is a client on the loop that serves it, with tasks of its own, and
receives and sends from different ones.
"""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from support.server import Server, serve
from support.tls import Authority, TlsServer
from support.waiting import PATIENCE_S

APP = "support.app_websocket_proxy:app"

relaying_models = pytest.mark.parametrize("model", ["threaded", "epoll", "io_uring"])
"""An event loop beside the thread that carries the client, one that does all, and one over completions."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def behind() -> Iterator[Server]:
    with serve("epoll", "asgi", app="support.app_websocket:app") as server:
        yield server


@pytest.fixture
def proxy(model: str, authority: Authority, behind: Server) -> Iterator[TlsServer]:
    assert isinstance(behind.address, tuple)
    upstream = "{}:{}".format(*behind.address)
    with TlsServer(authority, APP, "--model", model, environment={"UPSTREAM": upstream}) as server:
        yield server
        server.stop()
        assert not server.complaints()


@pytest.fixture
def dial(proxy: TlsServer, authority: Authority) -> Any:
    assert isinstance(proxy.address, tuple)
    host, port = proxy.address

    def dial(target: str, **settings: Any) -> ClientConnection:
        url, context = f"wss://{host}:{port}{target}", authority.context_for_websockets()
        return connect(url, ssl=context, max_size=None, proxy=None, open_timeout=PATIENCE_S, **settings)

    return dial


@relaying_models
def test_relay(dial: Any, behind: Server, token: str) -> None:
    """Text and binary, large and many, several clients; subprotocols, refusals, and ends of both sides."""
    with dial(f"/echo?token={token}") as client, dial(f"/echo?token={token}-other", compression=None) as other:
        for message in ("hello", b"\0\xff", "", b"", "né\u2603", b"y" * 1_000_000):
            client.send(message)
            other.send(message)
            assert client.recv(PATIENCE_S) == message
            assert other.recv(PATIENCE_S) == message
        for number in range(100):
            client.send(str(number))
        assert [client.recv(PATIENCE_S) for _ in range(100)] == [str(number) for number in range(100)]
        client.close(4001, "good bye")
    behind.journal.wait_for(f"{token} 4001 good bye")
    behind.journal.wait_for(f"{token}-other 1000 ")

    with dial("/describe", subprotocols=["v1.kernel", "v2.kernel"]) as client:
        assert client.subprotocol == "v2.kernel"
        assert json.loads(client.recv(PATIENCE_S))["subprotocols"] == ["v1.kernel", "v2.kernel"]
        with pytest.raises(ConnectionClosed):
            client.recv(PATIENCE_S)
        assert (client.close_code, client.close_reason) == (3333, "that is all")

    with pytest.raises(InvalidStatus) as refusal:
        dial("/deny?status=451")
    assert (refusal.value.response.status_code, refusal.value.response.body) == (451, b"refused behind the proxy")


@relaying_models
def test_client_that_vanishes(dial: Any, behind: Server, token: str) -> None:
    with dial(f"/echo?token={token}") as client:
        client.send("hello")
        assert client.recv(PATIENCE_S) == "hello"
        client.socket.shutdown(socket.SHUT_RDWR)
        behind.journal.wait_for(f"{token} 1001 ")


@relaying_models
def test_server_behind_that_stops(model: str, authority: Authority, token: str) -> None:
    with serve("epoll", "asgi", app="support.app_websocket:app") as behind:
        assert isinstance(behind.address, tuple)
        upstream = "{}:{}".format(*behind.address)
        with TlsServer(authority, APP, "--model", model, environment={"UPSTREAM": upstream}) as proxy:
            assert isinstance(proxy.address, tuple)
            url = "wss://{}:{}/echo?token={}".format(*proxy.address, token)
            with connect(url, ssl=authority.context_for_websockets(), proxy=None, open_timeout=PATIENCE_S) as client:
                client.send("hello")
                assert client.recv(PATIENCE_S) == "hello"
                behind.stop()
                with pytest.raises(ConnectionClosed):
                    client.recv(PATIENCE_S)
                assert client.close_code == 1012
