"""Bytes to send: requests, bodies in the chunked coding, and the ways in which a network may cut them up."""

import random
from collections.abc import Callable, Iterator


def render(method: str, target: str, *fields: str, body: bytes | None = None, version: str = "1.1") -> bytes:
    """A request's bytes. Host is added unless given; Content-Length when there is a body without a coding."""
    lines = [f"{method} {target} HTTP/{version}", *fields]
    given = {line.partition(":")[0].lower() for line in fields}
    if "host" not in given:
        lines.insert(1, "Host: example.test")
    if body is not None and not given & {"content-length", "transfer-encoding"}:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def chunked(body: bytes, size: int, extension: str = "", trailers: tuple[str, ...] = ()) -> bytes:
    """`body` in the chunked transfer coding (RFC 9112, section 7.1), in chunks of `size` bytes."""
    coded = bytearray()
    for start in range(0, len(body), size):
        chunk = body[start : start + size]
        coded += b"%x%s\r\n%s\r\n" % (len(chunk), extension.encode(), chunk)
    return bytes(coded) + "".join(["0\r\n", *(f"{line}\r\n" for line in trailers), "\r\n"]).encode()


def pattern(size: int) -> bytes:
    """`size` bytes in which a lost, repeated or moved block shows: the period is a prime."""
    period = bytes(range(251))
    return (period * (size // len(period) + 1))[:size]


def byte_by_byte(data: bytes) -> Iterator[bytes]:
    return (data[i : i + 1] for i in range(len(data)))


def random_pieces(data: bytes, seed: int = 1) -> Iterator[bytes]:
    """Cut `data` at reproducible random places, in about 40 pieces."""
    source = random.Random(seed)
    start = 0
    while start < len(data):
        end = start + source.randint(1, max(2, len(data) // 20))
        yield data[start:end]
        start = end


def whole(data: bytes) -> Iterator[bytes]:
    return iter([data] if data else [])


def head_by_head(data: bytes) -> Iterator[bytes]:
    """As a client sends that waits a little before each body and each request."""
    *heads, rest = data.split(b"\r\n\r\n")
    yield from (head + b"\r\n\r\n" for head in heads)
    yield from whole(rest)


#: The ways in which all raw requests are sent.
DELIVERIES: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    "whole": whole,
    "byte by byte": byte_by_byte,
    "in pieces": random_pieces,
}
