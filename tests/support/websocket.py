"""A client of WebSocket that sends what it is told to, over a plain socket."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

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
