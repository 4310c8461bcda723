"""What a carrier knows of a protocol is `ServerProtocol`: two others than HTTP/1.1, under every model."""

import http.client
import io
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.client import Address
from support.messages import pattern
from support.other_protocols import sealed
from support.server import Server, serve
from support.static_tree import BIG
from support.waiting import PATIENCE_S

MUCH = pattern(6_000_000)
"""More than the socket buffers of both sides hold."""


@pytest.fixture
def echo(model: str) -> Iterator[Server]:
    with serve(model, "wsgi", app="support.app_echo_protocol:wsgi") as server:
        yield server


@pytest.fixture
def cipher(model: str, interface: str, static_tree: Path) -> Iterator[Server]:
    with serve(
        model, interface, "--static", f"/files={static_tree}", app=f"support.app_sealed_protocol:{interface}"
    ) as server:
        yield server


def connect(address: Address) -> socket.socket:
    assert isinstance(address, tuple)
    return socket.create_connection(address, timeout=PATIENCE_S)


def test_reads_while_it_writes(echo: Server) -> None:
    """A client that sends all before it reads anything would wait for ever if the server only wrote."""
    with connect(echo.address) as sock:
        sock.sendall(MUCH)
        sock.shutdown(socket.SHUT_WR)
        with sock.makefile("rb") as file:
            assert file.read() == MUCH


def test_both_at_the_same_time(echo: Server) -> None:
    with connect(echo.address) as sock:
        sender = threading.Thread(target=sock.sendall, args=(MUCH,))
        sender.start()
        with sock.makefile("rb") as file:
            assert file.read(len(MUCH)) == MUCH
        sender.join()


def test_client_that_leaves_with_output_waiting(echo: Server) -> None:
    sock = connect(echo.address)
    sock.sendall(MUCH)
    sock.close()
    with connect(echo.address) as other:
        other.sendall(b"still there")
        assert other.recv(100) == b"still there"


class SealedSocket(io.RawIOBase):
    """What `http.client` takes for the socket of its connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def sendall(self, data: bytes) -> None:
        self._sock.sendall(sealed(data))

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(SealedSocket(self._sock))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        data = sealed(self._sock.recv(len(buffer)))
        buffer[: len(data)] = data
        return len(data)


@pytest.fixture
def client(cipher: Server) -> Iterator[http.client.HTTPConnection]:
    assert isinstance(cipher.address, tuple)
    connection = http.client.HTTPConnection(*cipher.address)
    with connect(cipher.address) as sock:
        connection.sock = SealedSocket(sock)
        yield connection


def test_requests_in_a_cipher(client: http.client.HTTPConnection) -> None:
    """A body, an answer in parts, and files, on one connection."""
    for _ in range(2):
        client.request("POST", "/read?how=pieces", pattern(300_000))
        assert json.loads(client.getresponse().read())["length"] == 300_000
        client.request("GET", "/send?size=500000&parts=7")
        assert client.getresponse().read() == pattern(500_000)
        client.request("GET", "/files/big.bin")
        assert client.getresponse().read() == BIG
        client.request("GET", "/files/plain.txt")
        assert client.getresponse().read() == b"plain text\n"


def test_files_in_pieces_in_a_cipher(client: http.client.HTTPConnection) -> None:
    client.request("GET", "/files/big.bin", headers={"Range": "bytes=5-99, 1000000-2000000"})
    answer = client.getresponse()
    assert answer.status == 206
    assert BIG[1_000_000:2_000_001] in answer.read()
