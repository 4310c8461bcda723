"""One HTTP/2 connection of the load generator (RFC 9113), without I/O: requests go in, ends of streams come out.

Frames, states and windows are those of the library `h2`. What differs:

- An answer may come after GOAWAY (RFC 9113 section 6.8), which the library takes for the end.
- Content that is longer or shorter than its Content-Length is an error of its stream (section 8.1.1), not of the
  connection.
- Header blocks that have not changed are neither encoded nor decoded anew, which is most of the library's time.

The windows are Chromium's, so that a server has to do what it has to for a browser: wait where an answer is large.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import InvalidBodyLengthError, ProtocolError, TooManyStreamsError
from h2.settings import SettingCodes, Settings
from hpack import Decoder, Encoder
from hyperframe.frame import DataFrame, GoAwayFrame

from .answer import Malformed, StreamAnswer

STREAM_WINDOW = 6 << 20
"""Flow-control window of a stream: the bytes of an answer that the server may send before it has to wait for a
WINDOW_UPDATE from us.
"""
CONNECTION_WINDOW = 15 << 20
"""Flow-control window of a connection: the bytes of all its answers together that the server may send before it has to
wait for a WINDOW_UPDATE from us.
"""
FIRST_WINDOW = 65535
"""The flow-control window of a new connection, in bytes (RFC 9113 section 6.9.2)."""
KEPT = 64
"""Largest number of header blocks that a connection remembers in each direction, so that it need not encode or decode
them again.
"""
CLOSED_STREAMS = 512
"""Number of ended streams that a connection remembers: frames that come for them late, after we have cancelled a
stream, are then no error.
"""
SETTINGS = b"\x04"
UNPROCESSED = ErrorCodes.REFUSED_STREAM


class _Encoder(Encoder):
    """An HPACK encoder that remembers its results, and uses them again until its dynamic table changes."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[Any, bytes] = {}

    def encode(self, headers: Any, huffman: bool = True) -> bytes:
        fields = tuple(headers)
        if (block := self._known.get(fields)) is not None and not self.table_size_changes:
            return block
        before = _newest(self)
        block = super().encode(fields, huffman)
        _keep(self._known, fields, block, unchanged=_newest(self) is before and not _resizes(block))
        return block


class _Decoder(Decoder):
    """An HPACK decoder that remembers its results, and uses them again until its dynamic table changes."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[bytes, Any] = {}

    def decode(self, data: bytes, raw: bool = False) -> Iterable[Any]:
        if (fields := self._known.get(data)) is not None:
            return fields  # type: ignore[no-any-return]
        before = _newest(self)
        fields = tuple(super().decode(data, raw))
        _keep(self._known, bytes(data), fields, unchanged=_newest(self) is before and not _resizes(data))
        return fields


def _newest(coder: Encoder | Decoder) -> Any:
    """Return the newest entry of HPACK's dynamic table, or None. A caller compares the entries before and after an
    operation: if they differ, the operation has changed the table.
    """
    entries = coder.header_table.dynamic_entries
    return entries[0] if entries else None


def _resizes(block: bytes) -> bool:
    """True if a header block begins with a change of the size of HPACK's dynamic table (RFC 7541 section 6.3)."""
    return bool(block) and block[0] & 0xE0 == 0x20


def _keep(known: dict[Any, Any], key: Any, value: Any, unchanged: bool) -> None:
    if not unchanged or len(known) >= KEPT:
        known.clear()
    if unchanged:
        known[key] = value


class _WentAway(Event):
    """The event for a GOAWAY frame of the server: `last_stream` is the last stream that the server may have processed,
    `code` is the error code.
    """

    def __init__(self, last_stream: int, code: int) -> None:
        self.last_stream, self.code = last_stream, code


class _WrongLength(Event):
    """The event for an answer whose content is longer or shorter than its Content-Length says; its stream has been
    reset. `kind`: the kind of error that is counted.
    """

    def __init__(self, stream_id: int, kind: str) -> None:
        self.stream_id, self.kind = stream_id, kind


class _Connection(H2Connection):
    MAX_CLOSED_STREAMS = CLOSED_STREAMS

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Any], list[Event]]:
        return [], [_WentAway(frame.last_stream_id, frame.error_code)]

    def _receive_data_frame(self, frame: DataFrame) -> tuple[list[Any], list[Event]]:
        try:
            return super()._receive_data_frame(frame)
        except InvalidBodyLengthError as error:
            self.reset_stream(frame.stream_id, ErrorCodes.PROTOCOL_ERROR)
            short = error.actual_length < error.expected_length
            return [], [_WrongLength(frame.stream_id, "short body" if short else "malformed")]


class Outcome(NamedTuple):
    """How a stream ended: its number, what has come of its answer, and whether that is an error."""

    stream: int
    answer: StreamAnswer
    kind: str = ""
    """The kind of error; "" if the answer is complete."""
    unprocessed: bool = False
    """True if the server has said that it has not processed the request, so that any request may be sent again
    (RFC 9113 section 8.7)."""


class Http2Codec:
    """The HTTP/2 protocol on one connection, without I/O. `scheme` is that of the URL, http or https."""

    __slots__ = ("_bodies", "_credit", "_h2", "_next", "_scheme", "awaited", "begun", "gone_away", "heard_ns")

    def __init__(self, scheme: str) -> None:
        self._scheme = scheme.encode("ascii")
        self._h2 = connection = _Connection(
            H2Configuration(
                client_side=True,
                header_encoding=None,
                validate_outbound_headers=False,  # `requests` does
                normalize_outbound_headers=False,
                validate_inbound_headers=False,  # a load generator need not, and servers are many
            )
        )
        connection.local_settings = Settings(
            client=True,
            initial_values={SettingCodes.ENABLE_PUSH: 0, SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW},
        )
        connection.initiate_connection()
        connection.increment_flow_control_window(CONNECTION_WINDOW - FIRST_WINDOW)
        connection.encoder, connection.decoder = _Encoder(), _Decoder()
        self.awaited: dict[int, StreamAnswer] = {}
        """The answers to the requests that are under way, by the number of their stream."""
        self._bodies: dict[int, memoryview] = {}
        """The parts of requests' bodies that have not been sent yet, by the number of the stream."""
        self._credit = 0
        """Bytes of content, of all streams, for which no WINDOW_UPDATE of the connection has been sent yet."""
        self._next = 1
        self.begun = False
        """True once the SETTINGS frame has come with which a server must begin the connection (RFC 9113 section 3.4).
        """
        self.heard_ns = 0
        """The time at which the latest part of an answer came, in ns of the monotonic clock; 0 before the first part.
        """
        self.gone_away: str | None = None
        """The name of the error code in the server's GOAWAY frame; None if no such frame has come."""

    @property
    def limit(self) -> int:
        """The most streams that the server allows at the same time."""
        return self._h2.remote_settings.max_concurrent_streams

    def output(self) -> bytes:
        """Remove and return the bytes that are to be sent."""
        return self._h2.data_to_send()

    def ask(self, request: bytes, answer: StreamAnswer) -> int:
        """Send a request on a new stream, and return the number of the stream; 0 if the server allows no further stream
        now.

        Args:
            request: the bytes of the request as they would be in HTTP/1.1, without Transfer-Encoding.
            answer: the object that is filled with the answer when it comes.
        """
        head, _, body = request.partition(b"\r\n\r\n")
        stream = self._next
        try:
            self._h2.send_headers(stream, fields_of(head, self._scheme), end_stream=not body)
        except TooManyStreamsError:
            return 0
        self._next += 2
        self.awaited[stream] = answer
        if body:
            self._bodies[stream] = memoryview(body)
            self._send_body(stream)
        return stream

    def cancel(self, stream: int) -> None:
        """Give up a stream whose answer has not ended: its request counts as no longer under way, and the server is
        told to stop (RST_STREAM).
        """
        if self.awaited.pop(stream, None) is not None:
            self._reset(stream)

    def say_goodbye(self) -> None:
        """Tell the server that the connection ends (GOAWAY)."""
        self._h2.close_connection()

    def receive(self, data: bytes, now: int) -> Iterator[Outcome]:
        """Parse bytes from the server, which came at `now`, in ns of the monotonic clock; yield the outcome of each
        stream that ends with them. Raises Malformed for bytes that are not HTTP/2.
        """
        if not self.begun and data[3:4] not in (b"", SETTINGS):
            raise Malformed("the first frame is not SETTINGS")  # the library would wait for the end of a long frame
        try:
            events = self._h2.receive_data(data)
        except ProtocolError as error:
            raise Malformed(str(error)) from None
        for event in events:
            match event:
                case DataReceived():
                    self.heard_ns = now
                    self._take(event)
                case ResponseReceived():
                    self.heard_ns = now
                    yield from self._begin_answer(event, now)
                case StreamEnded():
                    yield from self._end(event.stream_id or 0)
                case WindowUpdated() | RemoteSettingsChanged():
                    self.begun = True
                    for stream in [*self._bodies]:
                        self._send_body(stream)
                case StreamReset():
                    kind, refused = f"stream reset: {_name(event.error_code)}", event.error_code == UNPROCESSED
                    yield from self._end(event.stream_id or 0, kind, refused)
                case _WrongLength():
                    yield from self._end(event.stream_id, event.kind)
                case _WentAway():
                    self.gone_away = _name(event.code)
                    for stream in [each for each in self.awaited if each > event.last_stream]:
                        yield from self._end(stream, f"GOAWAY: {self.gone_away}", unprocessed=True)

    def _begin_answer(self, event: ResponseReceived, now: int) -> Iterator[Outcome]:
        answer = self.awaited.get(event.stream_id or 0)
        if answer is None:
            return
        try:
            answer.begin(event.headers or (), now)
        except Malformed:
            self._reset(event.stream_id or 0)
            yield from self._end(event.stream_id or 0, "malformed")

    def _take(self, event: DataReceived) -> None:
        size = event.flow_controlled_length or 0
        self._credit += size
        if self._credit >= CONNECTION_WINDOW // 2:
            self._h2.increment_flow_control_window(self._credit)
            self._credit = 0
        stream = event.stream_id or 0
        answer = self.awaited.get(stream)
        if answer is None:
            return
        answer.take(event.data or b"")
        answer.uncredited += size
        if answer.uncredited >= STREAM_WINDOW // 2 and event.stream_ended is None:
            try:
                self._h2.increment_flow_control_window(answer.uncredited, stream)
            except ProtocolError:  # it was reset meanwhile
                pass
            answer.uncredited = 0

    def _end(self, stream: int, kind: str | None = None, unprocessed: bool = False) -> Iterator[Outcome]:
        """Yield the outcome of a stream that has ended, and forget the stream. `kind`: the kind of error; None if the
        server ended the stream normally, which is an error only if the answer is incomplete. `unprocessed`: True if the
        server has said that it has not processed the request.
        """
        answer = self.awaited.pop(stream, None)
        if answer is None:
            return
        if self._bodies.pop(stream, None) is not None and kind is None:
            self._reset(stream)  # it was answered before the request had been sent
        yield Outcome(stream, answer, answer.ending() if kind is None else kind, unprocessed)

    def _send_body(self, stream: int) -> None:
        """Send as much of a request's body as the flow-control windows permit. What remains is kept until the server
        opens the windows.
        """
        body = self._bodies.pop(stream, None)
        while body:
            try:
                room = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size, len(body))
                if room <= 0:
                    self._bodies[stream] = body
                    return
                part, body = bytes(body[:room]), body[room:]
                self._h2.send_data(stream, part, end_stream=not body)
            except ProtocolError:  # it was reset meanwhile: the next event says so
                return

    def _reset(self, stream: int) -> None:
        self._bodies.pop(stream, None)
        try:
            self._h2.reset_stream(stream, ErrorCodes.CANCEL)
        except ProtocolError:  # it has ended meanwhile
            pass


def _name(code: int | None) -> str:
    try:
        return ErrorCodes(code or 0).name
    except ValueError:
        return "unknown code"


@lru_cache(maxsize=4096)
def fields_of(head: bytes, scheme: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Return the fields that a request has in HTTP/2, pseudo-fields among them (RFC 9113 section 8.3.1). `head`: its
    head as in HTTP/1.1, without the final empty line. `scheme`: that of the URL, b"http" or b"https".
    """
    line, *lines = head.split(b"\r\n")
    method, path, _ = line.split(b" ")
    authority, fields = b"", []
    for each in lines:
        name, _, value = each.partition(b":")
        if name.lower() == b"host":
            authority = value.strip()
        else:
            fields.append((name.lower(), value.strip()))
    return ((b":method", method), (b":scheme", scheme), (b":authority", authority), (b":path", path), *fields)
