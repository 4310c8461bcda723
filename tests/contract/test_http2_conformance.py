"""The cases of `tests/test_session_http2_conformance.py` over a socket: one segment for each frame, under a loop, in
threads, and in a ring. What follows a request is sent at once, and once more after the answer has come."""

import socket
from collections.abc import Callable, Iterator

import pytest

from support.http2 import ACK, DATA, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, frame, get, head
from support.server import Server, serve
from support.waiting import PATIENCE_S
from test_session_http2_conformance import (
    CONNECTION_ERRORS,
    FLOW_CONTROL,
    HARMLESS,
    ONCE_ANSWERED,
    OPENED,
    STREAM_ERRORS,
    setting,
)

WINDOW_UPDATE = 8

FOR_NO_READER = {"6.9.1: more content than the window"}
"""Here the application reads, and opens the window."""

Frame = tuple[int, int, int, bytes]


@pytest.fixture(scope="module", params=[("epoll", "asgi"), ("threaded", "wsgi"), ("io_uring", "asgi")], ids="-".join)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    model, interface = request.param
    with serve(model, interface, "--http2-cleartext") as server:
        yield server


class Raw:
    """A client that sends what it is told to, and keeps the frames that come."""

    def __init__(self, server: Server) -> None:
        assert isinstance(server.address, tuple)
        self.socket = socket.create_connection(server.address, timeout=PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.frames: list[Frame] = []
        self.ended = False
        self._unread = b""
        self.send(PREFACE + frame(SETTINGS))
        self.until(lambda kind, flags, *_: kind == SETTINGS and flags == ACK)
        self.send(frame(SETTINGS, ACK))

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send each frame in a segment of its own."""
        try:
            if data.startswith(PREFACE):
                self.socket.sendall(data)
                return
            while data:
                size = 9 + int.from_bytes(data[:3])
                self.socket.sendall(data[:size])
                data = data[size:]
        except ConnectionError:
            pass

    def until(self, wanted: Callable[[int, int, int, bytes], bool]) -> Frame | None:
        """The first frame, of all that have come and will come, that is wanted. None if the connection ends before."""
        seen = 0
        while True:
            for found in self.frames[seen:]:
                if wanted(*found):
                    return found
            seen = len(self.frames)
            if self.ended:
                return None
            try:
                self._receive()
            except TimeoutError:
                return None

    def _receive(self) -> None:
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            data = b""
        self.ended = not data
        self._unread += data
        while len(self._unread) >= 9 and len(self._unread) >= (size := 9 + int.from_bytes(self._unread[:3])):
            one, self._unread = self._unread[:size], self._unread[size:]
            self.frames.append((one[3], one[4], int.from_bytes(one[5:9]), one[9:]))

    def error(self) -> int | None:
        """The code of the first GOAWAY or RST_STREAM."""
        found = self.until(lambda kind, *_: kind in (GOAWAY, RST_STREAM))
        return found and int.from_bytes(found[3][4:8] if found[0] == GOAWAY else found[3])


def test_errors(server: Server) -> None:
    wrong: dict[str, int | None] = {}
    for name, (data, codes) in {**CONNECTION_ERRORS, **STREAM_ERRORS}.items():
        if name in FOR_NO_READER:
            continue
        with Raw(server) as client:
            client.send(data)
            code = client.error()
            if code not in codes:
                wrong[name] = code
            elif name in CONNECTION_ERRORS:
                client.until(lambda *_: False)
                if not client.ended:
                    wrong[name] = None
    assert not wrong


def test_errors_after_the_answer(server: Server) -> None:
    wrong = {}
    for name, (request, then, codes) in ONCE_ANSWERED.items():
        with Raw(server) as client:
            client.send(request)
            client.until(lambda kind, flags, *_: kind in (DATA, HEADERS) and bool(flags & END_STREAM))
            client.send(then)
            code = client.error()
            if code not in codes:
                wrong[name] = code
    assert not wrong


def test_harmless(server: Server) -> None:
    wrong = []
    for name, data in HARMLESS.items():
        with Raw(server) as client:
            client.send(data + head(11))
            if client.until(lambda kind, _flags, stream, _data: kind == HEADERS and stream == 11) is None:
                wrong.append(name)
    assert not wrong


def test_windows(server: Server) -> None:
    """Content goes no further than SETTINGS_INITIAL_WINDOW_SIZE, which may change while it waits."""
    with Raw(server) as client:
        client.send(frame(SETTINGS, 0, 0, setting(4, 3)) + head(1, get("/send?size=100")))
        assert client.until(lambda kind, *_: kind == DATA) == (DATA, 0, 1, client.frames[-1][3][:3])
        client.send(frame(SETTINGS, 0, 0, setting(4, 2)) + frame(WINDOW_UPDATE, 0, 1, (2).to_bytes(4)))
        assert client.until(lambda kind, *rest: kind == DATA and len(rest[2]) == 1) is not None
        client.send(frame(WINDOW_UPDATE, 0, 1, (1000).to_bytes(4)))
        assert client.until(lambda kind, flags, *_: kind == DATA and bool(flags & END_STREAM)) is not None


def test_window_beyond_its_end_resets_the_stream(server: Server) -> None:
    with Raw(server) as client:
        client.send(OPENED + frame(WINDOW_UPDATE, 0, 1, (2**31 - 1).to_bytes(4)) * 2)
        found = client.until(lambda kind, *_: kind in (RST_STREAM, GOAWAY))
        assert found == (RST_STREAM, 0, 1, FLOW_CONTROL.to_bytes(4))


def test_a_client_that_leaves_is_left(server: Server) -> None:
    with Raw(server) as client:
        client.send(frame(PING, 0, 0, b"h2spec.."))
        assert client.until(lambda *found: found == (PING, ACK, 0, b"h2spec..")) is not None
        client.send(frame(GOAWAY, 0, 0, bytes(4) + (255).to_bytes(4)))
        client.until(lambda *_: False)
        assert client.ended
