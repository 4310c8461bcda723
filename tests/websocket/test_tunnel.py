"""Messages in and out of a tunnel: however the bytes are cut, bounded, and however they are compressed."""

import random
import zlib
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from septet.websocket.tunnel import MESSAGE_BYTES, QUEUE_BYTES, Message, Tunnel, TunnelOptions
from support.websocket import BINARY, CLOSE, PING, TEXT, frame

CONT = 0
DEFLATE = ("permessage-deflate; client_max_window_bits",)
MIB = 1 << 20


def taken(tunnel: Tunnel) -> Iterator[Message]:
    while (message := tunnel.take()) is not None:
        yield message


def fed(pieces: Iterable[bytes], options: TunnelOptions | None = None, extensions: tuple[str, ...] = ()) -> Tunnel:
    tunnel = Tunnel(options or TunnelOptions(), extensions)
    for piece in pieces:
        tunnel.receive(piece)
    return tunnel


def compressed(data: bytes) -> bytes:
    """The payload of a compressed message (RFC 7692 section 7.2.1)."""
    deflater = zlib.compressobj(wbits=-12)
    return (deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]


STREAM = (
    frame(TEXT, b"hello")
    + frame(BINARY, b"\0" * 200)
    + frame(TEXT, "né".encode()[:2], fin=False)
    + frame(PING, b"ping")
    + frame(CONT, b"", fin=False)
    + frame(CONT, "né".encode()[2:])
    + frame(TEXT, b"x" * 70_000)
    + frame(BINARY, b"")
    + frame(CLOSE, b"\x0f\xa0bye")
)
MESSAGES = ["hello", bytes(200), "né", "x" * 70_000, b""]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 126, 4096, 70_000, len(STREAM)])
def test_however_the_bytes_are_cut(size: int) -> None:
    tunnel = Tunnel(TunnelOptions(), ())
    found: list[Message] = []
    output = b""
    for start in range(0, len(STREAM), size):
        tunnel.receive(STREAM[start : start + size])
        found += taken(tunnel)
        output += tunnel.output()
    assert found == MESSAGES
    assert tunnel.closed == (4000, "bye")
    assert output == b"\x8a\x04ping\x88\x05\x0f\xa0bye"
    assert tunnel.over
    assert tunnel.client_closed


def test_the_end_comes_behind_the_messages() -> None:
    """A close frame, or a mistake, is told of when what came before it is taken; so it can be answered."""
    for bad, closed in ((frame(CLOSE, b""), (1005, "")), (frame(3, b""), (1002, "invalid opcode"))):
        tunnel = fed([frame(TEXT, b"one") + bad])
        assert tunnel.closed is None
        assert tunnel.output() == b""
        assert [tunnel.over, tunnel.closing] == [False, False]
        assert tunnel.take() == "one"
        assert tunnel.message("answer") == b"\x81\x06answer"
        assert tunnel.take() is None
        assert tunnel.closed == closed
        assert tunnel.output()[:1] == b"\x88"
        assert tunnel.over


def test_what_waits_for_the_application_is_bounded() -> None:
    tunnel = Tunnel(TunnelOptions(), ())
    for _ in range(1000):
        tunnel.receive(frame(BINARY, bytes(1000)))
    assert tunnel.queued <= QUEUE_BYTES + 1000 + MESSAGE_BYTES
    assert tunnel.unread > 500_000  # a carrier stops receiving long before
    assert len(list(taken(tunnel))) == 1000
    assert tunnel.unread == 0


def test_empty_messages_count() -> None:
    tunnel = Tunnel(TunnelOptions(), ())
    tunnel.receive(frame(BINARY, b"") * 2000)
    tunnel.receive(frame(BINARY, b""))
    assert tunnel.queued >= 2000 * MESSAGE_BYTES > QUEUE_BYTES
    assert tunnel.unread == tunnel.queued + len(frame(BINARY, b""))


def test_expansion_goes_in_steps() -> None:
    """64 KiB of compressed messages, each of 1 MiB: not all of them are expanded at once."""
    bomb = frame(BINARY, compressed(bytes(MIB)), rsv1=True)
    count = 65536 // len(bomb)
    tunnel = fed([bomb * count], extensions=DEFLATE)
    assert tunnel.queued < 6 * MIB
    assert sum(len(message) for message in taken(tunnel)) == count * MIB


@pytest.mark.parametrize("extensions", [(), DEFLATE])
def test_message_that_is_too_long(extensions: tuple[str, ...]) -> None:
    payload = compressed(bytes(1001)) if extensions else bytes(1001)
    options = TunnelOptions(max_message=1000)
    in_one = [frame(BINARY, payload, rsv1=bool(extensions))]
    in_two = [frame(BINARY, bytes(600), fin=False), frame(CONT, bytes(401))]
    for pieces in (in_one, in_two):
        tunnel = fed(pieces, options, extensions)
        assert tunnel.closed is not None
        assert tunnel.closed[0] == 1009
        assert list(taken(tunnel)) == []


@pytest.mark.parametrize(
    "pieces",
    [
        [frame(TEXT, b"\xff")],
        [frame(TEXT, b"abc\xe2\x82")],
        [frame(TEXT, b"\xe2", fin=False), frame(CONT, b"x")],
        [frame(TEXT, b"ok", fin=False), frame(CONT, b"\xf8", fin=False)],
        [frame(TEXT, b"\xe2\x28" + bytes(200))[:20]],  # before its frame is complete
        [frame(TEXT, b"\xe2", fin=False), frame(CONT, b"\x28" + bytes(200))[:20]],
    ],
)
def test_text_that_is_none(pieces: list[bytes]) -> None:
    tunnel = fed(pieces)
    assert tunnel.closed is not None
    assert tunnel.closed[0] == 1007


def test_compressed_text_in_fragments() -> None:
    """Its frames are no text, whole or in part; what they expand to is."""
    payload = compressed(("né" * 500).encode())
    stream = frame(TEXT, payload[:10], fin=False, rsv1=True) + frame(CONT, payload[10:])
    for size in (1, 5, len(stream)):
        tunnel = fed((stream[start : start + size] for start in range(0, len(stream), size)), extensions=DEFLATE)
        assert list(taken(tunnel)) == ["né" * 500]


def test_compression_begins_again_after_a_rest() -> None:
    """What the client expands with one decompressor stays right when the compressor was given up meanwhile."""
    tunnel = fed([frame(TEXT, compressed(b"hello"), rsv1=True)], extensions=DEFLATE)
    assert tunnel.accepted_extensions == "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"
    inflater = zlib.decompressobj(wbits=-12)
    for _ in range(3):
        for text in ("a message " * 20, "another message " * 20):
            made = tunnel.message(text)
            assert made[0] == 0xC1
            payload = made[2:] if made[1] < 126 else made[4:]
            assert inflater.decompress(payload + b"\0\0\xff\xff").decode() == text
        assert tunnel.ping() == b"\x89\0"


@pytest.mark.parametrize(
    ("code", "reason"), [(999, ""), (1005, ""), (1006, ""), (1015, ""), (5000, ""), (1000, "x" * 124), (1000, "é" * 62)]
)
def test_closes_that_cannot_be_sent(code: int, reason: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Tunnel(TunnelOptions(), ()).close(code, reason)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=600), st.booleans(), st.integers(0, 2**32))
def test_any_bytes_whatsoever(data: bytes, deflated: bool, seed: int) -> None:
    """They come to an end in order, or wait for more; however they are cut, the same messages come of them."""
    chance = random.Random(seed)
    extensions = DEFLATE if deflated else ()
    stream = frame(chance.choice((TEXT, BINARY)), b"ok") + data
    places = sorted(chance.randrange(len(stream) + 1) for _ in range(5))
    pieces = [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]
    whole, cut = fed([stream], extensions=extensions), fed(filter(None, pieces), extensions=extensions)
    assert list(taken(whole)) == list(taken(cut))
    assert (whole.closed or (0, ""))[0] == (cut.closed or (0, ""))[0]
