"""Messages in and out of one WebSocket, as the bytes of its connection (RFC 6455 sections 5 to 7).

A `Tunnel` adds to the frames what a server needs that faces strangers: messages that wait for the application are
bounded, and what lies behind them is not parsed before they are taken; a message in a thousand fragments is joined as
they come; and compressed bytes are expanded a small piece at a time.
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
"""The connection ended without a close frame (RFC 6455 section 7.4.1); never sent."""
NORMAL, INTERNAL_ERROR, SERVICE_RESTART = 1000, 1011, 1012

QUEUE_BYTES = 65536
"""Bytes of messages that wait for the application; when there are more, nothing more is parsed. As many bytes are read
ahead of an application that reads a request's body."""

MESSAGE_BYTES = 64
"""What a message counts at least: the object that holds it."""

SLICE_BYTES = 4096
"""Compressed bytes that are expanded at a time. Deflate expands by 1,032 at most: to 4 MiB."""

_TEXT, _BINARY, _CONT = Opcode.TEXT, Opcode.BINARY, Opcode.CONT


@dataclass(slots=True, frozen=True, kw_only=True)
class TunnelOptions:
    """What all tunnels of a server share."""

    max_message: int = 16 << 20
    """Bytes of the longest message that a client may send, when it is expanded."""
    deflate: bool = True
    """Compress messages if the client offers it (RFC 7692)."""
    window_bits: int = 12
    mem_level: int = 5
    """With 12 bits and level 5 a connection needs 64 KiB for it at most, with zlib's defaults 316 KiB."""

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
    """Have the protocol use those extensions that both sides know; gives the answer's Sec-WebSocket-Extensions."""
    try:
        accepted, protocol.extensions = protocol.process_extensions(
            Headers([("Sec-WebSocket-Extensions", value) for value in values])
        )
    except InvalidHandshake:  # malformed in a way that `handshake` allows: the client gets no extension
        return None
    return accepted


class Tunnel:
    """One open WebSocket, server side. Not thread-safe."""

    __slots__ = (
        "_closed_behind",
        "_partial",
        "_slices",
        "_text",
        "accepted_extensions",
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
        """Gives the bytes of a message."""
        self.accepted_extensions = _negotiate(protocol, offered_extensions) if offered_extensions else None
        self._slices = bool(protocol.extensions)
        self._partial: bytearray | None = None
        """What has come of a message in fragments."""
        self._text = False
        """That message is text."""
        self.messages: deque[Message] = deque()
        """Whole messages that the application has not taken."""
        self.queued = 0
        """Their bytes, each at least MESSAGE_BYTES."""
        self.unparsed = bytearray()
        """What was received behind them."""
        self.closed: tuple[int, str] | None = None
        """Code and reason with which the application is told that the tunnel has ended; None while it is open."""
        self.close_begun = False
        """We have sent the first close frame."""
        self._closed_behind: tuple[int, str] | None = None
        """`closed`, when the messages before that are taken: the client's close frame, or its error, came behind them,
        and the application may have something to answer. Until then our close frame is held back."""

    # In

    def receive(self, data: bytes) -> None:
        """Take what the client sent. There may be messages afterwards, and something to send."""
        if not self._slices and self.queued <= QUEUE_BYTES and not self.unparsed:  # the usual case
            self._feed(data)
            return
        self.unparsed += data
        self.parse()

    @property
    def unread(self) -> int:
        """Bytes that were received and that the application has not taken, without those of an unfinished message."""
        return self.queued + len(self.unparsed)

    def take(self) -> Message | None:
        """The next message for the application; None if there is none."""
        if not self.messages:
            if self._closed_behind is not None:
                self._close_now()
            return None
        message = self.messages.popleft()
        self.queued -= len(message) + MESSAGE_BYTES
        if self.unparsed:
            self.parse()
        return message

    def drop(self) -> None:
        """The application wants no more messages."""
        self.messages.clear()
        self.queued = 0
        self.parse()
        if self._closed_behind is not None:
            self._close_now()

    def _close_now(self) -> None:
        self.closed, self._closed_behind = self._closed_behind, None

    def end(self) -> None:
        """The client sends no more; without a close frame before, that is an abnormal end."""
        if self.closed is None:
            self.closed = self._closed_behind or (ABNORMAL, "")
        self._closed_behind = None

    def dispose(self) -> None:
        """The connection is over. The parser refers to itself, and would be freed late."""
        self.unparsed.clear()
        self.frames.parser.close()

    def parse(self) -> None:
        """Parse what is left, until the queue is full."""
        size = SLICE_BYTES if self._slices else QUEUE_BYTES
        while self.unparsed and self.queued <= QUEUE_BYTES:
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
        protocol.receive_data(data[taken:] if taken else data)
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
        """Nothing more is sent after the output so far: close frames have been exchanged, or the client has broken the
        protocol."""
        return self.frames.eof_sent and self._closed_behind is None

    @property
    def closing(self) -> bool:
        """A close frame was sent."""
        return self.close_begun or (self.frames.close_sent is not None and self._closed_behind is None)

    @property
    def client_closed(self) -> bool:
        """The client has sent a close frame, after which it sends nothing."""
        return self.frames.close_rcvd is not None

    def output(self) -> bytes:
        """What is to be sent by now, beside messages; each byte is given once."""
        writes = self.frames.writes
        if not writes or self._closed_behind is not None:
            return b""
        self.frames.writes = []
        return writes[0] if len(writes) == 1 else b"".join(writes)

    def ping(self) -> bytes:
        """The bytes of a ping. It is sent because the connection is idle."""
        for extension in self.frames.extensions:
            if isinstance(extension, Deflate):
                extension.forget()
        return Frame(Opcode.PING, b"").serialize(mask=False)

    def close(self, code: int, reason: str) -> None:
        """Begin to close. Raises ValueError for a code or a reason that cannot be sent."""
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
        """Close at once, because the client cannot be understood, or does not answer."""
        if not self.frames.eof_sent:
            self.frames.fail(code, reason)
        if self.closed is None:
            self.closed = self._closed_behind or (code, reason)
        self._closed_behind = None
