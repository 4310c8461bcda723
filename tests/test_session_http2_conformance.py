"""What RFC 9113 says of frames, states and errors: each case is what a client sends, and the error that must answer it.

A stream error may be treated as an error of the connection (section 5.4.1), so a GOAWAY is accepted for it; the other
way round is not.
"""

import pytest

from septet.http.head import response_head
from septet.protocol import CLOSE
from support.http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Peer,
    block,
    frame,
    frames_of,
    get,
    head,
)

PRIORITY_FLAG = 0x20
NO_ERROR, PROTOCOL, INTERNAL, FLOW_CONTROL, _, STREAM_CLOSED, FRAME_SIZE, REFUSED, CANCEL, COMPRESSION = range(10)

OPENED = head(1, flags=END_HEADERS)
ASKED = head(1)
RESET = frame(RST_STREAM, 0, 1, (8).to_bytes(4))


def setting(number: int, value: int) -> bytes:
    return number.to_bytes(2) + value.to_bytes(4)


def block_and(more: bytes) -> bytes:
    """A request whose header block has something after its fields."""
    return frame(HEADERS, END_HEADERS | END_STREAM, 1, block(get()) + more)


CONNECTION_ERRORS = {
    "4.2: DATA beyond the frame size": (OPENED + frame(DATA, 0, 1, bytes(16385)), {FRAME_SIZE}),
    "4.2: HEADERS beyond the frame size": (frame(HEADERS, END_HEADERS, 1, bytes(16385)), {FRAME_SIZE}),
    "4.3: a block that is no HPACK": (frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"), {COMPRESSION}),
    "4.3: a literal that has ended": (frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x40"), {COMPRESSION}),
    "HPACK 2.3.3: an index beyond the tables": (block_and(b"\xfe"), {COMPRESSION}),
    "HPACK 4.2: a size of the table at the end": (block_and(b"\x21"), {COMPRESSION}),
    "HPACK 5.2: padding of more than 7 bits": (
        block_and(b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff"),
        {COMPRESSION},
    ),
    "HPACK 5.2: padding of zeros": (block_and(b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90"), {COMPRESSION}),
    "HPACK 5.2: an end of string in the middle": (
        block_and(b"\x00\x85\xf2\xb2\x4a\x87\xff\xff\xff\xfd\x25\x42\x7f"),
        {COMPRESSION},
    ),
    "HPACK 6.1: index 0": (block_and(b"\x80"), {COMPRESSION}),
    "HPACK 6.3: a table larger than allowed": (
        frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x3f\xe2\x1f" + block(get())),
        {COMPRESSION},
    ),
    "4.3: an index that is not there": (frame(HEADERS, END_HEADERS, 1, b"\xfe"), {COMPRESSION}),
    "5.1: DATA on an idle stream": (frame(DATA, END_STREAM, 1, b"x"), {PROTOCOL}),
    "5.1: RST_STREAM on an idle stream": (RESET, {PROTOCOL}),
    "5.1: WINDOW_UPDATE on an idle stream": (frame(WINDOW_UPDATE, 0, 1, (1).to_bytes(4)), {PROTOCOL}),
    "5.1: CONTINUATION on an idle stream": (frame(CONTINUATION, END_HEADERS, 1, block(get())), {PROTOCOL}),
    "5.1.1: an even stream": (head(2), {PROTOCOL}),
    "5.1.1: a stream below the last": (head(5) + head(3), {PROTOCOL, STREAM_CLOSED}),
    "5.5: an unknown frame within a block": (
        head(1, flags=0) + frame(0xEE, 0, 1) + frame(CONTINUATION, END_HEADERS, 1),
        {PROTOCOL},
    ),
    "6.1: DATA on stream 0": (frame(DATA, 0, 0, b"x"), {PROTOCOL}),
    "6.1: more padding than content": (OPENED + frame(DATA, PADDED, 1, b"\5x"), {PROTOCOL}),
    "6.2: HEADERS on stream 0": (frame(HEADERS, END_HEADERS, 0, block(get())), {PROTOCOL}),
    "6.2: HEADERS with more padding": (frame(HEADERS, END_HEADERS | PADDED, 1, b"\xc8" + block(get())), {PROTOCOL}),
    "6.2: HEADERS within a block": (head(1, flags=0) + head(3), {PROTOCOL}),
    "6.2: PRIORITY within a block": (head(1, flags=0) + frame(PRIORITY, 0, 3, bytes(5)), {PROTOCOL}),
    "6.3: PRIORITY on stream 0": (frame(PRIORITY, 0, 0, bytes(5)), {PROTOCOL}),
    "6.4: RST_STREAM on stream 0": (frame(RST_STREAM, 0, 0, bytes(4)), {PROTOCOL}),
    "6.4: RST_STREAM of three bytes": (OPENED + frame(RST_STREAM, 0, 1, bytes(3)), {FRAME_SIZE}),
    "6.5: an acknowledgement with content": (
        frame(SETTINGS, ACK, 0, setting(1, 1)),
        {FRAME_SIZE, PROTOCOL},
    ),  # the library's
    "6.5: SETTINGS on a stream": (OPENED + frame(SETTINGS, 0, 1, setting(1, 1)), {PROTOCOL}),
    "6.5: SETTINGS of three bytes": (frame(SETTINGS, 0, 0, bytes(3)), {FRAME_SIZE}),
    "6.5.2: ENABLE_PUSH of 2": (frame(SETTINGS, 0, 0, setting(2, 2)), {PROTOCOL}),
    "6.5.2: INITIAL_WINDOW_SIZE of 2**31": (frame(SETTINGS, 0, 0, setting(4, 2**31)), {FLOW_CONTROL}),
    "6.5.2: MAX_FRAME_SIZE of 16383": (frame(SETTINGS, 0, 0, setting(5, 16383)), {PROTOCOL}),
    "6.5.2: MAX_FRAME_SIZE of 2**24": (frame(SETTINGS, 0, 0, setting(5, 2**24)), {PROTOCOL}),
    "6.7: PING on a stream": (OPENED + frame(PING, 0, 1, bytes(8)), {PROTOCOL}),
    "6.7: PING of six bytes": (frame(PING, 0, 0, bytes(6)), {FRAME_SIZE}),
    "6.8: GOAWAY on a stream": (OPENED + frame(GOAWAY, 0, 1, bytes(8)), {PROTOCOL}),
    "6.9: a window opened by nothing": (frame(WINDOW_UPDATE, 0, 0, bytes(4)), {PROTOCOL}),
    "6.9: WINDOW_UPDATE of three bytes": (frame(WINDOW_UPDATE, 0, 0, bytes(3)), {FRAME_SIZE}),
    "6.9.1: a window beyond 2**31-1": (frame(WINDOW_UPDATE, 0, 0, (2**31 - 1).to_bytes(4)), {FLOW_CONTROL}),
    "6.9.1: more content than the window": (
        OPENED + frame(DATA, 0, 1, bytes(16384)) * 5,
        {FLOW_CONTROL},
    ),
    "6.10: CONTINUATION after the end of a block": (
        ASKED + frame(CONTINUATION, END_HEADERS, 1),
        {PROTOCOL, STREAM_CLOSED},
    ),
    "6.10: CONTINUATION on stream 0": (head(1, flags=0) + frame(CONTINUATION, END_HEADERS, 0), {PROTOCOL}),
    "6.10: CONTINUATION of another stream": (head(1, flags=0) + frame(CONTINUATION, END_HEADERS, 3), {PROTOCOL}),
    "6.10: CONTINUATION after DATA": (OPENED + frame(DATA, 0, 1, b"x") + frame(CONTINUATION, 4, 1), {PROTOCOL}),
    "8.4: PUSH_PROMISE of a client": (OPENED + frame(5, END_HEADERS, 1, (2).to_bytes(4) + block(get())), {PROTOCOL}),
}

STREAM_ERRORS = {
    "5.1: DATA on a half-closed stream": (ASKED + frame(DATA, END_STREAM, 1, b"x"), {STREAM_CLOSED}),
    "5.1: HEADERS on a half-closed stream": (ASKED + head(1), {STREAM_CLOSED}),
    "5.3.1: a stream that depends on itself": (
        frame(HEADERS, END_HEADERS | END_STREAM | PRIORITY_FLAG, 1, (1).to_bytes(4) + b"\x10" + block(get())),
        {PROTOCOL},
    ),
    "5.3.1: PRIORITY on itself": (frame(PRIORITY, 0, 1, (1).to_bytes(4) + b"\x10"), {PROTOCOL}),
    "5.1: DATA after RST_STREAM": (OPENED + RESET + frame(DATA, END_STREAM, 1, b"x"), {STREAM_CLOSED}),
    "5.1: HEADERS after RST_STREAM": (OPENED + RESET + head(1), {STREAM_CLOSED}),
    "8.3: an unknown pseudo-field": (head(1, [*get(), (b":test", b"ok")]), {PROTOCOL}),
    "8.3: the pseudo-field of answers": (head(1, [*get(), (b":status", b"200")]), {PROTOCOL}),
    "8.3: a pseudo-field after a field": (head(1, [(b"x-test", b"ok"), *get()]), {PROTOCOL}),
    "8.3: two methods": (head(1, [*get(), (b":method", b"GET")]), {PROTOCOL}),
    "8.3: two paths": (head(1, [*get(), (b":path", b"/")]), {PROTOCOL}),
    "8.3.1: an empty path": (head(1, get("")), {PROTOCOL}),
    "8.2.2: connection": (head(1, get("/", (b"connection", b"keep-alive"))), {PROTOCOL}),
    "8.2.2: te": (head(1, get("/", (b"te", b"trailers, deflate"))), {PROTOCOL}),
    "6.3: PRIORITY of four bytes": (OPENED + frame(PRIORITY, 0, 1, bytes(4)), {FRAME_SIZE}),
    "6.9: a stream's window opened by nothing": (OPENED + frame(WINDOW_UPDATE, 0, 1, bytes(4)), {PROTOCOL}),
    "6.9.1: a stream's window beyond 2**31-1": (
        OPENED + frame(WINDOW_UPDATE, 0, 1, (2**31 - 1).to_bytes(4)),
        {FLOW_CONTROL},
    ),
    "8.1: a second HEADERS that ends nothing": (OPENED + head(1, [(b"a", b"b")], END_HEADERS), {PROTOCOL}),
    "8.1: a pseudo-field in trailers": (OPENED + head(1, [(b":method", b"GET")]), {PROTOCOL}),
    "8.1.1: less content than announced": (
        head(1, get("/", (b"content-length", b"9"), method=b"POST"), END_HEADERS) + frame(DATA, END_STREAM, 1, b"four"),
        {PROTOCOL},
    ),
    "8.1.1: more content than announced": (
        head(1, get("/", (b"content-length", b"1"), method=b"POST"), END_HEADERS) + frame(DATA, END_STREAM, 1, b"four"),
        {PROTOCOL},
    ),
    "8.2: a name with a capital": (head(1, get("/", (b"X", b"y"))), {PROTOCOL}),
    "8.3: no method": (head(1, get()[1:]), {PROTOCOL}),
}

LITERALS = [prefix + rest for prefix in (b"\x40", b"\x00", b"\x10") for rest in (
    b"\x06x-test\x06h2spec",
    b"\x85\xf2\xb2\x4a\x84\xff\x84\x9c\x48\xac\xa4",
)]  # fmt: skip

HARMLESS = {
    "4.2: DATA of the largest size": OPENED + frame(DATA, END_STREAM, 1, bytes(16384)),
    "5.1: PRIORITY on a half-closed stream": ASKED + frame(PRIORITY, 0, 1, bytes(5)),
    "6.2: HEADERS with a priority": frame(
        HEADERS, END_HEADERS | END_STREAM | PRIORITY_FLAG, 1, bytes(4) + b"\xff" + block(get())
    ),
    "6.4: RST_STREAM with an unknown code": OPENED + frame(RST_STREAM, 0, 1, (255).to_bytes(4)),
    "HPACK: an indexed field": block_and(b"\xba"),
    "HPACK: a size of the table": frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x20" + block(get())),
    "HPACK: two sizes of the table": frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x20\x3f\xe1\x1f" + block(get())),
    **{f"HPACK: literal {number}": block_and(literal) for number, literal in enumerate(LITERALS)},
    "4.1: an unknown frame": frame(0xEE, 0xFF, 0, b"whatever"),
    "4.1: an unknown flag": frame(PING, 0x16, 0, bytes(8)),
    "4.1: the reserved bit": frame(PING, 0, 0x80000000, bytes(8)),
    "5.1: PRIORITY on an idle stream": frame(PRIORITY, 0, 9, bytes(5)),
    "6.5.2: an unknown setting": frame(SETTINGS, 0, 0, setting(0xFFFF, 1)),
    "6.5.3: a setting twice": frame(SETTINGS, 0, 0, setting(4, 100) + setting(4, 65535)),
    "6.7: an answer to no PING": frame(PING, ACK, 0, bytes(8)),
    "6.2: a block in pieces, with padding": (
        frame(HEADERS, END_STREAM | PADDED, 1, b"\3" + block(get())[:20] + bytes(3))
        + frame(CONTINUATION, 0, 1, block(get())[20:30])
        + frame(CONTINUATION, 0, 1)
        + frame(CONTINUATION, END_HEADERS, 1, block(get())[30:])
    ),
}


AT_ONCE = head(1, get("/send?size=5"))
OPENED_AT_ONCE = head(1, get("/send?size=5"), END_HEADERS)

ONCE_ANSWERED = {
    "5.1: DATA on a stream that both have ended": (AT_ONCE, frame(DATA, END_STREAM, 1, b"x"), {STREAM_CLOSED}),
    "5.1: HEADERS on a stream that both have ended": (AT_ONCE, head(1), {STREAM_CLOSED}),
    "6.9.1: a stream's window beyond 2**31-1": (
        OPENED_AT_ONCE,
        frame(WINDOW_UPDATE, 0, 1, (2**31 - 1).to_bytes(4)) * 2,
        {FLOW_CONTROL},
    ),
    "8.1: a second HEADERS that ends nothing": (OPENED_AT_ONCE, head(1, [(b"a", b"b")], END_HEADERS), {PROTOCOL}),
    "8.1: a pseudo-field in trailers": (OPENED_AT_ONCE, head(1, [(b":method", b"GET")], END_HEADERS), {PROTOCOL}),
    "8.1.1: more content than announced": (
        head(1, get("/send?size=5", (b"content-length", b"1"), method=b"POST"), END_HEADERS),
        frame(DATA, END_STREAM, 1, b"four"),
        {PROTOCOL},
    ),
    "8.1.1: less content than announced": (
        head(1, get("/send?size=5", (b"content-length", b"9"), method=b"POST"), END_HEADERS),
        frame(DATA, END_STREAM, 1, b"four"),
        {PROTOCOL},
    ),
}
"""A request, and what follows when it has been answered: an application may be faster than its client. The code that
comes is the same as if it were slower."""


def errors_of(said: bytes) -> tuple[list[int], list[int]]:
    """The codes of the GOAWAY frames and of the RST_STREAM frames that were sent."""
    away, resets = [], []
    for kind, payload in frames_of(said):
        if kind == GOAWAY:
            away.append(int.from_bytes(payload[4:8]))
        elif kind == RST_STREAM:
            resets.append(int.from_bytes(payload))
    return away, resets


@pytest.mark.parametrize("name", CONNECTION_ERRORS)
def test_connection_error(name: str) -> None:
    data, codes = CONNECTION_ERRORS[name]
    peer = Peer()
    peer.receive(data)
    peer.send(told=False)
    away, _ = errors_of(peer.said)
    assert away, "no GOAWAY was sent"
    assert set(away) <= codes
    assert peer.session.phase.want is CLOSE
    assert peer.session.half_close()  # the client can read it


@pytest.mark.parametrize("name", STREAM_ERRORS)
def test_stream_error(name: str) -> None:
    data, codes = STREAM_ERRORS[name]
    peer = Peer()
    peer.receive(data)
    peer.send(told=False)
    away, resets = errors_of(peer.said)
    assert away or resets, "neither GOAWAY nor RST_STREAM was sent"
    assert {*away, *resets} <= codes


@pytest.mark.parametrize("name", ONCE_ANSWERED)
def test_error_after_the_answer(name: str) -> None:
    request, then, codes = ONCE_ANSWERED[name]
    peer = Peer()
    peer.receive(request)
    peer.due[0].respond(response_head(200, b"", ()), b"at once", True)
    peer.send(told=False)
    assert errors_of(peer.said) == ([], [])
    peer.receive(then)
    peer.send(told=False)
    away, resets = errors_of(peer.said)
    assert away or resets, "neither GOAWAY nor RST_STREAM was sent"
    assert {*away, *resets} <= codes
    if "both have ended" in name:  # there is no stream that could be reset
        assert away
        assert peer.session.phase.want is CLOSE


def test_window_of_a_stream_beyond_its_end_resets_it_alone() -> None:
    """6.9.1."""
    peer = Peer()
    peer.receive(OPENED + frame(WINDOW_UPDATE, 0, 1, (2**31 - 1).to_bytes(4)))
    peer.send(told=False)
    assert errors_of(peer.said) == ([], [FLOW_CONTROL])


def test_windows_beyond_their_end_by_settings() -> None:
    """6.9.2: ends the connection."""
    peer = Peer()
    peer.receive(OPENED + frame(WINDOW_UPDATE, 0, 1, (2**31 - 1 - 65535).to_bytes(4)))
    peer.receive(frame(SETTINGS, 0, 0, setting(4, 65536)))
    peer.send(told=False)
    assert errors_of(peer.said) == ([FLOW_CONTROL], [])


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless(name: str) -> None:
    peer = Peer()
    peer.receive(HARMLESS[name])
    peer.receive(head(11))
    peer.send(told=False)
    assert errors_of(peer.said) == ([], [])
    assert [exchange.stream for exchange in peer.due][-1] == 11


def test_content_after_a_reset_is_ignored_or_refused() -> None:
    """5.1: frames that were on their way. The connection goes on, and its window with it."""
    peer = Peer()
    peer.receive(OPENED + RESET)
    for _ in range(20):
        peer.receive(frame(DATA, 0, 1, bytes(16000)))
    peer.receive(head(3))
    peer.send(told=False)
    away, resets = errors_of(peer.said)
    assert not away
    assert set(resets) <= {STREAM_CLOSED}
    assert peer.due[-1].stream == 3


def test_window_that_becomes_negative() -> None:
    """6.9.2: SETTINGS may take more from a window than it has."""
    peer = Peer()
    peer.receive(frame(SETTINGS, 0, 0, setting(4, 10)) + head(1))
    peer.due[0].respond(response_head(200, b"", ()), b"0123456789abcdef", True)
    peer.send(told=False)
    peer.receive(frame(SETTINGS, 0, 0, setting(4, 5)))
    peer.send(told=False)
    assert b"abcdef" not in peer.said
    peer.receive(frame(WINDOW_UPDATE, 0, 1, (5).to_bytes(4)))  # now it is 0
    peer.send(told=False)
    assert b"abc" not in peer.said
    peer.receive(frame(WINDOW_UPDATE, 0, 1, (6).to_bytes(4)))
    peer.send(told=False)
    assert b"abcdef" in peer.said
