"""Decoders of request bodies: raw bytes of the connection in, the body's content out (RFC 9112 sections 6 and 7).

`decode` takes all bytes that the connection has received and not used, and returns the content that they hold and the
bytes that it has not used. The caller gives these again, with what has come since. A decoder is `complete` when the
body has ended; unused bytes then belong to the next request.
"""

from septet.exchange import ProtocolError
from septet.http.grammar import CRLF, MAX_LENGTH, WHITESPACE, is_chunk_extensions, is_chunk_size
from septet.http.sections import check_trailer
from septet.http.unfinished import UnfinishedFields, UnfinishedSize

MAX_CHUNK_LINE = 4096
"""Most bytes of a chunk's size line with its extensions; h11 and Go's net/http have the same bound."""

PLAIN_CHUNK_LINE = 16
"""Bytes of the longest size line without an extension: 16 hexadecimal digits."""

MAX_CHUNK_OVERHEAD = 16384
"""Most bytes of chunk extensions in one body beyond twice its content; Go's net/http has this bound
(CVE-2023-39326)."""

MAX_TRAILERS = 16384
"""Most bytes of the trailer section; hyper has the same bound."""


class LengthDecoder:
    """Decodes a body of `length` bytes, the request's Content-Length. `remaining`: bytes of it that are still to
    come."""

    __slots__ = ("complete", "remaining")

    def __init__(self, length: int) -> None:
        self.remaining = length
        self.complete = length == 0

    def decode(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the bytes of `data` that belong to the body, and the rest."""
        if len(data) < self.remaining:
            self.remaining -= len(data)
            return data, b""
        part, rest = data[: self.remaining], data[self.remaining :]
        self.remaining = 0
        self.complete = True
        return part, rest


class ChunkedDecoder:
    """Decodes a body in chunks (RFC 9112 section 7.1). Extensions and trailers are bounded, checked and ignored."""

    __slots__ = ("_overhead", "_scanned", "_unfinished", "_unfinished_size", "complete", "remaining")

    def __init__(self) -> None:
        self.complete = False
        self.remaining = 0
        """Bytes of the current chunk still to come, without its CRLF; 0 before a size line, -1 in the trailers."""
        self._overhead = 0
        """Bytes of chunk extensions so far, beyond two for each byte of content; see MAX_CHUNK_OVERHEAD."""
        self._scanned = 0
        """Bytes of the trailer section that were searched for its end already."""
        self._unfinished_size: UnfinishedSize | None = None
        """The object that checks a size line which has not all come; None if there is no such line."""
        self._unfinished: UnfinishedFields | None = None
        """The object that checks a trailer section which has not all come; None if there is no such section."""

    def decode(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the content of the chunks in `data`, joined, and the bytes that are not used yet. Raises
        ProtocolError(400)."""
        parts: list[bytes] = []
        position = 0
        while not self.complete and self.remaining >= 0:
            if self.remaining == 0:
                end = data.find(CRLF, position)
                if end < 0:
                    self._scan_size_line(data[position:], begins=position > 0)
                    return b"".join(parts), data[position:]
                size = _chunk_size(data[position:end])
                if end - position > PLAIN_CHUNK_LINE:
                    self._count_overhead(end - position, size)
                self.remaining = size or -1
                position = end + 2
                continue
            available = len(data) - position
            if available < self.remaining + 2:
                if available > self.remaining and data[-1:] != b"\r":
                    raise ProtocolError(400, "a chunk is not followed by CRLF")
                # Keep one byte back, so that the chunk's CRLF is always checked together with its last byte.
                take = min(available, self.remaining - 1)
                parts.append(data[position : position + take])
                self.remaining -= take
                return b"".join(parts), data[position + take :]
            end = position + self.remaining
            if data[end : end + 2] != CRLF:
                raise ProtocolError(400, "a chunk is not followed by CRLF")
            parts.append(data[position:end])
            position = end + 2
            self.remaining = 0
        return b"".join(parts), self._trailers(data[position:])

    def _scan_size_line(self, line: bytes, begins: bool) -> None:
        """Raise ProtocolError(400) if no valid size line begins with `line`, whose end has not come yet. `begins`: True
        if it is another line than at the last call."""
        if begins:
            self._unfinished_size = None
        if len(line) - line.endswith(b"\r") > MAX_CHUNK_LINE:
            raise ProtocolError(400, "a chunk's size line is too long")
        if line[-1:] == b"\r":  # nothing but an LF may follow
            _chunk_size(line[:-1])
        elif line:
            if self._unfinished_size is None:
                self._unfinished_size = UnfinishedSize()
            self._unfinished_size.scan(line)

    def _count_overhead(self, line_length: int, size: int) -> None:
        """Count the extensions in a size line of `line_length` bytes, whose chunk has `size` bytes: each byte of
        content allows two bytes of extensions. Raises ProtocolError(400) beyond MAX_CHUNK_OVERHEAD."""
        self._overhead += max(0, line_length - PLAIN_CHUNK_LINE - 2 * size)
        if self._overhead > MAX_CHUNK_OVERHEAD:
            raise ProtocolError(400, "the chunks' extensions outweigh their content")

    def _trailers(self, data: bytes) -> bytes:
        """Read the trailer section, with which `data` begins, and return the bytes after it. If the end of the section
        has not come yet, return `data` itself. Raises ProtocolError(400).
        """
        if data[:2] == CRLF:
            self.complete = True
            return data[2:]
        end = data.find(b"\r\n\r\n", self._scanned)
        if end > MAX_TRAILERS or (end < 0 and len(data) > MAX_TRAILERS + 3):  # three bytes of its end may be here
            raise ProtocolError(400, "the trailer section is too long")
        if end < 0:
            if data:
                self._unfinished = self._unfinished or UnfinishedFields(0, MAX_TRAILERS, check_trailer)
                self._unfinished.scan(data)
            self._scanned = max(0, len(data) - 3)
            return data
        for line in data[:end].split(CRLF):
            check_trailer(line)
        self.complete = True
        return data[end + 4 :]


def _chunk_size(line: bytes) -> int:
    """Return the size in bytes that a complete size line, without its CRLF, gives. Raises ProtocolError(400)."""
    size, semicolon, _ = line.partition(b";")
    if semicolon:
        size = size.rstrip(WHITESPACE)  # BWS before an extension, RFC 9112 section 7.1.1
        if len(line) > MAX_CHUNK_LINE or not is_chunk_extensions(line, len(size)):
            raise ProtocolError(400, "a chunk's extensions are malformed or too long")
    number = int(size, 16) if is_chunk_size(size) else MAX_LENGTH
    if number >= MAX_LENGTH:
        raise ProtocolError(400, "a chunk's size is not a hexadecimal number below 2**63")
    return number
