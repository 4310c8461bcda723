"""What every readiness poller does: the same test bodies over poll(2), epoll(7) and poll requests of io_uring."""

import os
import signal
import socket
import threading
import time

import pytest

from septet.pollers import ERROR, EXCLUSIVE, HANGUP, INVALID, READABLE, WRITABLE, Epoll, Poll, Poller
from septet.pollers.ring import Ring
from septet.pollers.ring_poll import RingPoll

Pair = tuple[socket.socket, socket.socket]


def fill(sock: socket.socket) -> int:
    """Send until the socket accepts no more; the number of bytes sent."""
    sent = 0
    while True:
        try:
            sent += sock.send(bytes(4096))
        except BlockingIOError:
            return sent


def test_nothing_is_ready(poller: Poller, pair: Pair) -> None:
    poller.add(pair[0].fileno(), READABLE)
    assert poller.wait(0) == []


def test_readable_is_a_level(poller: Poller, pair: Pair) -> None:
    here, there = pair
    poller.add(here.fileno(), READABLE)
    there.send(b"x")
    assert poller.wait(1) == [(here.fileno(), READABLE)]
    assert poller.wait(1) == [(here.fileno(), READABLE)]
    here.recv(1)
    assert poller.wait(0) == []


def test_readable_and_writable(poller: Poller, pair: Pair) -> None:
    here, there = pair
    there.send(b"x")
    poller.add(here.fileno(), READABLE | WRITABLE)
    assert poller.wait(1) == [(here.fileno(), READABLE | WRITABLE)]


def test_modify(poller: Poller, pair: Pair) -> None:
    here, there = pair
    there.send(b"x")
    poller.add(here.fileno(), WRITABLE)
    assert poller.wait(1) == [(here.fileno(), WRITABLE)]
    poller.modify(here.fileno(), READABLE)
    assert poller.wait(1) == [(here.fileno(), READABLE)]
    here.recv(1)
    assert poller.wait(0) == []


def test_modify_while_waiting_was_in_vain(poller: Poller, pair: Pair) -> None:
    here = pair[0]
    poller.add(here.fileno(), READABLE)
    assert poller.wait(0) == []
    poller.modify(here.fileno(), WRITABLE)
    assert poller.wait(1) == [(here.fileno(), WRITABLE)]


def test_modify_of_a_stranger(poller: Poller, pair: Pair) -> None:
    with pytest.raises(FileNotFoundError):
        poller.modify(pair[0].fileno(), READABLE)


def test_removed_is_silent(poller: Poller, pair: Pair) -> None:
    here, there = pair
    poller.add(here.fileno(), READABLE)
    assert poller.wait(0) == []
    poller.remove(here.fileno())
    there.send(b"x")
    assert poller.wait(0) == []
    poller.remove(here.fileno())
    poller.add(here.fileno(), READABLE)
    assert poller.wait(1) == [(here.fileno(), READABLE)]


def test_remove_after_close_is_quiet(poller: Poller, pair: Pair) -> None:
    fd = pair[0].fileno()
    poller.add(fd, READABLE)
    assert poller.wait(0) == []
    pair[0].close()
    poller.remove(fd)
    assert poller.wait(0) == []


def test_the_other_end_sees_the_close_at_once(poller: Poller, pair: Pair) -> None:
    here, there = pair
    poller.add(here.fileno(), READABLE)
    assert poller.wait(0) == []
    poller.remove(here.fileno())
    here.close()
    assert there.recv(1) == b""


def test_new_owner_of_a_number_hears_nothing_of_the_old_one(poller: Poller, pair: Pair) -> None:
    here, there = pair
    fd = os.dup(here.fileno())
    poller.add(fd, READABLE)
    assert poller.wait(0) == []
    there.send(b"x")
    poller.remove(fd)
    quiet, other = socket.socketpair()
    with quiet, other:
        os.dup2(quiet.fileno(), fd)
        poller.add(fd, READABLE)
        assert poller.wait(0) == []
        other.send(b"y")
        assert poller.wait(1) == [(fd, READABLE)]
        poller.remove(fd)
        os.close(fd)


@pytest.mark.parametrize("mask", [READABLE, 0])
def test_hangup_comes_unasked(poller: Poller, pair: Pair, mask: int) -> None:
    here, there = pair
    poller.add(here.fileno(), mask)
    there.close()
    assert poller.wait(1) == [(here.fileno(), HANGUP | mask)]


@pytest.mark.parametrize("mask", [WRITABLE, 0])
def test_half_closed_peer_is_no_news_to_a_sender(poller: Poller, pair: Pair, mask: int) -> None:
    """The peer has shut down, and our send buffer is full: nothing is ready, and waiting must not spin."""
    here, there = pair
    there.shutdown(socket.SHUT_WR)
    sent = fill(here)
    poller.add(here.fileno(), mask)
    begin = time.monotonic()
    for _ in range(20):
        assert poller.wait(0.005) == []
    assert time.monotonic() - begin >= 0.09
    assert len(there.recv(sent)) == sent
    if mask:
        assert (poller.wait(1) or poller.wait(1)) == [(here.fileno(), WRITABLE)]
        assert (poller.wait(1) or poller.wait(1)) == [(here.fileno(), WRITABLE)]
        sent = fill(here)
        while poller.wait(0.005):
            pass
        there.recv(sent)
        assert (poller.wait(1) or poller.wait(1)) == [(here.fileno(), WRITABLE)]


def test_error_comes_unasked(poller: Poller) -> None:
    reading, writing = os.pipe()
    poller.add(writing, 0)
    os.close(reading)
    assert poller.wait(1) == [(writing, ERROR)]
    poller.remove(writing)
    os.close(writing)


def test_time_out_is_never_early(poller: Poller, pair: Pair) -> None:
    poller.add(pair[0].fileno(), READABLE)
    begin = time.monotonic()
    assert poller.wait(0.0123) == []
    assert time.monotonic() - begin >= 0.0123


def test_waits_without_limit_and_lets_other_threads_run(poller: Poller, pair: Pair) -> None:
    here, there = pair
    poller.add(here.fileno(), READABLE)
    poller.wait(0)
    sender = threading.Thread(target=there.send, args=(b"x",))
    sender.start()
    assert poller.wait(None) == [(here.fileno(), READABLE)]
    sender.join()


def test_signal_handler_runs_while_waiting(poller: Poller, pair: Pair) -> None:
    here, there = pair
    poller.add(here.fileno(), READABLE)
    before = signal.signal(signal.SIGALRM, lambda number, frame: there.send(b"x"))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        ready = poller.wait(10) or poller.wait(10)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert ready == [(here.fileno(), READABLE)]


def test_many_at_once(poller: Poller) -> None:
    pairs = [socket.socketpair() for _ in range(200)]
    for here, there in pairs:
        poller.add(here.fileno(), READABLE)
        there.send(b"x")
    assert sorted(poller.wait(1)) == sorted((here.fileno(), READABLE) for here, _ in pairs)
    for here, there in pairs:
        poller.remove(here.fileno())
        here.close()
        there.close()


def test_exclusive_listener(poller: Poller) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        poller.add(listener.fileno(), READABLE | EXCLUSIVE)
        with socket.create_connection(listener.getsockname()):
            assert poller.wait(1) == [(listener.fileno(), READABLE)]
        poller.remove(listener.fileno())


def test_closing_twice_is_quiet(poller: Poller) -> None:
    poller.close()
    poller.remove(0)
    poller.close()


@pytest.mark.parametrize("kind", [Poll, lambda: RingPoll(Ring())], ids=["poll", "io_uring"])
def test_closed_descriptor_is_invalid(kind: type[Poll], pair: Pair, ring: Ring) -> None:
    poller = kind()
    fd = os.dup(pair[0].fileno())
    os.close(fd)
    poller.add(fd, READABLE)
    assert poller.wait(1) == [(fd, INVALID)]
    poller.close()


def test_add_twice(pair: Pair, ring: Ring) -> None:
    for poller in (Epoll(), RingPoll(ring)):
        poller.add(pair[0].fileno(), READABLE)
        with pytest.raises(FileExistsError):
            poller.add(pair[0].fileno(), WRITABLE)
        poller.close()


def test_epoll_has_a_descriptor_that_can_be_polled(pair: Pair) -> None:
    inner, outer = Epoll(), Poll()
    inner.add(pair[0].fileno(), READABLE)
    outer.add(inner.fileno(), READABLE)
    assert outer.wait(0) == []
    pair[1].send(b"x")
    assert outer.wait(1) == [(inner.fileno(), READABLE)]
    inner.close()


def test_interest_survives_a_cancel_by_somebody_else(ring: Ring, pair: Pair) -> None:
    here, there = pair
    poller = RingPoll(ring)
    poller.add(here.fileno(), READABLE)
    assert poller.wait(0) == []
    ring.cancel_fd(here.fileno())
    assert poller.wait(1) == []
    there.send(b"x")
    assert poller.wait(1) == [(here.fileno(), READABLE)]
