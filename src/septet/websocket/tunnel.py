"""The messages of one WebSocket, and the bytes of its connection (RFC 6455 sections 5 to 7).

A `Tunnel` adds limits to the frames, because clients may be hostile. The bytes of messages that wait for the
application are bounded: what comes after them is not parsed until the application has taken some. The fragments of a
message are joined as they come, and compressed bytes are expanded in small pieces.
"""

import logging
from collections import deque
from dataclasses import dataclass
from typing import Any

from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake
from websockets.exceptions import ProtocolError as InvalidFrame
from websockets.frames import Close, Frame, Opcode

from septet.websocket.deflate import Deflate, DeflateFactory
from septet.websocket.frames import Frames

_log = logging.getLogger("septet.websocket")
_log.setLevel(logging.WARNING)
"""The library logs each frame at DEBUG, which would cost more than the frame."""

Message = str | bytes

ABNORMAL = 1006
"""The close code for a connection that ended without a Close frame (RFC 6455 section 7.4.1); it is never sent."""
NORMAL, INTERNAL_ERROR, SERVICE_RESTART = 1000, 1011, 1012

QUEUE_BYTES = 65536
"""Bytes of messages that may wait for the application; when there are more, nothing more is parsed. The same number of
bytes of a request's body is read ahead of an application.
"""

MESSAGE_BYTES = 64
"""Bytes that are added to the length of each message when waiting messages are counted against QUEUE_BYTES: about the
memory of the object that holds the message.
"""

SLICE_BYTES = 4096
"""Compressed bytes that are expanded at once. Deflate expands at most by a factor of 1,032, to 4 MiB."""

_TEXT, _BINARY, _CONT = Opcode.TEXT, Opcode.BINARY, Opcode.CONT


@dataclass(slots=True, frozen=True, kw_only=True)
class TunnelOptions:
    """Options that all WebSockets of a server share."""

    max_message: int = 16 << 20
    """Most bytes of a client's message, after expansion."""
    deflate: bool = True
    """True: compress messages if the client offers it (RFC 7692)."""
    window_bits: int = 12
    mem_level: int = 5
    """zlib's memLevel. With a window of 12 bits and level 5 a connection needs at most 64 KiB for compression; with
    zlib's defaults it needs 316 KiB.
    """

    def extensions(self) -> list[DeflateFactory]:
        if not self.deflate:
            return []
        bits = self.window_bits
        return [
            DeflateFactory(
                server_max_window_bits=bits,
                client_max_window_bits=bits,
                compress_settings={"memLevel": self.mem_level},
            )
        ]


def _negotiate(protocol: Frames, values: tuple[str, ...]) -> str | None:
    """Have the protocol use the extensions that both sides know, such as compression. `values`: the client's fields
    Sec-WebSocket-Extensions. Returns the value of that field for the answer; None if no extension is used.
    """
    try:
        accepted, protocol.extensions = protocol.process_extensions(
            Headers([("Sec-WebSocket-Extensions", value) for value in values])
        )
    except InvalidHandshake:  # malformed in a way that `handshake` allows: the client gets no extension
        return None
    return accepted


class Tunnel:
    """The server's side of one open WebSocket. Not thread-safe."""

    __slots__ = (
        "_closed_behind",
        "_partial",
        "_slices",
        "_text",
        "accepted_extensions",
        "behind",
        "close_begun",
        "closed",
        "frames",
        "message",
        "messages",
        "queued",
        "unparsed",
    )

    def __init__(self, options: TunnelOptions, offered_extensions: tuple[str, ...]) -> None:
        protocol = Frames(
            extensions=options.extensions() if offered_extensions else None,
            max_size=options.max_message,
            logger=_log,
        )
        self.frames = protocol
        self.message = protocol.message
        """A function that returns the bytes of a frame with a whole message, which is given as str or bytes."""
        self.accepted_extensions = _negotiate(protocol, offered_extensions) if offered_extensions else None
        self._slices = bool(protocol.extensions)
        self._partial: bytearray | None = None
        """What has come of a message whose last fragment has not; None if there is no such message."""
        self._text = False
        """True if the message in `_partial` is text, False if it is binary."""
        self.messages: deque[Message] = deque()
        """Whole messages that the application has not taken."""
        self.queued = 0
        """Size of `messages`: the length of each (characters of text, bytes of binary data), and MESSAGE_BYTES for
        each.
        """
        self.unparsed = bytearray()
        """Bytes received that are not parsed yet, because too many messages wait for the application, or more frames
        came at once than are parsed at a time.
        """
        self.behind = False
        """True if more than FRAMES_AT_ONCE frames came at once: the remaining ones are in `unparsed`, and `parse` must
        be called after other clients have been served, whether the application takes messages or not.
        """
        self.closed: tuple[int, str] | None = None
        """The code and reason with which the application is told that the WebSocket has ended; None while it is
        open.
        """
        self.close_begun = False
        """True if this side was the first to send a Close frame."""
        self._closed_behind: tuple[int, str] | None = None
        """The value that `closed` gets when the application has taken the messages that came before the client's Close
        frame, or before its error. The application may want to answer those messages, so our Close frame is held back
        until then. None if no end is waiting.
        """

    # In

    def receive(self, data: bytes) -> None:
        """Parse bytes from the client. Afterwards `take` may return messages, and `output` may return bytes to send."""
        if not self._slices and self.queued <= QUEUE_BYTES and not self.unparsed:  # the usual case
            self._feed(data)
            return
        self.unparsed += data
        self.parse()

    @property
    def unread(self) -> int:
        """Bytes that were received and not taken by the application: waiting messages, and bytes that are not parsed
        yet.
        """
        return self.queued + len(self.unparsed)

    def take(self) -> Message | None:
        """Return the next message for the application; None if there is none."""
        if not self.messages:
            if self._closed_behind is not None:
                self._close_now()
            return None
        message = self.messages.popleft()
        self.queued -= len(message) + MESSAGE_BYTES
        if self.unparsed and not self.behind:
            self.parse()
        return message

    def drop(self) -> None:
        """Discard all messages that wait, and parse what is in `unparsed` for Close frames and pings: the application
        takes no more messages. To be called again after more has come.
        """
        self.messages.clear()
        self.queued = 0
        self.parse()
        while self.behind:
            self.messages.clear()
            self.queued = 0
            self.parse()
        if self._closed_behind is not None:
            self._close_now()

    def _close_now(self) -> None:
        self.closed, self._closed_behind = self._closed_behind, None

    def end(self) -> None:
        """Called when the client's stream has ended. Without a Close frame before it, the close code is 1006."""
        if self.closed is None:
            self.closed = self._closed_behind or (ABNORMAL, "")
        self._closed_behind = None

    def dispose(self) -> None:
        """Free the parser when the connection is over: it refers to itself, so it would be freed only by the garbage
        collector.
        """
        self.unparsed.clear()
        self.frames.parser.close()

    def parse(self) -> None:
        """Parse the bytes in `unparsed`, until more than QUEUE_BYTES of messages wait or `behind` is set."""
        size = SLICE_BYTES if self._slices else QUEUE_BYTES
        self.behind = False
        while self.unparsed and self.queued <= QUEUE_BYTES and not self.behind:
            data = bytes(self.unparsed[:size])
            del self.unparsed[:size]
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        protocol = self.frames
        if protocol.eof_sent:
            return
        whole: list[Message] = []
        taken = protocol.take_whole(data, whole)
        if whole and self.closed is None:
            self.messages += whole
            for message in whole:
                self.queued += len(message) + MESSAGE_BYTES
        if taken == len(data):
            return
        rest = protocol.parse_some(data[taken:] if taken else data)
        if rest:
            self.unparsed[:0] = rest
            self.behind = True
        for frame in protocol.events_received():
            self._take_frame(frame)  # type: ignore[arg-type]  # the handshake is over
            frame.data = b""  # type: ignore[union-attr]  # the library's parser refers to its last frame until the next
        if protocol.eof_sent and self.closed is None:  # by the client's close frame, or its error
            close = protocol.close_rcvd or protocol.close_sent
            self._closed_behind = (int(close.code), close.reason) if close is not None else (ABNORMAL, "")
            if not self.messages or self.close_begun:
                self._close_now()

    def _take_frame(self, frame: Frame) -> None:
        opcode = frame.opcode
        if opcode is _TEXT or opcode is _BINARY:
            data: Any = frame.data
            if not frame.fin:
                self._partial = bytearray(data)
                self._text = opcode is _TEXT
            else:
                self._put(data if opcode is _TEXT else bytes(data))
        elif opcode is _CONT and self._partial is not None:
            self._partial += frame.data
            if frame.fin:
                whole, self._partial = bytes(self._partial), None
                self._put(whole.decode() if self._text else whole)

    def _put(self, message: Message) -> None:
        if self.closed is None:
            self.messages.append(message)
            self.queued += len(message) + MESSAGE_BYTES

    # Out

    @property
    def over(self) -> bool:
        """True if nothing is to be sent after what is queued now: Close frames were exchanged, or the client has broken
        the protocol.
        """
        return self.frames.eof_sent and self._closed_behind is None

    @property
    def closing(self) -> bool:
        """True if this side has sent its Close frame. Not yet if the client was the first to close and messages that
        came before its Close frame still wait for the application.
        """
        return self.close_begun or (self.frames.close_sent is not None and self._closed_behind is None)

    @property
    def client_closed(self) -> bool:
        """True if the client has sent a Close frame, after which it sends nothing."""
        return self.frames.close_rcvd is not None

    def output(self) -> bytes:
        """Return the bytes to send other than messages: pongs, Close frames. Each byte is returned once."""
        writes = self.frames.writes
        if not writes or self._closed_behind is not None:
            return b""
        self.frames.writes = []
        return writes[0] if len(writes) == 1 else b"".join(writes)

    def ping(self) -> bytes:
        """Return the bytes of a ping, which is sent because the connection is idle. Also frees the compressor, which
        takes memory.
        """
        for extension in self.frames.extensions:
            if isinstance(extension, Deflate):
                extension.forget()
        return Frame(Opcode.PING, b"").serialize(mask=False)

    def close(self, code: int, reason: str) -> None:
        """Begin to close: queue a Close frame. Raises ValueError for a code or a reason that cannot be sent."""
        try:
            Close(code, reason).check()
        except InvalidFrame as error:
            raise ValueError(str(error)) from None
        if len(reason.encode()) > 123:  # the payload of a control frame has 125 bytes at most
            raise ValueError("the reason of a close frame has 123 bytes at most")
        if self._closed_behind is not None:
            self._close_now()
        elif not self.closing:
            self.close_begun = True
            self.frames.send_close(code, reason)

    def fail(self, code: int, reason: str) -> None:
        """Close at once with this code and reason, because the client has broken the protocol or does not answer."""
        if not self.frames.eof_sent:
            self.frames.fail(code, reason)
        if self.closed is None:
            self.closed = self._closed_behind or (code, reason)
        self._closed_behind = None
