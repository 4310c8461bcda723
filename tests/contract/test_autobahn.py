"""Autobahn's cases for WebSocket, strictly. `make autobahn` runs all of them, which takes minutes."""

import pytest

from support.autobahn import failures

#: Those that take no time: not 9 (large messages), 12 and 13 (compression), of which a few stand for all.
QUICK = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*", "9.1.1", "9.2.1", "12.1.1", "12.2.2", "13.1.1")


@pytest.mark.parametrize("model", ["threaded", "preforked", "epoll", "io_uring"])
def test_cases(model: str) -> None:
    count, wrong = failures(model, QUICK)
    assert count > 240
    assert not wrong
