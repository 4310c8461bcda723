"""Fixtures for pollers: each kind, and a connected pair of sockets."""

import socket
from collections.abc import Iterator

import pytest

from septet.pollers import Epoll, Poll, Poller
from septet.pollers.ring import Ring, RingUnavailable
from septet.pollers.ring_poll import RingPoll

KINDS = {"poll": Poll, "epoll": Epoll, "io_uring": lambda: RingPoll(Ring())}


@pytest.fixture(params=KINDS)
def poller(request: pytest.FixtureRequest) -> Iterator[Poller]:
    try:
        poller = KINDS[request.param]()
    except RingUnavailable as exc:
        pytest.skip(str(exc))
    yield poller
    poller.close()


@pytest.fixture
def ring() -> Iterator[Ring]:
    try:
        ring = Ring(64, buffers=16, buffer_size=64)
    except RingUnavailable as exc:
        pytest.skip(str(exc))
    yield ring
    ring.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected stream sockets, non-blocking."""
    here, there = socket.socketpair()
    here.setblocking(False)
    there.setblocking(False)
    with here, there:
        yield here, there
