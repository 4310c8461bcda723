"""Clients that speak HTTP/2: one without sockets for a session, one over a socket, and frames made by hand."""

import os
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import h2.events
from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.exceptions import StreamClosedError
from h2.settings import SettingCodes

from septet.exchange import Want
from septet.protocol import EITHER, READ, RUN, TURN, WRITE
from septet.rules import Rules
from septet.session._http2_exchange import Http2Exchange
from septet.session.http2 import Http2Session
from support.client import Address
from support.waiting import PATIENCE_S

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8

Fields = list[tuple[bytes, bytes]]


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def frames_of(data: bytes) -> list[tuple[int, bytes]]:
    """The type and the payload of each frame."""
    found = []
    while data:
        length = int.from_bytes(data[:3])
        found.append((data[3], data[9 : 9 + length]))
        data = data[9 + length :]
    return found


def get(path: str = "/", *fields: tuple[bytes, bytes], method: bytes = b"GET") -> Fields:
    return [
        (b":method", method),
        (b":scheme", b"http"),
        (b":authority", b"septet.test"),
        (b":path", path.encode()),
        *fields,
    ]


def block(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A header block that needs no table."""
    return b"".join(b"\x00" + _number(len(name), 7) + name + _number(len(value), 7) + value for name, value in fields)


def _number(number: int, bits: int) -> bytes:
    most = (1 << bits) - 1
    if number < most:
        return bytes([number])
    out, number = bytearray([most]), number - most
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def head(
    stream: int, fields: Iterable[tuple[bytes, bytes]] | None = None, flags: int = END_HEADERS | END_STREAM
) -> bytes:
    return frame(HEADERS, flags, stream, block(get() if fields is None else fields))


class LastingConnection(H2Connection):
    """The library takes GOAWAY for the end; answers come after it all the same (RFC 9113 section 6.8)."""

    def _receive_goaway_frame(self, frame: Any) -> Any:
        found = super()._receive_goaway_frame(frame)
        self.state_machine.state = ConnectionState.CLIENT_OPEN
        return found


@dataclass
class Answer:
    """What has come on one stream."""

    fields: dict[bytes, bytes] = field(default_factory=dict)
    interim: list[dict[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    trailers: dict[bytes, bytes] | None = None
    ended: bool = False
    reset: int | None = None

    @property
    def status(self) -> int:
        return int(self.fields[b":status"])


class Client:
    """The client's side of a connection, without a socket: answers by stream, in `answers`."""

    def __init__(self, window: int = 65535, reads: bool = True) -> None:
        config = H2Configuration(
            client_side=True, header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self.h2 = LastingConnection(config)
        self.answers: dict[int, Answer] = {}
        self.events: list[h2.events.Event] = []
        self.went_away: h2.events.ConnectionTerminated | None = None
        self.next_stream = 1
        self.reads = reads
        """Content is acknowledged as it comes."""
        self.h2.initiate_connection()
        if window != 65535:
            self.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})

    def ask(self, fields: Fields, body: bytes | None = None, end: bool = True) -> int:
        stream, self.next_stream = self.next_stream, self.next_stream + 2
        self.answers[stream] = Answer()
        self.h2.send_headers(stream, fields, end_stream=end and body is None)
        if body is not None:
            self.send_body(stream, body, end)
        return stream

    def send_body(self, stream: int, body: bytes, end: bool = True) -> bytes:
        """Send what the window permits; gives the rest."""
        while body:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(body))
            if room <= 0:
                return body
            part, body = body[:room], body[room:]
            self.h2.send_data(stream, part, end_stream=end and not body)
        return b""

    def take(self, data: bytes) -> None:
        for event in self.h2.receive_data(data):
            self.events.append(event)
            stream = getattr(event, "stream_id", None)
            answer = self.answers.setdefault(stream, Answer()) if stream else Answer()
            if isinstance(event, h2.events.ResponseReceived):
                answer.fields = dict(event.headers or ())  # type: ignore[arg-type]
            elif isinstance(event, h2.events.InformationalResponseReceived):
                answer.interim.append(dict(event.headers or ()))  # type: ignore[arg-type]
            elif isinstance(event, h2.events.TrailersReceived):
                answer.trailers = dict(event.headers or ())  # type: ignore[arg-type]
            elif isinstance(event, h2.events.DataReceived):
                answer.body += event.data or b""
                if self.reads and event.flow_controlled_length:
                    try:
                        self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id or 0)
                    except StreamClosedError:
                        pass
            elif isinstance(event, h2.events.StreamEnded):
                answer.ended = True
            elif isinstance(event, h2.events.StreamReset):
                answer.reset = int(event.error_code or 0)
            elif isinstance(event, h2.events.ConnectionTerminated):
                self.went_away = event


class Peer:
    """A session with a client, carried by hand. concurrent: as under a loop; else one exchange after the other.

    `due` has the exchanges whose turn has come, in order; the test answers them.
    """

    def __init__(self, rules: Rules | None = None, concurrent: bool = True, client: Client | None = None) -> None:
        rules = rules or Rules(concurrent=concurrent)
        self.session = Http2Session(rules, ("192.0.2.1", 50000), ("192.0.2.2", 80), "192.0.2.1", "http", lambda: None)
        self.client = client or Client()
        self.due: list[Http2Exchange] = []
        self.said = b""
        """All that the server has sent."""
        self.now = 0.0
        self.exchange_data()

    def exchange_data(self) -> Want:
        """Move bytes in both directions until nothing moves any more."""
        while True:
            data = self.client.h2.data_to_send()
            if data:
                self.receive(data)
            want = self.send()
            if not self.client.h2._data_to_send:
                return want

    def receive(self, data: bytes, step: int = 0) -> Want:
        step = step or len(data) or 1
        want = READ
        for begin in range(0, len(data) or 1, step):
            want = self._take_turns(self.session.receive(data[begin : begin + step]))
        return want

    def _take_turns(self, want: Want) -> Want:
        while want is TURN:
            exchange = self.session.take_turn()
            if exchange not in self.due:
                self.due.append(exchange)
            want = self.session.phase.want
        return want

    def send(self, told: bool = True) -> Want:
        """Have the session send all that it has; the client is told."""
        session = self.session
        want = self._take_turns(session.phase.want)
        while want is EITHER or want is WRITE:
            if session.file is not None and not session.output:
                region = session.file
                want = session.read_file(os.pread(region.descriptor, region.count, region.offset))
            else:
                data = bytes(session.output)
                self.said += data
                want = session.wrote(len(data))
                if told and data:
                    self.client.take(data)
            want = self._take_turns(want)
        if want is RUN and session.exchange not in self.due:
            self.due.append(session.exchange)
        return want

    def ask(self, *arguments: Any, **keywords: Any) -> int:
        stream = self.client.ask(*arguments, **keywords)
        self.exchange_data()
        return stream

    def __getitem__(self, stream: int) -> Answer:
        return self.client.answers[stream]

    def pass_time(self, seconds: float, step: float = 0.5) -> None:
        """Let time pass as carriers see it: they ask for the deadline now and then, and expire what is late."""
        end = self.now + seconds
        while self.now < end:
            due = self.session.deadline(self.now)
            if due is not None and due <= self.now:
                self.session.expire()
                self.exchange_data()
            self.now += step
        due = self.session.deadline(self.now)
        if due is not None and due <= self.now:
            self.session.expire()
        self.exchange_data()


class Connection:
    """A client over a socket. context: speak TLS, and choose h2 by ALPN. sock: one that is connected already."""

    def __init__(
        self,
        address: Address,
        context: ssl.SSLContext | None = None,
        client: Client | None = None,
        sock: socket.socket | None = None,
    ) -> None:
        assert isinstance(address, tuple)
        sock = sock or socket.create_connection(address, timeout=PATIENCE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            context.set_alpn_protocols(["h2", "http/1.1"])
            sock = context.wrap_socket(sock, server_hostname="localhost")
            assert sock.selected_alpn_protocol() == "h2"
        self.socket = sock
        self.client = client or Client()
        self.ended = False
        self.flush()

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def flush(self) -> None:
        data = self.client.h2.data_to_send()
        if data:
            self.socket.sendall(data)

    def send_raw(self, data: bytes) -> None:
        self.flush()
        self.socket.sendall(data)

    def receive(self) -> bool:
        """Take what comes next. False at the end of the stream, or if the connection is cut."""
        try:
            data = self.socket.recv(65536)
        except (ConnectionError, ssl.SSLError):
            data = b""
        if not data:
            self.ended = True
            return False
        self.client.take(data)
        try:
            self.flush()
        except (ConnectionError, ssl.SSLError):
            pass
        return True

    def until(self, condition: Callable[[], bool]) -> None:
        end = monotonic() + PATIENCE_S
        while not condition():
            assert monotonic() < end, "it did not happen in time"
            assert self.receive(), "the connection has ended"

    def ask(self, fields: Fields, body: bytes | None = None, end: bool = True) -> int:
        stream = self.client.ask(fields, None, end and body is None)
        while body:
            body = self.client.send_body(stream, body, end)
            self.flush()
            if body:
                assert self.receive(), "the connection has ended"
        self.flush()
        return stream

    def answer(self, stream: int) -> Answer:
        """The whole answer on a stream, or its reset."""
        answer = self.client.answers[stream]
        self.until(lambda: answer.ended or answer.reset is not None)
        return answer

    def request(
        self, path: str = "/", *fields: tuple[bytes, bytes], method: bytes = b"GET", body: bytes | None = None
    ) -> Answer:
        return self.answer(self.ask(get(path, *fields, method=method), body))

    def read_to_end(self) -> None:
        while self.receive():
            pass


def events_of(client: Client, kind: type[Any]) -> Iterator[Any]:
    return (event for event in client.events if isinstance(event, kind))
