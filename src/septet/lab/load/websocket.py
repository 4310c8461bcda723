"""WebSocket (RFC 6455) on a user's connection: a request is a message, and the next message is its answer.

The opening handshake is made when the first message is sent. After it, what `connections` sends and receives are frames
with whole messages; pings are answered here, and a Close frame ends the connection. Nothing is compressed, so that the
figures are those of the server. Like all of the load generator, it shares no code with the server that it measures.
"""

from __future__ import annotations

import errno
import os
from base64 import b64encode
from contextlib import suppress
from struct import pack, unpack_from
from typing import Any

from .answer import TEXT_BYTES_MAX, Answer, Framing, Malformed, first_line, parse_head
from .plan import LoadError, Plan, Target
from .requests import Encoder, Requests
from .tls import AwaitsServer, Dialer

HEAD_BYTES_MAX = 65536
SWITCHED = 101
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
FIN = 0x80
MASKED = 0x80

REASONS_MAX = 8
"""Largest number of different close reasons that the figures list, since a server may give each connection a different
one.
"""

HANDSHAKE = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")


def frame(opcode: int, payload: bytes) -> bytes:
    """Return a frame with this opcode and payload, masked as those of clients must be. All frames have the same mask:
    masks protect proxies, and there are none here.
    """
    length = len(payload)
    if length < 126:
        head = pack("!BB", FIN | opcode, MASKED | length)
    elif length < 65536:
        head = pack("!BBH", FIN | opcode, MASKED | 126, length)
    else:
        head = pack("!BBQ", FIN | opcode, MASKED | 127, length)
    pattern = (_MASK * (length // 4 + 1))[:length]
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(pattern, "big")).to_bytes(length, "big")
    return head + _MASK + masked


_MASK = os.urandom(4)


def read_header(data: bytes, start: int = 0) -> tuple[int, int, int] | None:
    """Return the first byte, the payload's length and the header's length of a server's frame that begins at index
    `start`; None if the header is not complete. Raises Malformed for a frame that is masked.
    """
    if len(data) - start < 2:
        return None
    first, length = data[start], data[start + 1]
    if length & MASKED:
        raise Malformed("a server's frame is masked")
    header = {126: 4, 127: 10}.get(length, 2)
    if len(data) - start < header:
        return None
    if length > 125:
        (length,) = unpack_from("!H" if length == 126 else "!Q", data, start + 2)
    return first, length, header


class HandshakeFailed(OSError):
    """The server has answered the opening handshake with an error, which may be for the moment.

    `kind` is the kind of error to count, and `body` what has come of the answer's body.
    """

    def __init__(self, reason: str, body: bytes = b"") -> None:
        super().__init__(errno.EBADMSG, reason)
        self.kind = f"handshake: {reason}"
        self.body = body


class MessageEncoder:
    """Makes the frames that the users of a WebSocket send; stands in the place of `requests.Encoder`."""

    def __init__(self, plan: Plan) -> None:
        self._opcode = BINARY if plan.binary else TEXT
        self._message = plan.body.encode("utf-8", "surrogateescape") or b"x" * plan.message_size
        self._of_user = b"{user}" in self._message
        self._shared = self._requests(self._message)

    def _requests(self, message: bytes) -> Requests:
        made = (frame(self._opcode, message),)
        return Requests(keep=made, last=made)

    def requests_of(self, user: int, cookies: object = None) -> Requests:
        if not self._of_user:
            return self._shared
        return self._requests(self._message.replace(b"{user}", b"%d" % user))


class MessageAnswer:
    """Parses one message of the server, as `Answer` parses a response: call `feed` with received bytes until it is
    complete.
    """

    keeps_body = False
    body = b""

    def __init__(self) -> None:
        self._data = bytearray()
        self.framing: Framing | None = None
        self.body_bytes = 0
        self.complete = False

    def feed(self, data: bytes) -> None:
        self._data += data
        while not self.complete and (header := read_header(bytes(self._data[:10]))) is not None:
            first, length, header_bytes = header
            if len(self._data) < header_bytes + length:
                return
            del self._data[: header_bytes + length]
            self.body_bytes += length
            self.complete = bool(first & FIN)
        if self.complete:
            self.framing = Framing(SWITCHED, self.body_bytes, keep=True)


class WebSocketDialer:
    """Puts WebSocket on the connections of a plan, over TLS for wss."""

    def __init__(self, plan: Plan, tls: Dialer | None) -> None:
        self.url = plan.url
        self._plan = plan
        self._tls = tls
        self._reasons: set[str] = set()

    def ending(self, payload: bytes) -> str:
        """Return the kind of error to count for a Close frame with this payload, such as "closed with code 1001 (going
        away)": with the code, if the payload has one, and the reason (RFC 6455 section 5.5.1).
        """
        code = f"code {int.from_bytes(payload[:2], 'big')}" if len(payload) >= 2 else "no code"
        reason = "".join(each for each in payload[2:].decode(errors="replace") if each.isprintable())
        if len(self._reasons) < REASONS_MAX:
            self._reasons.add(reason)
        return f"closed with {code} ({reason})" if reason and reason in self._reasons else f"closed with {code}"

    def over(self, sock: Any) -> WebSocketSocket:
        return WebSocketSocket(self, sock if self._tls is None else self._tls.over(sock))

    def handshake(self) -> bytes:
        """Return a request for the opening handshake, with a new key (RFC 6455 section 4.1)."""
        target = self._plan.all_targets()[0]
        key = f"Sec-WebSocket-Key: {b64encode(os.urandom(16)).decode()}"
        return Encoder(self._plan).head(Target(path=target.path, headers=(*HANDSHAKE, key)))


class WebSocketSocket:
    """A non-blocking socket with WebSocket on it: `send` and `recv` take and return frames of messages."""

    __slots__ = ("_closed", "_dialer", "_handshake", "_left", "_open", "_received", "_socket", "ending")

    def __init__(self, dialer: WebSocketDialer, sock: Any) -> None:
        self._dialer = dialer
        self._socket = sock
        self.ending = "closed early"
        """The kind of error to count if the connection ends while an answer is awaited."""
        self._handshake: bytes | None = None
        """The part of the handshake's request that is not sent yet; None before the handshake begins."""
        self._open = self._closed = False
        """`_open`: the handshake is over. `_closed`: the server has sent a Close frame."""
        self._received = b""
        """Received bytes that are not complete: of the answer to the handshake, of a frame's header, or of a control
        frame.
        """
        self._left = 0
        """Number of bytes of the present message's frame that have not come yet."""

    def close(self) -> None:
        self._socket.close()

    def send(self, data: bytes) -> int:
        """Send frames, as `socket.send` does: returns the number of bytes that were sent. The first calls make the
        opening handshake, and raise BlockingIOError until it is complete.
        """
        if not self._open:
            self._shake_hands()
        sent: int = self._socket.send(data)
        return sent

    def _shake_hands(self) -> None:
        if self._handshake is None:
            self._handshake = self._dialer.handshake()
        while self._handshake:
            self._handshake = self._handshake[self._socket.send(self._handshake) :]
        while not self._open:
            try:
                data = self._socket.recv(HEAD_BYTES_MAX)
            except BlockingIOError:
                raise AwaitsServer from None
            self._received += data
            self._judge(ended=not data)
            if not self._open and (not data or len(self._received) > HEAD_BYTES_MAX):
                raise ConnectionResetError(errno.ECONNRESET, "ended in the handshake")

    def _judge(self, ended: bool) -> None:
        """Judge the answer to the handshake, as far as it has been received. `ended`: no more will come. Returns if the
        handshake is complete (`_open`), or more has to be received; raises LoadError or HandshakeFailed otherwise.
        """
        status = 100
        while status < 200 and not self._open:  # after another 1xx the answer follows (RFC 9110 section 15.2)
            head, head_end, rest = self._received.partition(b"\r\n\r\n")
            if not head_end:
                return
            try:
                status = parse_head(head).status
            except Malformed:
                raise HandshakeFailed("malformed") from None
            if status < 200:
                self._received, self._open = rest, status == SWITCHED
        if status < 200:
            return
        answer = Answer()
        with suppress(Malformed):  # the status counts
            answer.feed(self._received)
        if status < 400 or ended or answer.complete or len(rest) > TEXT_BYTES_MAX:
            raise self._refusal(status, bytes(answer.body))

    def _refusal(self, status: int, body: bytes) -> Exception:
        if status >= 500:  # for the moment, perhaps
            return HandshakeFailed(f"status {status}", body)
        line = first_line(body)
        said = f': "{line}"' if line else ""
        return LoadError(f"{self._dialer.url} answers {status} to a request for a WebSocket{said}")

    def recv(self, size: int) -> bytes:
        """Return frames of messages, b"" after a Close frame. Raises BlockingIOError if none has come."""
        if self._closed:
            return b""
        data: bytes = self._socket.recv(size)
        if not data:
            return b""
        if not (self._left or self._received) and data[0] & 0x0F <= BINARY:
            header = read_header(data)
            if header is not None and header[1] + header[2] == len(data):  # the usual case
                return data
        return self._messages(self._received + data)

    def _messages(self, data: bytes) -> bytes:
        """Return the parts of `data` that belong to messages, without control frames, which are handled here. Raises
        BlockingIOError if there are no such parts.
        """
        parts = [data[: self._left]]
        start = len(parts[0])
        self._left -= start
        while (header := read_header(data, start)) is not None:
            first, length, header_bytes = header
            end = start + header_bytes + length
            if first & 0x0F <= BINARY:
                parts.append(data[start:end])
                self._left = max(0, end - len(data))
            elif end > len(data):
                break
            elif first & 0x0F == PING:
                self._socket.send(frame(PONG, data[end - length : end]))
            elif first & 0x0F == CLOSE:
                self._closed = True
                self.ending = self._dialer.ending(data[end - length : end])
                return b"".join(parts)
            start = min(end, len(data))
        self._received = data[start:]
        if not any(parts):
            raise BlockingIOError
        return b"".join(parts)
