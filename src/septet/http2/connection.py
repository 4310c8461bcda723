"""One client's connection in HTTP/2, over `h2.connection.H2Connection`: its settings, and where it differs from the
library.

- A client that sends GOAWAY still wants the answers to what it has asked (RFC 9113 section 6.8). The library takes that
  for the end of the connection; here it is only reported.
- A GOAWAY of ours does not change the states in the library, so that streams can still be answered. So the frame is
  made here.
- A client may open more streams than we allow before it has read our SETTINGS. Up to MOST_STREAMS it can be refused
  stream by stream, so that only those requests are sent again; more end the connection.
- A reset of a stream that was never opened breaks the protocol. So does content on a stream that the client itself has
  ended, if the answer has ended, too.
- A request that is malformed, such as one with content of another length than its head says, ends its stream alone
  (section 8.1.1).
- A frame that is too long ends the connection when its length has come, and a header block when it has grown too long:
  the library buffers all of both first. Unknown settings are dropped; the library keeps them.
- Input is handled in pieces of PIECE_BYTES, so that the caller can count frames before there are too many of them.
- The library knows the states of all streams at the end of a piece, and the caller learns of them event by event. What
  is sent on a stream that has been reset meanwhile is dropped: the event that reports the reset comes next.
- Few of the streams that are closed are remembered (CLOSED_STREAMS), so that a long connection does not grow.
"""

from collections.abc import Iterator
from typing import Any

from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, Event
from h2.exceptions import (
    DenialOfServiceError,
    FrameTooLargeError,
    InvalidBodyLengthError,
    ProtocolError,
    StreamClosedError,
)
from h2.settings import SettingCodes, Settings
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, RstStreamFrame, SettingsFrame

from septet.exchange import Fields
from septet.http2.compression import RememberingDecoder, RememberingEncoder

STREAMS = 100
"""SETTINGS_MAX_CONCURRENT_STREAMS: requests that a client may have open at the same time, as in Apache and hypercorn
(nginx: 128)."""

MOST_STREAMS = 1000
"""Number of open streams at which the connection is ended; fewer, but more than STREAMS, are refused one by one."""

STREAM_WINDOW = 65535
"""Bytes of a request's body that may wait for the application: the window with which every stream begins."""

WINDOW = 1 << 20
"""Bytes that a client may send on all streams together before it receives a WINDOW_UPDATE. The connection's window is
opened again as soon as content has come, so that a body that nobody reads does not hold up other streams; the streams'
own windows bound the memory.
"""

CREDIT_BYTES = 32768
"""Least number of bytes by which a flow-control window is opened again, because each WINDOW_UPDATE costs 13 bytes and
some work. So a stream's window is opened when half of it is used up.
"""

PIECE_BYTES = 8192
CLOSED_STREAMS = 256
FRAME_HEAD = 9
"""Bytes of the header of every frame, before its content."""
LAST_STREAM = 2**31 - 1

NO_RFC7540_PRIORITIES = 9
"""SETTINGS_NO_RFC7540_PRIORITIES (RFC 9218 section 2.1): the old scheme of priorities is ignored."""

CANCEL = ErrorCodes.CANCEL
CALM = ErrorCodes.ENHANCE_YOUR_CALM
INTERNAL = ErrorCodes.INTERNAL_ERROR
NO_ERROR = ErrorCodes.NO_ERROR
PROTOCOL = ErrorCodes.PROTOCOL_ERROR
REFUSED = ErrorCodes.REFUSED_STREAM

CLOSED = ConnectionState.CLOSED


class BrokenError(Exception):
    """The client has broken the protocol, and the connection is over. A GOAWAY that says so is in the bytes that
    `Http2Connection.take_output` returns next.
    """


class UselessFrame(Event):
    """An event that `Http2Connection.receive` yields for a frame that changes nothing, such as content for a stream
    that has ended. The session counts these: a client that sends too many is disconnected.
    """


_USELESS = UselessFrame()


class MalformedStream(Event):
    """An event that `Http2Connection.receive` yields for a malformed request, whose stream has been reset (RFC 9113
    section 8.1.1). `why` says in words what is wrong with the request.
    """

    def __init__(self, stream_id: int, why: str) -> None:
        self.stream_id, self.why = stream_id, why


_SETTINGS = frozenset(SettingCodes)


class _Connection(H2Connection):
    MAX_CLOSED_STREAMS = CLOSED_STREAMS

    longest_block = 0
    """Most bytes of a compressed header block that comes in several frames; a longer one ends the connection."""

    def receive_data(self, data: Any) -> list[Event]:
        events = super().receive_data(data)
        waiting, block = self.incoming_buffer._data, self.incoming_buffer._headers_buffer
        too_much: ProtocolError | None = None
        if len(waiting) >= FRAME_HEAD and int.from_bytes(waiting[:3]) > self.max_inbound_frame_size:
            too_much = FrameTooLargeError("a frame is longer than was allowed")
        elif block and sum(len(frame.data) for frame in block) > self.longest_block:
            too_much = DenialOfServiceError("a header block is too long")
        if too_much is not None:
            self._terminate_connection(too_much.error_code)
            raise too_much
        return events

    def _receive_frame(self, frame: Frame) -> list[Event]:
        if isinstance(frame, RstStreamFrame) and frame.stream_id > self.highest_inbound_stream_id:
            raise ProtocolError("a stream was reset that was never opened")  # RFC 9113 section 6.4
        return super()._receive_frame(frame) or [_USELESS]

    def _receive_settings_frame(self, frame: SettingsFrame) -> tuple[list[Any], list[Event]]:
        frame.settings = {number: value for number, value in frame.settings.items() if number in _SETTINGS}
        return super()._receive_settings_frame(frame)

    def _receive_headers_frame(self, frame: HeadersFrame) -> tuple[list[Any], list[Event]]:
        stream = self.streams.get(frame.stream_id)
        expected = None if stream is None else stream._expected_content_length
        try:
            found = super()._receive_headers_frame(frame)
        except ProtocolError as error:
            stream = self.streams.get(frame.stream_id)
            if (
                type(error) is not ProtocolError
                or stream is None
                or self.state_machine.state is CLOSED
                or stream.closed
            ):
                raise  # its block, its state or its number are wrong: an error of the connection
            return self._malformed(frame.stream_id, str(error))
        if stream is not None and expected not in (None, stream._actual_content_length):  # trailers came too early
            return self._malformed(frame.stream_id, "the content is shorter than its content-length")
        return found

    def _receive_data_frame(self, frame: DataFrame) -> tuple[list[Any], list[Event]]:
        try:
            return super()._receive_data_frame(frame)
        except InvalidBodyLengthError as error:
            frames, events = self._malformed(frame.stream_id, str(error))
            size = frame.flow_controlled_length
            return frames, [DataReceived(stream_id=frame.stream_id, data=b"", flow_controlled_length=size), *events]

    def _malformed(self, stream_id: int, why: str) -> tuple[list[Any], list[Event]]:
        try:
            self.reset_stream(stream_id, PROTOCOL)
        except StreamClosedError:  # both sides had ended
            pass
        return [], [MalformedStream(stream_id, why)]

    def _handle_data_on_closed_stream(
        self, events: list[Event], exc: StreamClosedError, frame: DataFrame
    ) -> tuple[list[Any], list[Event]]:
        if self._stream_is_closed_by_end(frame.stream_id):
            raise exc
        return super()._handle_data_on_closed_stream(events, exc, frame)

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Any], list[Event]]:
        event = ConnectionTerminated()
        event.error_code = frame.error_code
        return [], [event]


class Http2Connection:
    """One client's connection.

    `header_list`: most bytes of fields in a request, counted as for SETTINGS_MAX_HEADER_LIST_SIZE; twice as many end
    the connection. `tunnels`: True to offer extended CONNECT (RFC 8441).
    """

    __slots__ = ("_credit", "_h2", "_ours", "_stream_credit", "over")

    def __init__(self, header_list: int, tunnels: bool) -> None:
        self._h2 = connection = _Connection(
            H2Configuration(
                client_side=False,
                header_encoding=None,
                validate_inbound_headers=False,  # `requests` does
                normalize_inbound_headers=False,
                validate_outbound_headers=False,  # `http.head` has
                normalize_outbound_headers=False,
            )
        )
        settings: dict[Any, int] = {
            SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS,
            SettingCodes.MAX_HEADER_LIST_SIZE: header_list,
            SettingCodes.ENABLE_PUSH: 0,
            NO_RFC7540_PRIORITIES: 1,
        }
        if tunnels:
            settings[SettingCodes.ENABLE_CONNECT_PROTOCOL] = 1
        connection.local_settings = Settings(client=False, initial_values=settings)
        connection.initiate_connection()
        connection.local_settings = Settings(
            client=False, initial_values=settings | {SettingCodes.MAX_CONCURRENT_STREAMS: MOST_STREAMS}
        )
        connection.longest_block = 2 * header_list
        connection.decoder = RememberingDecoder(2 * header_list)
        connection.encoder = RememberingEncoder()
        connection.increment_flow_control_window(WINDOW - STREAM_WINDOW)
        self._ours: list[bytes] = []
        """Frames to be sent, in order: those that this class has made, and those that the library had made before them.
        Frames that the library has made since are still in its own buffer.
        """
        self._credit = 0
        """Bytes of content, padding included, received since the connection's window was last opened. When they are
        CREDIT_BYTES or more, the window is opened again by their number.
        """
        self._stream_credit: dict[int, int] = {}
        self.over = False

    def receive(self, data: bytes) -> Iterator[Event]:
        """Yield the events in the bytes from the client. Raises BrokenError."""
        h2 = self._h2
        for begin in range(0, len(data), PIECE_BYTES):
            if self.over:
                return
            try:
                events = h2.receive_data(data[begin : begin + PIECE_BYTES])
            except ProtocolError as error:
                self.over = True
                raise BrokenError(str(error) or type(error).__name__) from None
            yield from events

    @property
    def expects_preface(self) -> bool:
        """True until the client's first bytes (RFC 9113 section 3.4) have all come."""
        return bool(self._h2.incoming_buffer._preamble_len)

    @property
    def in_head(self) -> bool:
        """True if a header block has begun and its last frame has not come."""
        return bool(self._h2.incoming_buffer._headers_buffer)

    @property
    def highest_stream(self) -> int:
        return self._h2.highest_inbound_stream_id

    # What is sent

    def take_output(self) -> bytes:
        """Remove and return the bytes that are to be sent.

        Nothing is called between their removal and what the caller does with them: an exception of another thread or a
        signal handler, which comes in a call, loses none.
        """
        output = self._h2.data_to_send()
        if self._ours:
            self._ours.append(output)
            output, self._ours = b"".join(self._ours), []
        return output

    def window(self, stream: int) -> int:
        """Return how many bytes of content the client's windows permit on a stream now. If not positive, sending must
        wait.
        """
        try:
            return self._h2.local_flow_control_window(stream)
        except StreamClosedError:
            return 0

    def send_head(self, stream: int, fields: Fields, last: bool) -> None:
        """Send the fields of a head, or trailers. `last`: the stream ends with them."""
        try:
            self._h2.send_headers(stream, fields, last)
        except StreamClosedError:
            pass

    def send_content(self, stream: int, data: bytes | memoryview, last: bool) -> None:
        """Send content, no more than `window` permits, in as many frames as needed. `last`: the stream ends.

        All frames but the last are made here, because they change nothing but the windows. A frame of 16 KiB takes 4 us
        in this way and 22 us in the library.
        """
        h2 = self._h2
        most, count = h2.max_outbound_frame_size, len(data)
        begin = 0
        try:
            if count > most or not last:
                state = h2.streams[stream]
                if state.closed:
                    return
                self._ours.append(h2.data_to_send())
                while begin < count and not (last and count - begin <= most):
                    size = min(most, count - begin)
                    self._ours += size.to_bytes(3) + b"\0\0" + stream.to_bytes(4), bytes(data[begin : begin + size])
                    begin += size
                state.outbound_flow_control_window -= begin
                h2.outbound_flow_control_window -= begin
            if last:
                h2.send_data(stream, bytes(data[begin:]), True)
        except (StreamClosedError, KeyError):
            pass

    def reset(self, stream: int, code: ErrorCodes) -> None:
        """End a stream, without an answer or in the middle of one. Nothing happens if it is closed already."""
        try:
            self._h2.reset_stream(stream, code)
        except ProtocolError:
            pass

    def took(self, count: int) -> None:
        """Count `count` bytes of content, padding included, that have come on the connection; open the connection's
        window by CREDIT_BYTES or more when as many have come.
        """
        self._credit += count
        if self._credit >= CREDIT_BYTES:
            self._h2.increment_flow_control_window(self._credit)
            self._credit = 0

    def used(self, stream: int, count: int) -> None:
        """Count `count` bytes of a stream's content that need no longer be kept, so that the client may send as many
        more; open the stream's window when there are CREDIT_BYTES of them.
        """
        credit = self._stream_credit.get(stream, 0) + count
        if credit >= CREDIT_BYTES:
            self._stream_credit.pop(stream, None)
            try:
                self._h2.increment_flow_control_window(credit, stream)
            except (ProtocolError, KeyError):  # the stream has ended, and the library may have forgotten it
                pass
        else:
            self._stream_credit[stream] = credit

    def forget(self, stream: int) -> None:
        """Drop the number of bytes that `used` has counted for a stream. Called when the stream has ended."""
        self._stream_credit.pop(stream, None)

    def go_away(self, last_stream: int, code: ErrorCodes = NO_ERROR, why: bytes = b"") -> None:
        """Send GOAWAY with the error `code`: the client must open no more streams. Those up to number `last_stream` are
        still answered. `why`: text for the client's developers.
        """
        frame = GoAwayFrame(0, last_stream_id=last_stream, error_code=int(code), additional_data=why)
        ours = frame.serialize()  # first: an exception that came in this call would lose what the library has given
        self._ours += self._h2.data_to_send(), ours

    def ping(self, data: bytes) -> None:
        self._h2.ping(data)
