"""Headers of the PROXY protocol as proxies write them: made here from the specification, apart from the decoder."""

import socket
import struct

SIGNATURE = bytes.fromhex("0D0A0D0A000D0A515549540A")

LOCAL, PROXY = 0x20, 0x21
UNSPEC, TCP4, UDP4, TCP6, UDP6, UNIX = 0x00, 0x11, 0x12, 0x21, 0x22, 0x31

OVER_TLS = (0x20, b"\x01" + bytes(4))
"""The vector PP2_TYPE_SSL with its bit PP2_CLIENT_SSL, and nothing said of certificates."""


def line(source: str, destination: str, source_port: int = 4711, destination_port: int = 443) -> bytes:
    """Version 1."""
    family = "TCP6" if ":" in source else "TCP4"
    return f"PROXY {family} {source} {destination} {source_port} {destination_port}\r\n".encode()


def binary(block: bytes = b"", *vectors: tuple[int, bytes], family: int = UNSPEC, command: int = PROXY) -> bytes:
    """Version 2: `block` holds the addresses, `vectors` are types and values."""
    rest = block + b"".join(struct.pack("!BH", kind, len(value)) + value for kind, value in vectors)
    return SIGNATURE + struct.pack("!BBH", command, family, len(rest)) + rest


def tcp(
    source: str, destination: str, *vectors: tuple[int, bytes], source_port: int = 4711, destination_port: int = 443
) -> bytes:
    """Version 2, of a TCP connection."""
    kind = socket.AF_INET6 if ":" in source else socket.AF_INET
    addresses = socket.inet_pton(kind, source) + socket.inet_pton(kind, destination)
    block = addresses + struct.pack("!HH", source_port, destination_port)
    return binary(block, *vectors, family=TCP6 if ":" in source else TCP4)
