"""What is counted of TLS connections and WebSockets, at the address of `--metrics-bind`, under every model."""

import os
import signal
import socket
import ssl
import time
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from contract.test_metrics_endpoint import ENDPOINT, samples, status
from contract.test_websocket import APP, dial
from support.marks import each_style
from support.server import Server, serve
from support.tls import Authority, TlsConnection, TlsServer
from support.waiting import PATIENCE_S, wait_until
from support.websocket import raw_websocket

DAYS = 30


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), DAYS)


def tls(server: Server) -> Any:
    return status(server)["tls"]


def sockets(server: Server) -> Any:
    return status(server)["websockets"]


def test_tls(model: str, authority: Authority) -> None:
    distrustful = ssl.create_default_context()
    with TlsServer(authority, "support.apps_wsgi:app", "--model", model, *ENDPOINT) as server:
        context = authority.client_context(maximum_version=ssl.TLSVersion.TLSv1_2)
        with TlsConnection(server.address, context) as first:
            assert first.request("GET", "/").status == 200
            wait_until(lambda: tls(server)["open"] == 1, "one is open")
            session = first.socket.session
        with TlsConnection(server.address, authority.client_context()) as other:
            assert other.request("GET", "/").status == 200
        plain = socket.create_connection(server.address, PATIENCE_S)
        with context.wrap_socket(plain, server_hostname="localhost", session=session) as again:
            again.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert again.recv(100).startswith(b"HTTP/1.1 200")
            assert again.session_reused
        with socket.create_connection(server.address, PATIENCE_S) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert plain.recv(100).startswith(b"HTTP/1.1 400")
        with (
            socket.create_connection(server.address, PATIENCE_S) as plain,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            distrustful.wrap_socket(plain, server_hostname="localhost")
        with socket.create_connection(server.address, PATIENCE_S) as plain:
            plain.sendall(b"\x16\x03\x01")
        wait_until(lambda: sum(tls(server)["failed"].values()) == 3, "all failures are counted")
        found = tls(server)
        failed = {"plain HTTP": 1, "incomplete": 1, "certificate": 1, "no agreement": 0, "protocol": 0}
        assert found["failed"] == failed
        assert (found["handshakes"], found["resumed"]) == (3, 1)
        assert found["by_version"] == {"TLSv1.2": 2, "TLSv1.3": 1}
        wait_until(lambda: tls(server)["open"] == 0, "all have ended")
        (certificate,) = found["certificates"]
        assert certificate["file"] == str(authority.server.certificate)
        assert DAYS - 1 < certificate["days_left"] <= DAYS
        shown = samples(server)
        assert shown['septet_tls_handshakes_total{resumed="yes",version="TLSv1.2"}'] == 1
        assert shown['septet_tls_handshakes_failed_total{reason="plain HTTP"}'] == 1
        label = f'septet_tls_certificate_expiry_timestamp_seconds{{certificate="{authority.server.certificate}"}}'
        assert shown[label] == certificate["ends_at"]


def test_websockets(model: str, token: str) -> None:
    with serve(model, "asgi", *ENDPOINT, app=APP) as server:
        with dial(server, f"/echo?token={token}") as client:
            for number in range(5):
                client.send(str(number))
                assert client.recv(PATIENCE_S) == str(number)
            wait_until(lambda: sockets(server)["open"] == 1, "one is open")
        with raw_websocket(server.address, f"/echo?token={token}"):
            pass
        with dial(server, "/describe") as client:
            client.recv(PATIENCE_S)
        with pytest.raises(InvalidStatus):
            dial(server, f"/deny?token={token}")
        wait_until(lambda: sum(sockets(server)["closed"].values()) == 3, "all have ended")
        wait_until(lambda: sockets(server)["refused"] == 1, "and one was refused")
        found = sockets(server)
        assert (found["open"], found["accepted"]) == (0, 3)
        assert (found["messages_received"], found["messages_sent"]) == (5, 6)
        assert found["received_bytes"] >= 5 * 7
        assert found["sent_bytes"] >= 5 * 3
        ends = {kind: count for kind, count in found["closed"].items() if count}
        assert ends == {"normal": 1, "without a word": 1, "application": 1}
        shown = samples(server)
        assert shown['septet_websocket_messages_total{direction="in"}'] == 5
        assert shown['septet_websockets_closed_total{code="application"}'] == 1


@each_style
def test_sums_do_not_fall(model: str, token: str) -> None:
    with serve(model, "asgi", "--supervisor", "--workers", "2", *ENDPOINT, app=APP) as server:
        with dial(server, f"/echo?token={token}") as client:
            client.send("hello")
            assert client.recv(PATIENCE_S) == "hello"
        wait_until(lambda: sockets(server)["messages_sent"] == 1, "it is counted")
        seen = sockets(server)
        server.send_signal(signal.SIGHUP)
        wait_until(lambda: "generation 2" in server.stderr(), "another generation starts")
        for each in status(server)["processes"]:
            if each["kind"] == "worker":
                os.kill(each["pid"], signal.SIGKILL)
        until = time.monotonic() + 2
        while time.monotonic() < until:
            found = sockets(server)
            assert all(found[name] >= seen[name] for name in ("accepted", "messages_sent", "sent_bytes"))
            time.sleep(0.05)
