"""Frames of one WebSocket: the library's protocol, with two of its rules changed and a faster way for the usual frame.

A Close frame between the fragments of a message is valid (RFC 6455 section 5.4: control frames may be injected in the
middle of a fragmented message); the library treats it as an error. And text is checked as it arrives, not only when its
frame is complete, so that invalid UTF-8 is refused at once (section 8.1).

Most messages are one small uncompressed frame, received as a whole. The library takes 12 us for such a frame, more than
the kernel and the application together; the faster way takes a tenth of that. Every other frame, and every error, goes
to the library.
"""

from codecs import getincrementaldecoder
from collections.abc import Generator
from struct import pack
from typing import Any

from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.streams import StreamReader

try:
    from websockets.speedups import apply_mask
except ImportError:  # the library was installed without its part in C
    from websockets.utils import apply_mask

_new_decoder = getincrementaldecoder("utf-8")

_WHOLE_TEXT, _WHOLE_BINARY = 0x81, 0x82
"""The first byte of a frame that holds a whole message (FIN) and is not compressed (RSV1 is 0)."""
_SHORT, _LONG = 126, 65536
"""Payload lengths from which the header's length field is longer (RFC 6455 section 5.2)."""

FRAMES_AT_ONCE = 256
"""Most frames that the library parses in one call, some 2 ms. 64 KiB may hold 10,922 empty pings or fragments, for
which a loop would take 60 ms, and all its other clients would wait."""

_RSV1 = 0x40
_OPCODE = 0x0F


class Frames(ServerProtocol):
    """Reads and writes the frames of one open WebSocket."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(state=OPEN, **settings)
        self.reader: _CheckingReader = _CheckingReader()
        self.parser = self.parse()
        next(self.parser)

    def take_whole(self, data: bytes, messages: list[str | bytes]) -> int:
        """Append the messages at the beginning of `data` to `messages`, as long as each is one small uncompressed frame
        that is complete. Returns the number of bytes used; the caller gives the rest to `parse_some`.
        """
        reader = self.reader
        if reader.buffer or reader.read or self.current_size is not None or self._state is not OPEN:
            return 0
        start, end, most = 0, len(data), self.max_message_size
        while end - start >= 6:
            head, length, mask = data[start], data[start + 1] - 0x80, start + 2
            if not 0 <= length < _SHORT:
                if length != _SHORT or end - start < 8:
                    break
                length, mask = data[start + 2] << 8 | data[start + 3], start + 4
            payload = mask + 4
            after = payload + length
            if after > end or (most is not None and length > most):
                break
            if head == _WHOLE_BINARY:
                messages.append(apply_mask(data[payload:after], data[mask:payload]))
            elif head == _WHOLE_TEXT:
                try:
                    messages.append(str(apply_mask(data[payload:after], data[mask:payload]), "utf-8"))
                except UnicodeDecodeError:
                    break
            else:
                break
            start = after
        return start

    def parse_some(self, data: bytes) -> bytes:
        """Have the library parse `data`, but at most FRAMES_AT_ONCE frames. Returns the bytes that are left, to be
        parsed later. Empty if all frames were parsed; the library keeps the beginning of a frame that is not complete.
        """
        reader = self.reader
        reader.frames_left = FRAMES_AT_ONCE
        self.receive_data(data)
        if reader.frames_left or not reader.buffer:
            return b""
        rest = bytes(reader.buffer)
        reader.buffer.clear()
        return rest

    def message(self, message: str | bytes) -> bytes:
        """Return the bytes of a frame that holds a whole message."""
        data, head = (message.encode(), _WHOLE_TEXT) if isinstance(message, str) else (message, _WHOLE_BINARY)
        if self.extensions:
            opcode = Opcode.TEXT if head == _WHOLE_TEXT else Opcode.BINARY
            return Frame(opcode, data).serialize(mask=False, extensions=self.extensions)
        length = len(data)
        if length < _SHORT:
            return bytes((head, length)) + data
        if length < _LONG:
            return pack("!BBH", head, _SHORT, length) + data
        return pack("!BBQ", head, _SHORT + 1, length) + data

    def recv_frame(self, frame: Frame) -> None:
        opcode = frame.opcode
        if opcode is Opcode.CLOSE:
            self.current_size = None
        elif opcode is Opcode.TEXT or opcode is Opcode.BINARY or opcode is Opcode.CONT:
            self.reader.check_frame(opcode, frame)
        super().recv_frame(frame)


class _CheckingReader(StreamReader):
    """Reads frames for the library's parser, and checks that text is UTF-8, even that of a frame that is not complete
    yet.
    """

    def __init__(self) -> None:
        super().__init__()
        self.read: list[bytearray] = []
        """The pieces of the current frame's header that were read: its first two bytes, the extended length if there is
        one, the mask.
        """
        self.frames_left = FRAMES_AT_ONCE
        """Number of frames that may still be parsed before `parse_some` is called again."""
        self._checked = 0
        """Bytes of the current frame's payload that were checked."""
        self._of_frame: Any = None
        """Decoder that checks the current frame's payload before the frame is complete; None if nothing of it was
        checked yet.
        """
        self._of_message: Any = None
        """Decoder that has checked the earlier fragments of the current text message; None if there are none."""
        self._compressed = False
        """True if the current text message, whose fragments have begun to come, is compressed."""

    def at_eof(self) -> Generator[None, None, bool]:
        self.read.clear()
        while not self.frames_left:
            yield
        at_eof = yield from super().at_eof()
        self.frames_left -= 1
        return at_eof

    def read_exact(self, n: int) -> Generator[None, None, bytearray]:
        buffer = self.buffer
        while len(buffer) < n:
            if self.eof:
                raise EOFError(f"stream ends after {len(buffer)} bytes, expected {n} bytes")
            if n > 8 or len(self.read) > 1:
                self._check_part()
            yield
        read = buffer[:n]
        del buffer[:n]
        self.read.append(read)
        return read

    def _check_part(self) -> None:
        """Check what has come of the payload of an incomplete frame, if it is uncompressed text. Raises
        UnicodeDecodeError.
        """
        header, mask = self.read[0], self.read[-1]
        opcode = header[0] & _OPCODE
        is_text = opcode == Opcode.TEXT or (opcode == Opcode.CONT and self._of_message is not None)
        if len(mask) != 4 or not is_text or header[0] & _RSV1 or (opcode == Opcode.CONT and self._compressed):
            return
        if self._of_frame is None:
            self._of_frame = _new_decoder()
            if self._of_message is not None:
                self._of_frame.setstate(self._of_message.getstate())
            self._checked = 0
        part = self.buffer[self._checked :]
        turned = bytes(mask[(self._checked + index) % 4] for index in range(4))
        self._of_frame.decode(apply_mask(part, turned))
        self._checked += len(part)

    def check_frame(self, opcode: Opcode, frame: Frame) -> None:
        """Check the text of a complete frame together with the earlier fragments of its message. If the frame is a
        whole message, its data becomes a str. Raises UnicodeDecodeError.
        """
        decoder = self._of_message
        self._of_frame = None
        if opcode is Opcode.CONT:
            if decoder is not None:
                decoder.decode(bytes(frame.data), frame.fin)
                if frame.fin:
                    self._of_message = None
        elif opcode is not Opcode.TEXT:
            return
        elif frame.fin:
            frame.data = str(frame.data, "utf-8")  # type: ignore[assignment]
        else:
            self._compressed = bool(self.read[0][0] & _RSV1)
            decoder = self._of_message = _new_decoder()
            decoder.decode(bytes(frame.data))
