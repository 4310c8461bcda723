"""A raw HTTP/1.1 client: sends exactly the bytes it is given and reads answers more strictly than any browser.

Everything a lenient client would forgive is an error here: a bare LF, a repeated Content-Length, a length beside a
transfer coding, a body where RFC 9110 allows none, bytes after the end. So a test that gets a `Response` knows that
the answer was well formed, and asserts only what is its own subject.
"""

import re
import select
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from support.messages import render
from support.waiting import PATIENCE_S

#: (host, port), or the path of a unix socket.
Address = tuple[str, int] | str

_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) ([\t\x20-\x7e\x80-\xff]*)")
_FIELD_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t\x20-\x7e\x80-\xff]*)")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}")

#: Fields that RFC 9110 defines with a single value: a second one makes an answer ambiguous.
_ONCE = ("content-length", "transfer-encoding", "date", "server", "connection", "content-type", "location")


class Malformed(AssertionError):
    """The server sent what is not HTTP."""


class Truncated(AssertionError):
    """The connection ended inside an answer; `received` is what had come of the message's body."""

    def __init__(self, where: str, received: bytes = b"") -> None:
        super().__init__(f"the connection ended in {where}, after {len(received)} bytes of the body")
        self.received = received


@dataclass(frozen=True)
class Response:
    """One complete answer. `framing` says how its body ended: none, length, chunked or close."""

    status: int
    reason: str
    fields: tuple[tuple[str, str], ...]
    body: bytes = b""
    framing: str = "none"
    interim: tuple["Response", ...] = field(default=(), repr=False)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        """The field's only value, or None without the field; AssertionError when it is repeated."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} is repeated: {values}"
        return values[0] if values else None

    @property
    def closes(self) -> bool:
        return "close" in (self.get("connection") or "").lower().split(", ")


class Connection:
    """One connection to the server, from the address `source` if given; every wait on it is bounded by `timeout_s`."""

    def __init__(
        self, address: Address, timeout_s: float = PATIENCE_S, receive_buffer: int = 0, source: str | None = None
    ) -> None:
        family = socket.AF_UNIX if isinstance(address, str) else _family(address[0])
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            if receive_buffer:  # before connect(2): afterwards the window has been announced
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            if source is not None:
                self.socket.bind((source, 0))
            self.socket.settimeout(timeout_s)
            self.socket.connect(address)
            if not isinstance(address, str):
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            self.socket.close()
            raise
        self._buffer = bytearray()
        self._reset = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """End the connection by RST instead of FIN: close(2) with a linger time of zero, socket(7)."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_pieces(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self.socket.sendall(piece)

    def end_sending(self) -> None:
        """Tell the server that no more will come, and go on reading."""
        self.socket.shutdown(socket.SHUT_WR)

    def send_if_possible(self, data: bytes) -> None:
        """Send, but let the server stop listening in between: for requests that it may refuse early."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def request(self, method: str, target: str, *fields: str, body: bytes | None = None) -> Response:
        """Send one well-formed request (Host and Content-Length are added) and read its answer."""
        self.send(render(method, target, *fields, body=body))
        return self.read_response(method)

    def read_response(self, method: str = "GET") -> Response:
        """Read one final answer to a request with `method`; interim ones (1xx) before it are kept in `interim`."""
        interim: list[Response] = []
        while True:
            response = self.read_head()
            if response.status >= 200 or response.status == 101:
                break
            interim.append(response)
        body, framing = self._read_body(response, method)
        return Response(response.status, response.reason, response.fields, body, framing, tuple(interim))

    def read_head(self) -> Response:
        """Read the head of one answer, and leave its body to the caller."""
        status_line = self._line("the status line")
        match = _STATUS_LINE.fullmatch(status_line)
        if match is None:
            raise Malformed(f"status line {status_line!r}")
        fields = tuple(self._read_fields("the header"))
        response = Response(int(match[1]), match[2].decode("latin-1"), fields)
        for name in _ONCE:
            response.get(name)
        return response

    def read_chunk(self) -> bytes:
        """Read one chunk of a body that comes in the chunked coding; b"" is the last one, with its trailers."""
        line = self._line("a chunk's size")
        if _CHUNK_SIZE.fullmatch(line) is None:
            raise Malformed(f"chunk size {line!r}")
        if (size := int(line, 16)) == 0:
            list(self._read_fields("the trailers"))
            return b""
        data = self._exactly(size, "a chunk")
        if (end := self._line("a chunk's end", data)) != b"":
            raise Malformed(f"{end!r} after a chunk's data")
        return data

    def assert_nothing_more(self) -> None:
        """Nothing may follow what was read: neither buffered nor readable now."""
        assert not self._buffer, f"bytes after the answer: {bytes(self._buffer[:200])!r}"
        readable, _, _ = select.select([self.socket], [], [], 0)
        assert not readable or not self._receive(), f"bytes after the answer: {bytes(self._buffer[:200])!r}"

    def assert_closed(self) -> None:
        """The server ends the connection, and sends nothing more before it does."""
        assert not self._buffer, f"bytes after the answer: {bytes(self._buffer[:200])!r}"
        assert not self._receive(), f"bytes after the answer: {bytes(self._buffer[:200])!r}"

    def assert_closed_in_order(self) -> None:
        """The same, by FIN: an RST makes many systems forget what they have received and not yet read."""
        self.assert_closed()
        assert not self._reset, "the connection was reset"

    def has_data(self, within_s: float = 0.0) -> bool:
        """Whether something (data or the end) can be read within the time."""
        return bool(self._buffer) or bool(select.select([self.socket], [], [], within_s)[0])

    def has_more(self) -> bool:
        """Wait for the next byte; False when the server has ended the connection instead."""
        return bool(self._buffer) or self._receive()

    def take_in(self) -> bool:
        """Receive once, and keep it for the calls that read; False when the server has ended the connection."""
        return self._receive()

    def read_some(self, size: int) -> bytes:
        """Between one and `size` bytes, what is buffered first."""
        if not self._buffer:
            return self.socket.recv(size)
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def read_to_end(self) -> bytes:
        """Everything until the server ends the connection, by FIN or RST."""
        while self._receive():
            pass
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def _read_fields(self, where: str) -> Iterable[tuple[str, str]]:
        while line := self._line(where):
            match = _FIELD_LINE.fullmatch(line)
            if match is None:
                raise Malformed(f"field line {line!r}")
            yield match[1].decode("ascii"), match[2].decode("latin-1").strip(" \t")

    def _read_body(self, response: Response, method: str) -> tuple[bytes, str]:
        """RFC 9112, section 6.3: the rules for a message's body length, in their order."""
        length, coding = response.get("content-length"), response.get("transfer-encoding")
        if length is not None and coding is not None:
            raise Malformed("Content-Length beside Transfer-Encoding")
        if length is not None and not (length.isascii() and length.isdigit()):
            raise Malformed(f"Content-Length: {length}")
        if response.status == 204 and (length is not None or coding is not None):
            raise Malformed("a 204 with a length")  # RFC 9110, section 8.6; RFC 9112, section 6.1
        if method == "HEAD" or response.status in (204, 304):
            return b"", "none"
        if coding is not None:
            return self._read_chunked(coding), "chunked"
        if length is not None:
            return self._exactly(int(length), "the body"), "length"
        body = self.read_to_end()
        if self._reset:  # an end by RST is no proof that the body is whole
            raise Truncated("a body that ends with the connection", body)
        return body, "close"

    def _read_chunked(self, coding: str) -> bytes:
        if coding.lower() != "chunked":
            raise Malformed(f"Transfer-Encoding: {coding}")
        body = bytearray()
        try:
            while chunk := self.read_chunk():
                body += chunk
        except Truncated as error:
            raise Truncated(str(error), bytes(body) + error.received) from None
        return bytes(body)

    def _line(self, where: str, received: bytes = b"") -> bytes:
        """One line without its CRLF."""
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > 1 << 16:
                raise Malformed(f"no line end in {where}")
            if not self._receive():
                raise Truncated(where, received)
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _exactly(self, size: int, where: str) -> bytes:
        while len(self._buffer) < size:
            if not self._receive():
                raise Truncated(where, bytes(self._buffer))
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _receive(self) -> bool:
        """Receive once into the buffer; False when the server has ended the connection, in whichever way."""
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionResetError:
            self._reset = True
            return False
        except TimeoutError:
            raise AssertionError(f"nothing came in time after {bytes(self._buffer[:200])!r}") from None
        self._buffer += data
        return bool(data)


@contextmanager
def connections(address: Address, count: int) -> Iterator[list[Connection]]:
    """`count` connections at once."""
    with ExitStack() as stack:
        yield [stack.enter_context(Connection(address)) for _ in range(count)]


def refuses_connections(address: Address) -> bool:
    """Whether nobody listens at `address`."""
    try:
        Connection(address, timeout_s=1.0).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return True
    except (TimeoutError, ConnectionResetError):  # a full backlog, or one that is being thrown away
        return False
    return False


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
