"""A client of WebSocket that sends what it is told to, over a plain socket."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from support import http2
from support.client import Address
from support.waiting import PATIENCE_S

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

HANDSHAKE = (
    "Connection: keep-alive, Upgrade",
    "Upgrade: WebSocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


def handshake(target: str, *more: str) -> bytes:
    return "\r\n".join((f"GET {target} HTTP/1.1", "Host: x", *HANDSHAKE, *more, "\r\n")).encode()


def frame(opcode: int, payload: bytes, *, fin: bool = True, rsv1: bool = False) -> bytes:
    """A frame of a client: masked, with the mask 0, which changes nothing."""
    head = bytes([fin << 7 | rsv1 << 6 | opcode])
    length = len(payload)
    if length < 126:
        head += bytes([0x80 | length])
    elif length < 65536:
        head += struct.pack("!BH", 0x80 | 126, length)
    else:
        head += struct.pack("!BQ", 0x80 | 127, length)
    return head + bytes(4) + payload


class Frame(NamedTuple):
    opcode: int
    payload: bytes


class RawSocket:
    """One connection after its handshake."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._file = sock.makefile("rb")

    def read_head(self) -> bytes:
        lines = []
        while (line := self._file.readline()) != b"\r\n":
            assert line, "the connection ended in the head"
            lines.append(line)
        return b"".join(lines)

    def read(self) -> Frame | None:
        """The next frame, whole; None at the end of the connection."""
        head = self._file.read(2)
        if not head:
            return None
        assert not head[1] & 0x80, "a server masks nothing"
        length = head[1] & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", self._file.read(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self._file.read(8))
        return Frame(head[0] & 0x0F, self._file.read(length))


@contextmanager
def raw_websocket(address: Address, target: str, *more: str) -> Iterator[RawSocket]:
    assert isinstance(address, tuple)
    with socket.create_connection(address, timeout=PATIENCE_S) as sock:
        raw = RawSocket(sock)
        sock.sendall(handshake(target, *more))
        head = raw.read_head()
        assert head.startswith(b"HTTP/1.1 101 "), head
        yield raw
        raw._file.close()


class StreamSocket:
    """A WebSocket on a stream of HTTP/2, after its answer or a reset."""

    def __init__(self, connection: http2.Connection, path: str, *fields: tuple[bytes, bytes]) -> None:
        self.connection = connection
        ask = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *http2.get(path)[1:]]
        ask += [(b"sec-websocket-version", b"13"), *fields]
        self.stream = connection.ask(ask, end=False)
        self.answer = connection.client.answers[self.stream]
        connection.until(lambda: bool(self.answer.fields) or self.answer.reset is not None)
        self._read = 0

    def send(self, data: bytes, end: bool = False) -> None:
        while data:
            data = self.connection.client.send_body(self.stream, data, end)
            self.connection.flush()
            if data:
                assert self.connection.receive()

    def read(self) -> tuple[int, bytes]:
        """The next frame of the server."""

        self.connection.until(self.has_frame)
        found = self._parsed()
        assert found is not None
        opcode, payload, self._read = found
        return opcode, payload

    def has_frame(self) -> bool:
        return self._parsed() is not None

    def _parsed(self) -> tuple[int, bytes, int] | None:
        data = self.answer.body[self._read :]
        if len(data) < 2:
            return None
        length, start = data[1], 2
        if length >= 126:
            start = 4 if length == 126 else 10
            length = int.from_bytes(data[2:start])
        if len(data) < start + length:
            return None
        return data[0] & 15, data[start : start + length], self._read + start + length
