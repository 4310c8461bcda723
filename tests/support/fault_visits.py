"""Visits that are paid to a server while one of its calls fails (see `faults`): over each protocol that it speaks.

Each ends when the server has nothing more to say. It raises AssertionError for what is neither right nor an end,
TimeoutError if the client is kept waiting, and Truncated or another OSError if the server has cut the connection.
"""

import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from support import http2
from support.client import Address, Connection, Truncated
from support.http2 import get
from support.messages import chunked, pattern, render
from support.server import Server
from support.tls import Authority, TlsConnection
from support.websocket import BINARY, CLOSE, TEXT, StreamSocket, frame, handshake

LIMITS = (400, 408, 500, 503)
"""What a client may be answered whose request has met an error of the server."""


@dataclass(frozen=True)
class Doors:
    """The server's addresses, in clear text and with TLS, and what a client needs for the second."""

    plain: Address
    tls: Address
    authority: Authority

    @classmethod
    def of(cls, server: Server, authority: Authority) -> "Doors":
        plain, tls = (ready.address for ready in server.ready)
        return cls(plain, tls, authority)


Visit = Callable[[Doors, str, float], None]
"""`visit(doors, token, timeout_s)`: the token tells its requests from those of others; the time bounds each wait."""


# HTTP/1.1, in clear text or over TLS.


def check(connection: Connection, token: str, body: bytes = b"") -> bool:
    """Read the answer to an echoed request; whether the connection goes on."""
    response = connection.read_response()
    if response.status == 200:
        assert f'"{token}"'.encode() in response.body, f"another's answer: {response.body[:300]!r}"
        if body:
            assert body in response.body, "the body was changed"
    else:
        assert response.status in LIMITS, response.status
    return not response.closes


def finish(connection: Connection) -> None:
    """The server has nothing more to say."""
    connection.end_sending()
    connection.assert_closed()


def kept_alive(connection: Connection, token: str) -> None:
    for number in range(3):
        connection.send(render("GET", f"/?{token}{number}"))
        if not check(connection, f"{token}{number}"):
            break
    else:
        connection.send(render("GET", f"/?{token}", "Connection: close"))
        check(connection, token)
    finish(connection)


def pipelined(connection: Connection, token: str) -> None:
    connection.send(b"".join(render("GET", f"/?{token}{number}") for number in range(20)))
    for number in range(20):
        if not check(connection, f"{token}{number}"):
            return
    finish(connection)


def upload(connection: Connection, token: str) -> None:
    body = b"x" * 1_500_000
    connection.send_if_possible(render("POST", f"/?{token}", body=body))
    if check(connection, token, body):
        connection.send(render("GET", f"/?{token}2", "Connection: close"))
        check(connection, f"{token}2")
    finish(connection)


def upload_in_chunks(connection: Connection, token: str) -> None:
    body = b"y" * 5000
    connection.send(render("POST", f"/?{token}", "Transfer-Encoding: chunked", "Expect: 100-continue"))
    if connection.has_data(0.05):
        connection.send_if_possible(chunked(body, 1700))
        if check(connection, token, body):
            connection.send_if_possible(render("GET", f"/?{token}2", "Connection: close"))
            check(connection, f"{token}2")
    connection.end_sending()
    connection.read_to_end()


def large(connection: Connection, token: str) -> None:
    connection.send(render("GET", "/send?size=2000000&parts=40", "Connection: close"))
    response = connection.read_response()
    assert response.status in (500, 503) or response.body == pattern(2_000_000)
    finish(connection)


def file(connection: Connection, token: str) -> None:
    connection.send(render("GET", "/files/big.bin"))
    response = connection.read_response()
    assert response.status in (500, 503) or response.body == pattern(3_000_017), response.status
    finish(connection)


FAILING = ("before%20start", "second%20part")
"""When the application raises."""


def failing(connection: Connection, token: str) -> None:
    for when in FAILING:
        connection.send(render("GET", f"/fail?when={when}"))
        response = connection.read_response()  # or a part of it
        assert response.status in (500, 503), response.status
        if response.closes:
            break
    finish(connection)


def broken_off(connection: Connection, token: str) -> None:
    connection.send_if_possible(render("POST", f"/?{token}", "Content-Length: 1000000") + b"z" * 3000)
    connection.reset()


def malformed(connection: Connection, token: str) -> None:
    connection.send_if_possible(b"GET  / HTTP/1.1\r\n\r\n" + b"w" * 100_000)
    assert connection.read_response().status in (400, 500)
    finish(connection)


class _OverTls(TlsConnection):
    def end_sending(self) -> None:
        """By close_notify, which the server answers before it ends the connection."""
        self.socket = cast(ssl.SSLSocket, self.socket.unwrap())


# HTTP/2.


class Http2Client(http2.Connection):
    """A client of HTTP/2, each of whose waits is bounded, and which is told of a cut by `Truncated`."""

    def __init__(self, address: Address, context: ssl.SSLContext | None, timeout_s: float) -> None:
        assert isinstance(address, tuple)
        self.socket = socket.create_connection(address, timeout=timeout_s)
        self.ended = False
        self.client = http2.Client()
        try:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is not None:
                context.set_alpn_protocols(["h2"])
                self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
            self.flush()
        except BaseException:
            self.socket.close()
            raise

    def receive(self) -> bool:
        if not super().receive():
            raise Truncated("HTTP/2")
        return True

    def upload(self, stream: int, body: bytes) -> None:
        """Send the body of a request, until there is an answer."""
        answer = self.client.answers[stream]
        while body and not answer.ended and answer.reset is None:
            body = self.client.send_body(stream, body)
            self.flush()
            if body:
                self.receive()

    def check(self, stream: int, token: str, body: bytes = b"") -> None:
        """The answer to an echoed request, an error's, or a reset."""
        answer = self.answer(stream)
        if answer.reset is None and answer.status == 200:
            assert f'"{token}"'.encode() in answer.body, f"another's answer: {answer.body[:300]!r}"
            assert body in answer.body, "the body was changed"
        else:
            self.check_failed(answer)

    def check_failed(self, answer: http2.Answer) -> None:
        assert answer.reset is not None or answer.status in LIMITS, answer.status

    def check_file(self, stream: int) -> None:
        answer = self.answer(stream)
        if answer.reset is None and answer.status == 200:
            assert answer.body == pattern(3_000_017)
        else:
            self.check_failed(answer)

    def finish(self) -> None:
        """Say that no more requests come, upon which the server ends the connection."""
        self.client.h2.close_connection()
        self.flush()
        try:
            while self.socket.recv(65536):
                pass
        except (ConnectionError, ssl.SSLError):
            pass


def http2_requests(client: Http2Client, token: str) -> None:
    for number in range(2):
        client.check(client.ask(get(f"/?{token}{number}")), f"{token}{number}")
    streams = [(client.ask(get(f"/?{token}{number}")), number) for number in range(2, 5)]
    for stream, number in streams:
        client.check(stream, f"{token}{number}")
    client.finish()


def http2_upload(client: Http2Client, token: str) -> None:
    body = b"x" * 300_000
    stream = client.ask(get(f"/?{token}", method=b"POST"), end=False)
    client.upload(stream, body)
    client.check(stream, token, body)
    client.check(client.ask(get(f"/?{token}2")), f"{token}2")
    client.finish()


def http2_large(client: Http2Client, token: str) -> None:
    answer = client.request("/send?size=300000&parts=5")
    if answer.reset is None and answer.status == 200:
        assert answer.body == pattern(300_000)
    else:
        client.check_failed(answer)
    client.finish()


def http2_failing(client: Http2Client, token: str) -> None:
    for when in FAILING:
        client.check_failed(client.request(f"/fail?when={when}"))
    client.finish()


def http2_file(client: Http2Client, token: str) -> None:
    client.check_file(client.ask(get("/files/big.bin")))
    client.finish()


def http2_file_cancelled(client: Http2Client, token: str) -> None:
    stream = client.ask(get("/files/big.bin"))
    answer = client.client.answers[stream]
    client.until(lambda: bool(answer.body) or answer.ended or answer.reset is not None)
    if answer.fields and answer.status == 200 and answer.reset is None:
        client.client.h2.reset_stream(stream)
    client.check(client.ask(get(f"/?{token}")), token)
    client.finish()


def http2_broken_off(client: Http2Client, token: str) -> None:
    client.ask(get("/files/big.bin"))
    client.ask(get(f"/?{token}", (b"content-length", b"1000000"), method=b"POST"), b"z" * 3000, end=False)
    client.receive()
    client.socket.close()  # with unread data: by RST


# WebSockets.


def websocket(connection: Connection, token: str) -> None:
    connection.send(handshake(f"/echo?token={token}"))
    head = connection.read_head()
    if head.status != 101:
        assert head.status in LIMITS, head.status
        connection.read_to_end()
        return
    for opcode, message in ((TEXT, token.encode()), (BINARY, b"m" * 100_000)):
        connection.send(frame(opcode, message))
        found, payload = _read_frame(connection)
        if found == CLOSE:
            assert payload[:2] == (1011).to_bytes(2), payload
            break
        assert (found, payload) == (opcode, message), "another's message"
    else:
        connection.send(frame(CLOSE, (1000).to_bytes(2)))
        found, payload = _read_frame(connection)
        assert found == CLOSE, found
        assert payload[:2] in ((1000).to_bytes(2), (1011).to_bytes(2)), payload
    finish(connection)


def websocket_left(connection: Connection, token: str) -> None:
    """By an application that returns."""
    _be_left(connection, f"/leave?token={token}")


def websocket_failing(connection: Connection, token: str) -> None:
    _be_left(connection, "/fail?when=accepted")


def _be_left(connection: Connection, target: str) -> None:
    connection.send(handshake(target))
    head = connection.read_head()
    if head.status == 101:
        while _read_frame(connection)[0] != CLOSE:
            pass
        connection.send_if_possible(frame(CLOSE, (1000).to_bytes(2)))
    else:
        assert head.status in LIMITS, head.status
    connection.read_to_end()


def websocket_broken_off(connection: Connection, token: str) -> None:
    connection.send(handshake(f"/echo?token={token}"))
    if connection.read_head().status == 101:
        connection.send(frame(TEXT, b"a" * 1000) + frame(BINARY, b"b" * 10)[:9])
    connection.reset()


def _read_frame(connection: Connection) -> tuple[int, bytes]:
    head = _read(connection, 2)
    length = head[1] & 0x7F
    if length >= 126:
        length = int.from_bytes(_read(connection, 2 if length == 126 else 8))
    return head[0] & 0x0F, _read(connection, length)


def _read(connection: Connection, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.read_some(count - len(data))
        if not more:
            raise Truncated("a frame", data)
        data += more
    return data


def websocket_over_http2(client: Http2Client, token: str) -> None:
    opened = StreamSocket(client, f"/echo?token={token}")
    if _is_open(opened):
        for opcode, message in ((TEXT, token.encode()), (BINARY, b"m" * 100_000)):
            if not _send(opened, frame(opcode, message)):
                break
            found = _next(opened)
            if found is None or found[0] == CLOSE:
                assert found is None or found[1][:2] == (1011).to_bytes(2), found
                _send(opened, frame(CLOSE, (1011).to_bytes(2)))
                break
            assert found == (opcode, message), "another's message"
        else:
            if _send(opened, frame(CLOSE, (1000).to_bytes(2))):
                client.answer(opened.stream)
    client.check(client.ask(get(f"/?{token}")), token)
    client.finish()


def websocket_over_http2_left(client: Http2Client, token: str) -> None:
    _be_left_over_http2(client, f"/leave?token={token}", token)


def websocket_over_http2_failing(client: Http2Client, token: str) -> None:
    _be_left_over_http2(client, "/fail?when=accepted", token)


def _be_left_over_http2(client: Http2Client, target: str, token: str) -> None:
    opened = StreamSocket(client, target)
    if _is_open(opened):
        while (found := _next(opened)) is not None and found[0] != CLOSE:
            pass
        if found is not None and _send(opened, frame(CLOSE, (1000).to_bytes(2))):
            client.answer(opened.stream)
    client.check(client.ask(get(f"/?{token}")), token)
    client.finish()


def websocket_over_http2_broken_off(client: Http2Client, token: str) -> None:
    opened = StreamSocket(client, f"/echo?token={token}")
    if _is_open(opened) and _send(opened, frame(TEXT, b"a" * 1000)):
        client.client.h2.reset_stream(opened.stream)
    client.check(client.ask(get(f"/?{token}")), token)
    client.socket.close()


def _is_open(opened: StreamSocket) -> bool:
    if opened.answer.reset is not None:
        return False
    assert opened.answer.status in (200, *LIMITS), opened.answer.status
    return opened.answer.status == 200


def _send(opened: StreamSocket, data: bytes) -> bool:
    """Whether the stream is still open."""
    answer, client = opened.answer, opened.connection
    while data and not answer.ended and answer.reset is None:
        data = client.client.send_body(opened.stream, data, end=False)
        client.flush()
        if data:
            client.receive()
    return not data


def _next(opened: StreamSocket) -> tuple[int, bytes] | None:
    """The next frame; None at the end of the stream."""
    answer = opened.answer
    opened.connection.until(lambda: opened.has_frame() or answer.ended or answer.reset is not None)
    return opened.read() if opened.has_frame() else None


# All of them.


def _plain(visit: Callable[[Connection, str], None]) -> Visit:
    def pay(doors: Doors, token: str, timeout_s: float) -> None:
        with Connection(doors.plain, timeout_s=timeout_s, receive_buffer=16384) as connection:
            visit(connection, token)

    return pay


def _over_tls(visit: Callable[[Connection, str], None]) -> Visit:
    def pay(doors: Doors, token: str, timeout_s: float) -> None:
        context = doors.authority.client_context()
        with _OverTls(doors.tls, context, timeout_s=timeout_s, receive_buffer=16384) as connection:
            visit(connection, token)

    return pay


def _over_http2(visit: Callable[[Http2Client, str], None], tls: bool = False) -> Visit:
    def pay(doors: Doors, token: str, timeout_s: float) -> None:
        address = doors.tls if tls else doors.plain
        with Http2Client(address, doors.authority.client_context() if tls else None, timeout_s) as client:
            visit(client, token)

    return pay


def _named(how: Callable[[Any], Visit], *visits: Callable[[Any, str], None]) -> dict[str, Visit]:
    return {visit.__name__: how(visit) for visit in visits}


HTTP1 = _named(_plain, kept_alive, pipelined, upload, upload_in_chunks, large, file, failing, broken_off, malformed)
HTTP2 = _named(
    _over_http2,
    *(http2_requests, http2_upload, http2_large, http2_file, http2_file_cancelled, http2_failing, http2_broken_off),
)
TLS = {
    **{f"tls_{name}": visit for name, visit in _named(_over_tls, kept_alive, upload, file).items()},
    "tls_http2": _over_http2(http2_requests, tls=True),
    "tls_http2_file": _over_http2(http2_file, tls=True),
}
WEBSOCKETS = {
    **_named(_plain, websocket, websocket_left, websocket_failing, websocket_broken_off),
    **_named(
        _over_http2,
        *(websocket_over_http2, websocket_over_http2_left, websocket_over_http2_failing),
        websocket_over_http2_broken_off,
    ),
}
