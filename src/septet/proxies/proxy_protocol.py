"""The PROXY protocol, versions 1 and 2: a header that a proxy sends before the connection's own bytes.

A proxy that passes bytes on without reading them cannot add header fields to requests. Instead it begins each
connection with a header of its own, in text (version 1) or binary (version 2), which has the addresses of the client's
connection (https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt; the sections below are that document's).

Nothing is guessed: the caller of `decode` knows that a header is due, and anything else is refused. What the client
sends after the header cannot reach this code.
"""

import re
from typing import NamedTuple

from septet.exchange import ProtocolError
from septet.proxies.addresses import canonical_ip

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
"""The first 12 bytes of a version 2 header (section 2.2 of the PROXY protocol's specification)."""

MAX_LINE = 107
"""Most bytes of a version 1 header with its CRLF (section 2.1 of the PROXY protocol's specification)."""

MAX_HEADER = 4096
"""Most bytes of a version 2 header. Its length field allows 64 KiB; nginx takes this much, and senders use a few
hundred."""

_line = re.compile(
    rb"PROXY (?:(UNKNOWN)(?: [^\r\n]*)?"
    rb"|TCP4 ([0-9.]+) ([0-9.]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})"
    rb"|TCP6 ([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*) ([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4}))"
).fullmatch

_LOCAL = 0x20
_PROXY = 0x21
_FAMILIES = {0x1: 4, 0x2: 16, 0x3: 108}
"""Bytes of one address, by the header's code for AF_INET, AF_INET6 and AF_UNIX."""
_STREAM = 0x1
_TRANSPORTS = (0x0, _STREAM, 0x2)
"""The header's codes for UNSPEC, STREAM and DGRAM."""

_TYPE_CRC32C = 0x03
_TYPE_SSL = 0x20
_CLIENT_SSL = 0x01


class Endpoints(NamedTuple):
    """The two ends of the client's connection to the proxy: (address, port) of the client, and of the proxy. If that is
    a connection on a unix socket, the first is None and the second is (path, None), as in `exchange.Exchange`.
    """

    client: tuple[str, int] | None
    server: tuple[str, int | None]


class Header(NamedTuple):
    """A decoded header of the PROXY protocol, version 1 or 2."""

    length: int
    """Bytes of the header; the connection's own bytes follow."""
    endpoints: Endpoints | None = None
    """The two ends of the client's connection; None if the proxy does not give them: then those of the proxy's own
    connection are used.
    """
    secure: bool = False
    """True if the client speaks TLS with the proxy."""
    local: bool = False
    """True if there is no client: the connection is the proxy's own, for a health check."""

    @property
    def names_client(self) -> bool:
        """True if the header gives the address of the client that sends the bytes after it. If not, any client may have
        sent them.
        """
        return self.local or (self.endpoints is not None and self.endpoints.client is not None)


def decode(data: bytes | bytearray) -> Header | None:
    """Decode the header at the beginning of `data`. Returns None if it is not complete yet. Raises ProtocolError(400)
    as soon as no header can begin with `data`."""
    if data[:12] == SIGNATURE[: len(data)]:
        _check_kind(data)
        return _decode_binary(bytes(data)) if len(data) >= 16 else None
    if data[:6] == b"PROXY "[: len(data)]:
        return _decode_line(bytes(data[:MAX_LINE]))
    raise _malformed("is missing")


def _malformed(what: str) -> ProtocolError:
    return ProtocolError(400, f"the header of the PROXY protocol {what}")


def _decode_line(data: bytes) -> Header | None:
    """Decode a version 1 header (section 2.1 of the PROXY protocol's specification). Returns None if it is not complete
    yet. Raises ProtocolError(400).
    """
    end = data.find(b"\r\n")
    if end < 0:
        if len(data) == MAX_LINE:
            raise _malformed(f"is longer than {MAX_LINE} bytes")
        _check_partial_line(data)
        return None
    return Header(end + 2, _read_line(data[:end]))


def _read_line(line: bytes) -> Endpoints | None:
    matched = _line(line)
    if matched is None:
        raise _malformed("is no valid line")
    if matched[1]:
        return None
    source, destination, source_port, destination_port = filter(None, matched.groups())
    return Endpoints(_end(source, source_port), _end(destination, destination_port))


_MISSING_WORDS = {
    b"TCP4": (b"1.1.1.1", b"1.1.1.1", b"1", b"1"),
    b"TCP6": (b"::", b"::", b"1", b"1"),
}
_COMPLETIONS = (b"", b"0", b":", b"::", b".0", b"0.0", b"0.0.0", b"0.0.0.0", b".0.0", b".0.0.0")


def _check_partial_line(data: bytes) -> None:
    """Raise ProtocolError(400) if no line of version 1 begins with `data`, which begins with `PROXY `."""
    if data[-1:] == b"\r":  # nothing but an LF may follow
        _read_line(data[:-1])
        return
    family, space, rest = data[6:].partition(b" ")
    if not space or family == b"UNKNOWN":
        bare = b"\r" in rest or b"\n" in rest
        if bare or not any(known.startswith(family) for known in (b"UNKNOWN", *_MISSING_WORDS)):
            raise _malformed("is no valid line")
        return
    if family not in _MISSING_WORDS:
        raise _malformed("is no valid line")
    words = rest.split(b" ")
    missing = _MISSING_WORDS[family][len(words) :]
    for end in _COMPLETIONS:
        try:
            _read_line(b" ".join([data + end, *missing]))
            return
        except ProtocolError as error:
            fault = error
    raise fault


def _end(address: bytes, port: bytes) -> tuple[str, int]:
    if int(port) > 65535:
        raise _malformed("holds a port above 65535")
    try:
        return canonical_ip(address.decode("ascii")), int(port)
    except ValueError:
        raise _malformed("holds no valid address") from None


def _check_kind(data: bytes | bytearray) -> None:
    """Raise ProtocolError(400) for a version, command, address family or transport that is not known."""
    command = data[12] if len(data) > 12 else _LOCAL
    if command not in (_LOCAL, _PROXY):
        raise _malformed("has an unknown version or command")
    if command == _LOCAL or len(data) < 14:  # LOCAL: the rest has no meaning
        return
    if data[13] >> 4 > max(_FAMILIES) or data[13] & 0xF not in _TRANSPORTS:
        raise _malformed("has an unknown address family or transport")


def _decode_binary(data: bytes) -> Header | None:
    """Decode a version 2 header of at least 16 bytes (section 2.2 of the PROXY protocol's specification). Returns None
    if it is not complete yet. Raises ProtocolError(400).
    """
    command, family = data[12], data[13] >> 4
    transport = data[13] & 0xF
    length = 16 + int.from_bytes(data[14:16])
    if length > MAX_HEADER:
        raise _malformed(f"is longer than {MAX_HEADER} bytes")
    if len(data) < length:
        return None
    if command == _LOCAL:  # the rest has no meaning
        return Header(length, local=True)
    size = _FAMILIES.get(family, 0)
    # Two addresses and two ports; AF_UNIX has no ports, AF_UNSPEC neither.
    addresses = 2 * size + (4 if size in (4, 16) else 0)
    if length < 16 + addresses:
        raise _malformed("is too short for its addresses")
    secure = _read_vectors(data[:length], 16 + addresses)
    return Header(length, _endpoints(data[16:], size) if size and transport == _STREAM else None, secure)


def _endpoints(block: bytes, size: int) -> Endpoints:
    source, destination, ports = block[:size], block[size : 2 * size], block[2 * size : 2 * size + 4]
    if size == 108:
        return Endpoints(None, (destination.partition(b"\0")[0].decode("utf-8", "surrogateescape"), None))
    client = canonical_ip(source), int.from_bytes(ports[:2])
    return Endpoints(client, (canonical_ip(destination), int.from_bytes(ports[2:])))


def _read_vectors(header: bytes, position: int) -> bool:
    """Read the type-length-value vectors, which begin at `position` after the addresses. Returns True if one says that
    the client speaks TLS.

    A checksum is verified (section 2.2.3 of the PROXY protocol's specification); other vectors have no meaning here.
    Raises ProtocolError(400).
    """
    vectors: dict[int, tuple[int, int]] = {}
    while position < len(header):
        kind, start = header[position], position + 3
        position = start + int.from_bytes(header[position + 1 : start])
        if start > len(header) or position > len(header):
            raise _malformed("ends within a vector")
        vectors[kind] = start, position
    if _TYPE_CRC32C in vectors:
        _check_sum(header, *vectors[_TYPE_CRC32C])
    start, end = vectors.get(_TYPE_SSL, (0, 0))
    return start < end and bool(header[start] & _CLIENT_SSL)


def _check_sum(header: bytes, start: int, end: int) -> None:
    blank = header[:start] + bytes(end - start) + header[end:]
    if header[start:end] != _crc32c(blank).to_bytes(4):
        raise _malformed("has a wrong checksum")


def _crc32c(data: bytes) -> int:
    """Return the CRC32c checksum of RFC 4960 appendix B. It is computed bit by bit, which is slow: few proxies send
    one, for a few hundred bytes per connection."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF
