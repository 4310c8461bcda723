"""Properties of all input: cutting changes nothing, it raises nothing but refusals, and its cost is linear."""

import time
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.exchange import ProtocolError
from septet.http.grammar import is_chunk_extensions
from septet.http.incoming import Limits
from septet.http.request_head import parse_request
from support.feeding import Reader, head
from support.messages import byte_by_byte, chunked, render

TARGETS = st.from_regex(r"/[a-z/]{0,12}(\?[a-z=&%]{0,8})?", fullmatch=True)
FIELD_LINE = st.from_regex(r"X-[A-Za-z]{1,8}:[ \t]?[!-~]([ -~]{0,20}[!-~])?[ \t]?", fullmatch=True)
FIELD_LINES = st.lists(FIELD_LINE, max_size=4)
TRAILERS = st.lists(st.sampled_from(["A: b", "Content-Length: 9", "Host:x"]), max_size=2).map(tuple)


@st.composite
def valid_requests(draw: st.DrawFn) -> tuple[bytes, bytes, bytes]:
    """The bytes of a request, its target and its body."""
    target = draw(TARGETS)
    fields = draw(FIELD_LINES)
    body = draw(st.binary(max_size=60))
    framing = draw(st.sampled_from(["none", "length", "chunked"]))
    lead = draw(st.sampled_from([b"", b"", b"\r\n"]))
    if framing == "none":
        return lead + render("GET", target, *fields), target.encode(), b""
    if framing == "length":
        return lead + render("PUT", target, *fields, body=body), target.encode(), body
    coded = chunked(body, draw(st.integers(1, 70)), draw(st.sampled_from(["", ";a", ' ; a="b"'])), draw(TRAILERS))
    return lead + render("PUT", target, *fields, "Transfer-Encoding: chunked", body=coded), target.encode(), body


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """`data` in pieces, cut at these places; none is empty, which would be the end."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(edges)]


PLACES = st.lists(st.integers(0, 1 << 16), max_size=30)


@given(requests=st.lists(valid_requests(), min_size=1, max_size=4), places=PLACES)
def test_cutting_changes_nothing(requests: list[tuple[bytes, bytes, bytes]], places: list[int]) -> None:
    data = b"".join(request[0] for request in requests)
    sent = [(target, body) for _, target, body in requests]
    whole = Reader().feed_all([data])
    for reader in (whole, Reader().feed_all(cut(data, places)), Reader().feed_all(byte_by_byte(data))):
        assert reader.fault is None
        assert [(seen.request.target, bytes(seen.body)) for seen in reader.seen] == sent
        assert [seen.request.fields for seen in reader.seen] == [seen.request.fields for seen in whole.seen]
        assert reader.connection.pending == 0


CHUNKED = render("POST", "/", "Transfer-Encoding: chunked")
FRAGMENTS = st.sampled_from(
    [b"GET ", b"POST ", b"/ ", b"HTTP/1.1", b"HTTP/1.0", b"\r\n", b"\r", b"\n", b"\r\n\r\n", b": ", b" ", b"\0",
     b"\xff", b",", b"Host: a\r\n", b"Content-Length: 3\r\n", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n",
     b"Expect: 100-continue\r\n", b"Connection: close\r\n", render("GET", "/"), CHUNKED,
     b"3\r\nabc\r\n", b"0\r\n", b"ffffffff\r\n", b";a=b", b"abc", b"0\r\n\r\n", b"A" * 300, b"a: b\r\n" * 20]
)  # fmt: skip
LIMITS = Limits(request_line=200, header_block=400, header_count=10, body=1000)


@given(pieces=st.lists(FRAGMENTS | st.binary(min_size=1, max_size=20), max_size=40), ends=st.booleans())
def test_any_input_is_read_or_refused(pieces: list[bytes], ends: bool) -> None:
    """Only ProtocolError and ClientGone are raised (`Reader` catches no others), and few bytes are kept."""
    reader = Reader(LIMITS)
    for piece in pieces:
        reader.feed(piece)
        if not reader.fault:
            # Of a head its block and a line end; of a body a size line or trailers, whose own bounds are larger.
            in_body = bool(reader.seen) and not reader.seen[-1].complete
            assert reader.connection.pending <= (16384 if in_body else LIMITS.header_block) + 4
    if ends:
        reader.feed(b"")
    if reader.fault:
        assert reader.fault.status in (400, 413, 414, 417, 431, 501, 505)
        assert str(reader.fault).isprintable()


@given(pieces=st.lists(FRAGMENTS, max_size=25), places=PLACES)
def test_cutting_never_turns_a_refusal_into_a_request(pieces: list[bytes], places: list[int]) -> None:
    """The same requests come before the refusal, although the refusal may be another."""
    data = b"".join(pieces)
    whole = Reader(LIMITS).feed_all([data])
    for reader in (Reader(LIMITS).feed_all(cut(data, places)), Reader(LIMITS).feed_all(byte_by_byte(data))):
        assert [seen.request.target for seen in reader.seen] == [seen.request.target for seen in whole.seen]
        assert [seen.complete for seen in reader.seen] == [seen.complete for seen in whole.seen]
        assert reader.fault is None or whole.fault is not None or not reader.seen or reader.seen[-1].complete


# Cost

PATHOLOGICAL: dict[str, Callable[[int], bytes]] = {
    "many short fields": lambda size: head("GET / HTTP/1.1", "Host: a", *["a: b"] * (size // 6)),
    "many different fields": lambda size: head("GET / HTTP/1.1", "Host: a", *(f"a{n}:" for n in range(size // 8))),
    "one long value": lambda size: head("GET / HTTP/1.1", "Host: a", "a: " + "b" * size),
    "one long name": lambda size: head("GET / HTTP/1.1", "Host: a", "a" * size + ": b"),
    "a name that is none at its end": lambda size: head("GET / HTTP/1.1", "Host: a", "a" * size + "(: b"),
    "white space around a value": lambda size: head("GET / HTTP/1.1", "Host: a", "a:" + " \t" * (size // 2) + "b"),
    "white space in a value": lambda size: head("GET / HTTP/1.1", "Host: a", "a: b" + " " * size + "b"),
    "many connection options": lambda size: head("GET / HTTP/1.1", "Host: a", "Connection: " + "a," * (size // 2)),
    "a long host": lambda size: head("GET / HTTP/1.1", "Host: " + "a" * size + "@"),
    "a host of many colons": lambda size: head("GET / HTTP/1.1", "Host: " + ":1" * (size // 2)),
    "a long address": lambda size: head("GET / HTTP/1.1", "Host: [" + "1:" * (size // 2)),
    "a long target": lambda size: head("GET /" + "?" * size + " HTTP/1.1", "Host: a"),
    "an absolute target": lambda size: head("GET http://" + "a" * size + "@/ HTTP/1.1", "Host: a"),
    "many words": lambda size: head("GET" + " /" * (size // 2), "Host: a"),
    "many digits": lambda size: head("GET / HTTP/1.1", "Host: a", "Content-Length: " + "1" * size),
    "many carriage returns": lambda size: b"GET / HTTP/1.1\r\n" + b"\r" * size + b"\r\n\r\n",
}


def cpu_seconds(run: Callable[[], object]) -> float:
    """The shortest of a few runs, in seconds."""
    times = []
    for _ in range(4):
        began = time.process_time()
        run()
        times.append(time.process_time() - began)
    return min(times)


def try_to_parse(block: bytes) -> None:
    try:
        parse_request(block.split(b"\r\n"))
    except ProtocolError:
        pass


@pytest.mark.parametrize("name", PATHOLOGICAL)
def test_cost_of_a_head_is_in_proportion_to_its_size(name: str) -> None:
    """Sixteen times the size may cost sixteen times as much; quadratic cost would be 256 times."""
    make = PATHOLOGICAL[name]
    small, large = make(10_000)[:-4], make(160_000)[:-4]
    assert cpu_seconds(lambda: try_to_parse(large)) < 80 * cpu_seconds(lambda: try_to_parse(small)) + 0.002


EXTENSIONS: dict[str, Callable[[int], bytes]] = {
    "many": lambda size: b";a=b" * (size // 4) + b"\0",
    "white space before an equals sign that is not there": lambda size: b";a" + b" " * size,
    "white space everywhere": lambda size: b" \t; \ta \t= \tb" * (size // 12) + b" ",
    "a quotation without end": lambda size: b';a="' + b"b" * size,
    "a quotation of escapes without end": lambda size: b';a="' + b'\\"' * (size // 2),
    "many quotations": lambda size: b';a=""' * (size // 5) + b'"',
}


@pytest.mark.parametrize("name", EXTENSIONS)
def test_cost_of_an_extension_is_in_proportion_to_its_size(name: str) -> None:
    """For each kind of input that does not match. Larger ones would measure the allocator: the matcher's stack has
    megabytes then, which mimalloc, of a Python without a GIL, takes from the kernel and gives back each time.
    """
    small, large = EXTENSIONS[name](5_000), EXTENSIONS[name](80_000)
    assert not is_chunk_extensions(small)
    most = 80 * cpu_seconds(lambda: is_chunk_extensions(small)) + 0.002
    assert cpu_seconds(lambda: is_chunk_extensions(large)) < most


@pytest.mark.parametrize(
    "make",
    [
        lambda size: head("GET / HTTP/1.1", "Host: a", "a: " + "b" * size),
        lambda size: head("GET /" + "a" * size + " HTTP/1.1", "Host: a"),
        lambda size: render("POST", "/", body=b"a" * size),
        lambda size: render("POST", "/", "Transfer-Encoding: chunked", body=chunked(b"a" * size, 1 << 20)),
        lambda size: render("POST", "/", "Transfer-Encoding: chunked", body=chunked(b"a" * (size // 6), 1)),
        lambda size: render("GET", "/") * (size // 40),
    ],
    ids=["value", "target", "length", "one chunk", "chunks", "pipeline"],
)
def test_cost_of_byte_by_byte_is_in_proportion(make: Callable[[int], bytes]) -> None:
    """Each byte is scanned a bounded number of times, however slowly the bytes come."""
    limits = Limits(request_line=1 << 20, header_block=1 << 20)
    small, large = make(3000), make(48_000)
    slow = cpu_seconds(lambda: Reader(limits).feed_all(byte_by_byte(large)))
    assert slow < 80 * cpu_seconds(lambda: Reader(limits).feed_all(byte_by_byte(small)))
