"""Every case of the parser is fed in four ways: whole, byte by byte, and both with another request behind it."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from septet.exchange import Request
from septet.http.incoming import Limits
from support.feeding import TAIL, Reader
from support.messages import byte_by_byte

Feed = Callable[..., Reader]

WAYS = ("whole", "byte by byte", "whole with a tail", "byte by byte with a tail")

_MEANING = [each.name for each in fields(Request) if each.name != "derived"]


@pytest.fixture
def feed() -> Feed:
    """`feed(data, limits=None)`: the reader of the whole; those of the other ways have found the same. A tail is
    checked and removed here, so that tests need not handle it."""
    return _feed_in_each_way


def _feed_in_each_way(data: bytes, limits: Limits | None = None) -> Reader:
    # Limits of its own for each way: they remember heads, which a later way would not read any more.
    first, *others = [_feed(data, replace(limits or Limits()), way) for way in WAYS]
    for way, other in zip(WAYS[1:], others, strict=True):
        assert _found(other) == _found(first), way
    return first


def _feed(data: bytes, limits: Limits, way: str) -> Reader:
    if "tail" in way:
        data += TAIL
    reader = Reader(limits).feed_all(byte_by_byte(data) if "byte" in way else [data])
    if "tail" in way:
        _take_tail_off(reader)
    return reader


def _found(reader: Reader) -> list[Any]:
    """What it was refused with; else the requests, and as much of their bodies as has come."""
    if reader.fault:
        return [reader.status]
    seen = reader.seen
    return [([getattr(each.request, name) for name in _MEANING], bytes(each.body), each.complete) for each in seen]


def _take_tail_off(reader: Reader) -> None:
    found = [seen for seen in reader.seen if b"/tail" in seen.request.target]
    if reader.fault:
        assert not found, "what follows a refused request must not be believed"
    else:
        assert found == reader.seen[-1:], "the request behind was not found"
        reader.seen.pop()
