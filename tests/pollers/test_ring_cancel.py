"""A multishot receive that is cancelled at any moment: what it has received is delivered, the rest stays unread."""

import errno
import socket
from random import Random
from typing import cast

import pytest

from septet.pollers import READABLE
from septet.pollers.ring import MORE, Ring
from septet.pollers.ring_poll import RingPoll
from support.fails_once import FailsOnce
from support.kernel import kernel
from support.rings import buffers_taken, in_flight

Pair = tuple[socket.socket, socket.socket]


@pytest.mark.parametrize("seed", range(20))
def test_no_byte_is_lost(ring: Ring, pair: Pair, seed: int) -> None:
    """Receives are submitted, cancelled and submitted again while bytes come, more than the buffers hold."""
    chance = Random(seed)
    here, there = pair
    got, sent = bytearray(), bytearray()
    token = 0

    def completed(res: int, flags: int, data: bytes) -> None:
        nonlocal token
        got.extend(data)
        assert res >= 0 or res in (-errno.ECANCELED, -errno.ENOBUFS), errno.errorcode[-res]
        if not flags & MORE:
            token = 0

    def send() -> None:
        data = chance.randbytes(chance.choice((1, 60, 3000)))
        try:
            sent.extend(data[: there.send(data)])
        except BlockingIOError:
            pass

    for _ in range(500):
        act = chance.randrange(5)
        if act < 2:
            send()
        elif act == 2 and not token:
            token = ring.receive_multishot(here.fileno(), completed)
        elif act == 3 and token:
            ring.cancel(token)
        else:
            ring.wait(0)
    if token:
        ring.cancel(token)
        while token:
            ring.wait(1)
    there.close()
    while data := here.recv(65536):
        got.extend(data)
    assert got == sent
    assert in_flight(ring) == 0
    if kernel() >= (6, 8):  # which tells
        assert buffers_taken(ring) == 0


@pytest.mark.parametrize("name", ["cancel", "flush"])
def test_poll_that_could_not_be_cancelled(ring: Ring, pair: Pair, name: str) -> None:
    """It was forgotten, and went on: it held the file of each socket that got the number, whose client did not see its
    end.
    """
    here, there = pair
    poll = RingPoll(ring)
    poll.add(here.fileno(), READABLE)
    assert poll.wait(0) == []
    poll.ring = cast(Ring, FailsOnce(ring, name))
    with pytest.raises(MemoryError):
        poll.remove(here.fileno())
    poll.remove(here.fileno())
    poll.ring = ring
    here.close()
    assert there.recv(1) == b""
    assert poll.wait(0) == []
