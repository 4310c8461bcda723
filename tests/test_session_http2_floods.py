"""Hostile clients of HTTP/2, each with its bound: of frames until the connection is ended, of CPU time, and of memory.

A flood is a function from a number to the bytes of its next frames. It is fed to a session whose client reads nothing.
"""

import tracemalloc
from collections.abc import Callable
from time import process_time

import pytest
from hpack import Encoder

from septet.http.head import response_head
from septet.http.incoming import Limits
from septet.protocol import CLOSE, READ
from septet.rules import Rules, Timeouts
from septet.session._http2_output import OUTPUT_BYTES
from septet.session._http2_state import CONTROL_FRAMES, RESETS
from support.http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Client,
    Peer,
    block,
    frame,
    get,
    head,
)

CPU_S = 2.0
"""Of a slow machine that others share; a quiet one takes a tenth."""

MEMORY_BYTES = 6 << 20

CALM, PROTOCOL, FLOW, COMPRESSION = 11, 1, 3, 9

Flood = Callable[[int], bytes]


def stream(number: int) -> int:
    return 2 * number + 1


def reset(number: int, code: int = 8) -> bytes:
    return frame(RST_STREAM, 0, stream(number), code.to_bytes(4))


def made_to_reset(number: int) -> bytes:
    """A request whose stream the server itself has to reset (CVE-2025-8671): content that the head has ruled out."""
    return head(stream(number), get("/", (b"connection", b"close"))) + frame(DATA, END_STREAM, stream(number), b"x")


def half_closed(number: int) -> bytes:
    return head(stream(number)) + reset(number) + frame(DATA, 0, stream(number), b"x")


FLOODS: dict[str, tuple[Flood, int]] = {
    "rapid reset": (lambda number: head(stream(number)) + reset(number), RESETS + 1),
    "made you reset": (made_to_reset, RESETS + 1),
    "refused and reset": (lambda number: head(stream(number), get("no-slash")) + reset(number), 2 * RESETS + 2),
    "ping": (lambda number: frame(PING, 0, 0, bytes(8)), CONTROL_FRAMES + 1),
    "answers to no ping": (lambda number: frame(PING, ACK, 0, bytes(8)), CONTROL_FRAMES + 1),
    "settings": (lambda number: frame(SETTINGS), CONTROL_FRAMES + 1),
    "large settings": (lambda number: frame(SETTINGS, 0, 0, b"\0\4\0\0\0\1" * 100), CONTROL_FRAMES + 1),
    "priority": (lambda number: frame(PRIORITY, 0, stream(number), bytes(4) + b"\x10"), CONTROL_FRAMES + 1),
    "priority updates": (lambda number: frame(0x10, 0, 0, bytes(3) + b"\1u=1"), CONTROL_FRAMES + 1),
    "unknown frames": (lambda number: frame(0xEE, 0, 0, b"?"), CONTROL_FRAMES + 1),
    "window updates": (lambda number: frame(WINDOW_UPDATE, 0, 0, (1).to_bytes(4)), CONTROL_FRAMES + 1),
    "empty content": (
        lambda number: (head(1, flags=END_HEADERS) if not number else b"") + frame(DATA, 0, 1),
        CONTROL_FRAMES + 20,
    ),
    "content for a stream that was reset": (
        lambda number: (head(1) + reset(0) if not number else b"") + frame(DATA, 0, 1, b"x"),
        CONTROL_FRAMES + 20,
    ),
    "window updates for a stream that was reset": (
        lambda number: (head(1) + reset(0) if not number else b"") + frame(WINDOW_UPDATE, 0, 1, (1).to_bytes(4)),
        CONTROL_FRAMES + 20,
    ),
    "half-closed streams": (half_closed, CONTROL_FRAMES + 20),
    "continuation": (
        lambda number: frame(CONTINUATION, 0, 1, b"\0" * 16000) if number else head(1, flags=0),
        70,
    ),
    "empty continuation": (lambda number: frame(CONTINUATION, 0, 1) if number else head(1, flags=0), 70),
    "streams beyond the limit": (lambda number: head(stream(number)), 100 + RESETS + 1),
    "requests that are refused": (lambda number: head(stream(number), get("no-slash")), 3 * RESETS),
    "trailers": (
        lambda number: head(stream(number), flags=END_HEADERS) + head(stream(number), [(b"connection", b"x")]),
        2 * RESETS,
    ),
}


@pytest.mark.parametrize(
    ("name", "concurrent"),
    [*((name, True) for name in FLOODS), *((name, False) for name in ("rapid reset", "made you reset", "ping"))],
)
def test_flood(name: str, concurrent: bool) -> None:
    """It ends with GOAWAY, after so many frames, and the applications are told."""
    flood, most = FLOODS[name]
    peer = Peer(concurrent=concurrent)
    session = peer.session
    began = process_time()
    for number in range(most + 1):
        peer.receive(flood(number))
        if session.codec.over:
            break
    else:
        pytest.fail("the flood goes on")
    assert process_time() - began < CPU_S
    assert len(session.output) < OUTPUT_BYTES
    peer.send(told=False)
    assert session.phase.want is CLOSE
    assert b"\x07\0\0\0\0\0" in peer.said  # GOAWAY
    assert all(exchange.lost for exchange in peer.due if not exchange.answered)


@pytest.mark.parametrize("name", ["rapid reset", "ping", "continuation", "streams beyond the limit"])
def test_memory_of_floods(name: str) -> None:
    flood, most = FLOODS[name]
    peer = Peer()
    tracemalloc.start()
    try:
        for number in range(most + 1):
            peer.receive(flood(number))
        assert tracemalloc.get_traced_memory()[1] < MEMORY_BYTES
    finally:
        tracemalloc.stop()


def test_floods_in_one_piece() -> None:
    """A flood that comes at once is not handled to its end first."""
    peer = Peer()
    began = process_time()
    peer.receive(frame(PING, 0, 0, bytes(8)) * 50_000)
    assert process_time() - began < CPU_S
    assert len(peer.session.output) < OUTPUT_BYTES


def test_those_who_work_may_reset_and_ping_for_ever() -> None:
    peer = Peer()
    for number in range(250):
        peer.receive(head(stream(2 * number)) + head(stream(2 * number + 1)) + reset(2 * number + 1))
        for _ in range(5):
            peer.receive(frame(PING, 0, 0, bytes(8)))
        for exchange in peer.due:
            exchange.respond(response_head(200, b"", ()), b"", True)
        peer.due.clear()
        peer.send(told=False)
    assert not peer.session.codec.over


def test_pings_now_and_then() -> None:
    """Those who keep an idle connection open for days."""
    peer = Peer(Rules(concurrent=True, timeouts=Timeouts(keep_alive=1e9)))
    for _ in range(3 * CONTROL_FRAMES):
        peer.pass_time(1, step=1)
        peer.receive(frame(PING, 0, 0, bytes(8)))
        peer.send(told=False)
    assert peer.session.phase.want is READ


def test_reset_streams_count_until_their_application_ends() -> None:
    """A client cannot have more applications run than streams that it may open (the point of rapid reset)."""
    peer = Peer()
    for number in range(100):
        peer.receive(head(stream(number)) + reset(number))
    assert len(peer.due) <= 100
    running = [exchange for exchange in peer.due if exchange.begun]
    peer.receive(head(stream(100)))
    assert len([exchange for exchange in peer.due if exchange.begun]) <= 100
    for exchange in running:
        exchange.fail()
    assert len(peer.session._exchanges) <= 1


# Compression


def test_bomb() -> None:
    """A field of 4,000 bytes in the table, and then its number a thousand times: 4 MB from 5 KB."""
    peer = Peer(Rules(concurrent=True, limits=Limits(header_block=65536)))
    encoder = Encoder()
    bomb = encoder.encode([(b"x-bomb", b"a" * 4000)], huffman=False)
    peer.receive(frame(HEADERS, END_HEADERS | END_STREAM, 1, block(get()) + bomb))
    assert len(peer.due) == 1
    tracemalloc.start()
    began = process_time()
    try:
        peer.receive(frame(HEADERS, END_HEADERS | END_STREAM, 3, block(get()) + b"\xbe" * 10_000))
        assert tracemalloc.get_traced_memory()[1] < MEMORY_BYTES
    finally:
        tracemalloc.stop()
    assert process_time() - began < CPU_S
    assert peer.session.codec.over
    assert len(peer.due) == 1


def test_a_head_a_little_over_the_limit_is_answered_431() -> None:
    client = Client()
    peer = Peer(Rules(concurrent=True, limits=Limits(header_block=5000)), client=client)
    asked = peer.ask(get("/", (b"x-large", b"a" * 6000)))
    assert client.answers[asked].status == 431


def test_table_of_any_size() -> None:
    """A table larger than was allowed, and one that shrinks and grows: the first ends the connection."""
    peer = Peer()
    peer.receive(frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x3f\xe1\xff\xff\x03" + block(get())))
    assert peer.session.codec.over


@pytest.mark.parametrize(
    "data", [b"\xff", b"\x80", b"\x7f\xff\xff\xff\xff\xff\xff", b"\x00\x85\xff\xff\xff\xff\xff\x00"]
)
def test_broken_blocks(data: bytes) -> None:
    peer = Peer()
    peer.receive(frame(HEADERS, END_HEADERS | END_STREAM, 1, data))
    peer.send(told=False)
    assert (peer.session.phase.want, peer.due) == (CLOSE, [])


def test_sizes_of_the_table_in_sequence() -> None:
    """Each takes time, and none is a field: 60 KB of them took as long as a hundred requests."""
    peer = Peer()
    peer.receive(frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x20\x3f\xe1\x1f" + block(get())))
    assert len(peer.due) == 1
    peer.receive(frame(HEADERS, END_HEADERS | END_STREAM, 3, b"\x20\x3f\xe1\x1f" * 20 + block(get())))
    peer.send(told=False)
    assert (peer.session.phase.want, len(peer.due)) == (CLOSE, 1)
    assert COMPRESSION.to_bytes(4) in peer.said


def test_our_own_table_is_small_whatever_the_client_allows() -> None:
    """The library follows SETTINGS_HEADER_TABLE_SIZE up to 4 GiB: the fields of all answers were kept, and searched."""
    peer = Peer()
    peer.receive(frame(SETTINGS, 0, 0, b"\0\1\xff\xff\xff\xff"))
    for number in range(100):
        peer.receive(head(stream(number)))
        fields = ((b"X-New", b"%d" % number + bytes([97]) * 200),)
        peer.due.pop().respond(response_head(200, b"", fields), b"", True)
        peer.send(told=False)
    assert peer.session.codec._h2.encoder.header_table._current_size <= 4096


@pytest.mark.parametrize("size", [0, 100, 4096])
def test_table_that_the_client_makes_small(size: int) -> None:
    client = Client()
    client.h2.update_settings({1: size})
    peer = Peer(client=client)
    for number in range(5):
        asked = peer.ask(get())
        fields = ((b"X-New", b"%d" % number),)
        peer.due.pop().respond(response_head(200, b"", fields), b"", True)
        peer.send()
        assert peer[asked].fields[b"x-new"] == b"%d" % number


def test_a_broken_block_is_not_quoted_at_length() -> None:
    said: list[str] = []
    peer = Peer(Rules(concurrent=True, refused=said.append))
    peer.receive(frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x7f" + b"\xff" * 16000))
    assert len(said[0]) < 400


# Frames


def test_a_frame_that_is_too_long_is_not_awaited() -> None:
    """Its length says up to 16 MiB, which were buffered before it was refused."""
    peer = Peer()
    peer.receive((2**24 - 1).to_bytes(3) + bytes([DATA, 0]) + (1).to_bytes(4) + b"x")
    peer.send(told=False)
    assert peer.session.phase.want is CLOSE
    assert peer.said.endswith((6).to_bytes(4))  # FRAME_SIZE_ERROR


def test_a_long_header_block_is_not_awaited() -> None:
    peer = Peer(Rules(concurrent=True, limits=Limits(header_block=10_000)))
    peer.receive(head(1, flags=0))
    peer.receive(frame(CONTINUATION, 0, 1, bytes(16000)))
    assert not peer.session.codec.over
    peer.receive(frame(CONTINUATION, 0, 1, bytes(16000)))
    assert peer.session.codec.over


def test_settings_that_nobody_knows_are_forgotten() -> None:
    """There are 65,536 numbers for them, and the library had an object of 700 bytes for each."""
    peer = Peer()
    tracemalloc.start()
    began = process_time()
    try:
        for first in range(0, 60_000, 2500):
            numbers = range(first + 100, first + 2600)
            peer.receive(frame(SETTINGS, 0, 0, b"".join(number.to_bytes(2) + bytes(4) for number in numbers)))
        assert tracemalloc.get_traced_memory()[1] < MEMORY_BYTES
    finally:
        tracemalloc.stop()
    assert process_time() - began < CPU_S
    assert not peer.session.codec.over


# Windows


def test_window_beyond_its_end() -> None:
    peer = Peer()
    for _ in range(2):
        peer.receive(frame(WINDOW_UPDATE, 0, 0, (2**31 - 1).to_bytes(4)))
    assert peer.session.codec.over


def test_stream_window_beyond_its_end() -> None:
    peer = Peer()
    peer.receive(head(1, flags=END_HEADERS) + frame(WINDOW_UPDATE, 0, 1, (2**31 - 1).to_bytes(4)))
    assert not peer.due  # the stream was reset before its turn
    other = peer.ask(get())
    assert other in peer.client.answers or peer.session.codec.over


def test_more_content_than_the_window() -> None:
    peer = Peer()
    peer.receive(head(1, flags=END_HEADERS))
    for _ in range(5):
        peer.receive(frame(DATA, 0, 1, bytes(16384)))
    assert peer.session.codec.over
    assert peer.due[0].lost


def test_windows_of_nothing() -> None:
    """A hundred answers of a megabyte that nobody takes: each is held once, no frame is made of it, and the time to
    write ends it."""
    timeouts = Timeouts(write=2, keep_alive=100)
    client = Client(window=0, reads=False)
    peer = Peer(Rules(concurrent=True, timeouts=timeouts), client=client)
    for _ in range(100):
        client.ask(get())
    peer.exchange_data()
    content = bytes(1 << 20)
    tracemalloc.start()
    began = process_time()
    try:
        for exchange in peer.due:
            exchange.respond(response_head(200, b"", ()), content, True)
            assert exchange.blocked
        peer.send()
        assert tracemalloc.get_traced_memory()[1] < MEMORY_BYTES
    finally:
        tracemalloc.stop()
    assert not any(answer.body for answer in client.answers.values())
    for _ in range(200):
        peer.pass_time(3)
    assert {answer.reset for answer in client.answers.values()} == {8}
    assert not peer.session._exchanges
    assert process_time() - began < 5 * CPU_S


def test_dripping_windows_cost_little() -> None:
    """Windows that open byte by byte: the least rate applies to each stream."""
    timeouts = Timeouts(write=2, rate=1000, keep_alive=100)
    client = Client(window=1, reads=False)
    peer = Peer(Rules(concurrent=True, timeouts=timeouts), client=client)
    asked = peer.ask(get())
    peer.due[0].respond(response_head(200, b"", ()), bytes(10_000), True)
    peer.send()
    for _ in range(4):
        peer.pass_time(1)
        if client.answers[asked].reset is None:
            client.h2.increment_flow_control_window(1, asked)
            peer.exchange_data()
    assert client.answers[asked].reset == 8
