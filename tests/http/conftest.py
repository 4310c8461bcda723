"""Every case of the parser is fed in four ways: whole, byte by byte, and both with another request behind it."""

from collections.abc import Callable

import pytest

from septet.http.incoming import Limits
from support.feeding import TAIL, Reader
from support.messages import byte_by_byte

Feed = Callable[..., Reader]


@pytest.fixture(params=["whole", "byte by byte", "whole with a tail", "byte by byte with a tail"])
def feed(request: pytest.FixtureRequest) -> Feed:
    """`feed(data, limits=None)`; a tail is checked and removed here, so that tests need not handle it."""
    way: str = request.param

    def feed_one(data: bytes, limits: Limits | None = None) -> Reader:
        if "tail" in way:
            data += TAIL
        reader = Reader(limits).feed_all(byte_by_byte(data) if "byte" in way else [data])
        if "tail" in way:
            _take_tail_off(reader)
        return reader

    return feed_one


def _take_tail_off(reader: Reader) -> None:
    found = [seen for seen in reader.seen if b"/tail" in seen.request.target]
    if reader.fault:
        assert not found, "what follows a refused request must not be believed"
    else:
        assert found == reader.seen[-1:], "the request behind was not found"
        reader.seen.pop()
