"""The cache of heads: the same bytes give the same object, in bounded memory, and never a wrong meaning."""

import gc
import tracemalloc
from collections.abc import Callable

import pytest

from septet.exchange import ProtocolError
from septet.http.incoming import REMEMBERED_HEAD, Limits
from septet.http.request_head import parse_request
from support.feeding import Reader
from support.messages import render


def block(*fields: str, target: str = "/") -> bytes:
    return b"\r\n".join(lines(*fields, target=target))


def lines(*fields: str, target: str = "/") -> list[bytes]:
    return [line.encode() for line in (f"GET {target} HTTP/1.1", "Host: a", *fields)]


def requests(data: bytes, readers: int = 1) -> set[int]:
    """The identities of the requests that several connections with the same limits parse from the data."""
    limits = Limits()
    seen = [one for _ in range(readers) for one in Reader(limits).feed_all([data]).seen]
    assert len(seen) > 1
    return {id(one.request) for one in seen}


def test_same_head_is_one_request() -> None:
    assert len(requests(render("GET", "/a") * 2)) == 1
    assert len(requests(render("GET", "/a"), readers=2)) == 1
    assert len(requests((block("A: b") + b"\r\n\r\n") + (block("a: b") + b"\r\n\r\n"))) == 2


def test_what_one_server_allows_another_may_refuse() -> None:
    data = block("A: b") + b"\r\n\r\n"
    assert Reader(Limits()).feed_all([data]).only
    fault = Reader(Limits(header_count=1)).feed_all([data]).fault
    assert fault is not None
    assert fault.status == 431


@pytest.mark.parametrize("wrong", ["A : b", "no colon", "Content-Length: x"])
def test_more_fields_than_allowed_are_not_read(wrong: str) -> None:
    """Parsing a line costs a hundred times what sending it costs. So lines are counted first: 431, although one is
    malformed."""
    fault = Reader(Limits(header_count=3)).feed_all([block("A: b", "C: d", wrong) + b"\r\n\r\n"]).fault
    assert fault is not None
    assert fault.status == 431


@pytest.mark.parametrize("extra", [0, 1])
def test_long_heads_are_not_remembered(extra: int) -> None:
    data = block("A: ")
    data += b"b" * (REMEMBERED_HEAD - 4 + extra - len(data)) + b"\r\n\r\n"
    assert len(requests(data * 2)) == 1 + extra


SHAPES: dict[str, Callable[[int], bytes]] = {
    "short heads": lambda n: block(f"A: {n}"),
    "heads that just fit": lambda n: block(*[f"A: {n}" + "b" * 200] * 18),
    "long heads of short lines": lambda n: block(*(f"A: {n} {line}" for line in range(300))),
    "long lines": lambda n: block(f"A: {n}" + "b" * 60_000),
    "long names": lambda n: block("A" * 60_000 + f"{n}: b"),
    "long targets": lambda n: block(target=f"/{n}" + "a" * 60_000),
    "long hosts": lambda n: f"GET / HTTP/1.1\r\nHost: {n}".encode() + b"a" * 60_000,
}


TIMES = {"short heads": 30_000, "heads that just fit": 8_000, "long heads of short lines": 600}
"""How many heads would pass the bound if all were kept; 1,500 of the other shapes do."""


@pytest.mark.parametrize("shape", SHAPES)
def test_memory_is_bounded(shape: str) -> None:
    """A client that never sends the same twice fills a few mebibytes at most, in whatever it varies."""
    make = SHAPES[shape]
    limits = Limits(request_line=1 << 20, header_block=1 << 20, header_count=1000)
    Reader(limits).feed_all([make(0) + b"\r\n\r\n"])
    tracemalloc.start()
    try:
        for number in range(1, TIMES.get(shape, 1500)):
            Reader(limits).feed_all([make(number) + b"\r\n\r\n"])
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 16 << 20


def test_remembered_lines_mean_what_they_meant() -> None:
    fields = ["A:  b ", "X_Y: 1", "Connection: close", "Content-Length: 3"]
    fresh = parse_request(lines(*fields))
    again = parse_request(lines(*fields, "C: d"))
    assert again.fields == (*fresh.fields, (b"c", b"d"))
    assert (again.keep_alive, again.content_length) == (False, 3)


def test_refusals_stay_refusals() -> None:
    for _ in range(2):
        with pytest.raises(ProtocolError):
            parse_request(lines("A : b"))
        with pytest.raises(ProtocolError):
            parse_request(lines("Content-Length: x"))


def test_line_in_another_place_is_judged_anew() -> None:
    """A cached field line is no request line, and a cached Host still counts as a second one."""
    parse_request(lines("A: b"))
    for data in (b"Host: a\r\nHost: a", b"A: b\r\nHost: a", block("Host: a"), block("GET / HTTP/1.1")):
        with pytest.raises(ProtocolError):
            parse_request(data.split(b"\r\n"))
