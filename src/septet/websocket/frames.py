"""The library's protocol, with two rules of its own changed.

A close frame between the fragments of a message is a close frame like any other (RFC 6455 section 5.4: control frames
may be injected in the middle of a fragmented message); the library takes it for an error. And text is checked as it
comes, not when its frame is complete: a peer that sends what is no UTF-8 is refused at once (section 8.1).
"""

from codecs import getincrementaldecoder
from collections.abc import Generator
from typing import Any

from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.streams import StreamReader
from websockets.utils import apply_mask

_new_decoder = getincrementaldecoder("utf-8")

_RSV1 = 0x40
_OPCODE = 0x0F


class Frames(ServerProtocol):
    """One open WebSocket: bytes in, frames out, and the other way."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(state=OPEN, **settings)
        self.reader: _CheckingReader = _CheckingReader()
        self.parser = self.parse()
        next(self.parser)

    def recv_frame(self, frame: Frame) -> None:
        opcode = frame.opcode
        if opcode is Opcode.CLOSE:
            self.current_size = None
        elif opcode is Opcode.TEXT or opcode is Opcode.BINARY or opcode is Opcode.CONT:
            self.reader.check_frame(opcode, frame)
        super().recv_frame(frame)


class _CheckingReader(StreamReader):
    """Reads frames for the library's parser, and checks the text in a frame that is not complete yet."""

    def __init__(self) -> None:
        super().__init__()
        self._read: list[bytearray] = []
        """What was read of the frame: its first two bytes, a longer length perhaps, the mask."""
        self._checked = 0
        """Bytes of the frame's payload that were checked."""
        self._of_frame: Any = None
        """Checks the payload of this frame; None until some of it has come alone."""
        self._of_message: Any = None
        """Has checked the fragments of a text before this frame; None if there are none."""

    def at_eof(self) -> Generator[None, None, bool]:
        self._read.clear()
        return super().at_eof()

    def read_exact(self, n: int) -> Generator[None, None, bytearray]:
        buffer = self.buffer
        while len(buffer) < n:
            if self.eof:
                raise EOFError(f"stream ends after {len(buffer)} bytes, expected {n} bytes")
            if n > 8 or len(self._read) > 1:
                self._check_part()
            yield
        read = buffer[:n]
        del buffer[:n]
        self._read.append(read)
        return read

    def _check_part(self) -> None:
        """Check what has come of a payload. Raises UnicodeDecodeError."""
        header, mask = self._read[0], self._read[-1]
        opcode = header[0] & _OPCODE
        is_text = opcode == Opcode.TEXT or (opcode == Opcode.CONT and self._of_message is not None)
        if len(mask) != 4 or header[0] & _RSV1 or not is_text:
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
        """Check a frame of a message with those before it; a text of one frame becomes a str. Raises
        UnicodeDecodeError."""
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
            decoder = self._of_message = _new_decoder()
            decoder.decode(bytes(frame.data))
