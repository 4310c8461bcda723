"""The ring's operations and its queues, against the kernel."""

import errno
import gc
import os
import socket
import time
import weakref
from contextlib import suppress
from pathlib import Path

import pytest

from septet.pollers import ERROR, READABLE, WRITABLE
from septet.pollers.ring import MORE, Ring
from support.kernel import kernel
from support.rings import Pair, Seen, buffers_taken, collect, in_flight, nop, received, wait_for
from support.waiting import wait_until

# -- operations


def test_nop(ring: Ring) -> None:
    seen: Seen = []
    nop(ring, collect(seen))
    ring.wait()
    assert seen == [(0, 0, b"")]


def test_tokens_differ(ring: Ring) -> None:
    assert len({nop(ring, collect([])) for _ in range(200)}) == 200


def test_accept_multishot(ring: Ring) -> None:
    seen: Seen = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        token = ring.accept_multishot(listener.fileno(), collect(seen))
        clients = [socket.create_connection(listener.getsockname()) for _ in range(3)]
        for client, (res, flags, _) in zip(clients, wait_for(ring, seen, 3), strict=True):
            assert flags & MORE
            assert not os.get_blocking(res)
            assert not os.get_inheritable(res)
            with client, socket.socket(fileno=res) as served:
                assert served.getpeername() == client.getsockname()
        ring.cancel(token)
        assert wait_for(ring, seen, 4)[3] == (-errno.ECANCELED, 0, b"")


def test_receive_multishot(ring: Ring, pair: Pair) -> None:
    seen: Seen = []
    here, there = pair
    ring.receive_multishot(here.fileno(), collect(seen))
    there.send(b"one")
    wait_for(ring, seen, 1)
    there.send(b"two")
    wait_for(ring, seen, 2)
    there.close()
    wait_for(ring, seen, 3)
    assert [(res, bool(flags & MORE), data) for res, flags, data in seen] == [
        (3, True, b"one"),
        (3, True, b"two"),
        (0, False, b""),
    ]


def test_receive_reports_a_reset(ring: Ring) -> None:
    seen: Seen = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        served, _ = listener.accept()
    with served:
        ring.receive_multishot(served.fileno(), collect(seen))
        ring.wait(0)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        assert wait_for(ring, seen, 1) == [(-errno.ECONNRESET, 0, b"")]


def test_buffers_run_out_and_no_byte_is_lost(ring: Ring, pair: Pair) -> None:
    """16 buffers of 64 bytes: 4,000 bytes at once do not fit, and the receive ends with -ENOBUFS."""
    seen: Seen = []
    here, there = pair
    sent = bytes(i % 251 for i in range(4000))
    there.send(sent)
    ring.receive_multishot(here.fileno(), collect(seen))
    rounds = 0
    while len(received(seen)) < len(sent):
        ring.wait(1)
        if not seen[-1][1] & MORE:
            rounds += 1
            assert seen[-1][0] == -errno.ENOBUFS
            ring.receive_multishot(here.fileno(), collect(seen))
    assert rounds >= 3
    assert received(seen) == sent


def test_buffers_come_back_for_ever(ring: Ring, pair: Pair) -> None:
    seen: Seen = []
    here, there = pair
    ring.receive_multishot(here.fileno(), collect(seen))
    for i in range(100_000 // 100):
        there.send(b"%05d" % i)
        wait_for(ring, seen, i + 1)
    assert received(seen) == b"".join(b"%05d" % i for i in range(1000))


def test_poll_add(ring: Ring, pair: Pair) -> None:
    seen: Seen = []
    here, there = pair
    ring.poll_add(here.fileno(), READABLE, collect(seen))
    ring.wait(0)
    assert seen == []
    there.send(b"x")
    ring.wait(1)
    ring.wait(0)
    assert seen == [(READABLE, 0, b"")]
    ring.poll_add(here.fileno(), READABLE | WRITABLE, collect(seen))
    ring.wait(1)
    assert seen[1:] == [(READABLE | WRITABLE, 0, b"")]


def test_cancel(ring: Ring, pair: Pair) -> None:
    seen: Seen = []
    cancelled: Seen = []
    tokens = [
        ring.poll_add(pair[0].fileno(), READABLE, collect(seen)),
        ring.poll_add(pair[0].fileno(), ERROR, collect(seen)),
        ring.receive_multishot(pair[0].fileno(), collect(seen)),
    ]
    for token in tokens:
        ring.cancel(token, collect(cancelled))
    wait_for(ring, seen, 3)
    assert seen == [(-errno.ECANCELED, 0, b"")] * 3
    assert cancelled == [(0, 0, b"")] * 3


def test_cancel_of_what_is_over(ring: Ring) -> None:
    seen: Seen = []
    token = nop(ring, collect([]))
    ring.wait()
    ring.cancel(token)
    ring.cancel(token, collect(seen))
    assert wait_for(ring, seen, 1) == [(-errno.ENOENT, 0, b"")]


def test_cancel_fd(ring: Ring, pair: Pair) -> None:
    seen: Seen = []
    cancelled: Seen = []
    fd = pair[0].fileno()
    ring.receive_multishot(fd, collect(seen))
    ring.poll_add(fd, READABLE, collect(seen))
    ring.cancel_fd(fd, collect(cancelled))
    assert wait_for(ring, seen, 2) == [(-errno.ECANCELED, 0, b"")] * 2
    assert wait_for(ring, cancelled, 1) == [(2, 0, b"")]


def test_what_was_received_before_a_cancel_is_delivered(ring: Ring, pair: Pair) -> None:
    seen: Seen = []
    here, there = pair
    token = ring.receive_multishot(here.fileno(), collect(seen))
    ring.wait(0)
    there.send(b"last words")
    ring.cancel(token)
    while not seen or seen[-1][1] & MORE:
        ring.wait(1)
    unread = b"" if received(seen) else here.recv(100)
    assert received(seen) + unread == b"last words"


# -- the queues


def test_more_submissions_than_the_queue_holds(ring: Ring) -> None:
    seen: Seen = []
    for _ in range(1000):
        nop(ring, collect(seen))
    wait_for(ring, seen, 1000)
    assert len(seen) == 1000


def test_completion_queue_overflows_and_no_completion_is_lost(ring: Ring, pair: Pair) -> None:
    """The queue holds 4 x 64; the kernel keeps what does not fit."""
    order: list[int] = []
    for i in range(1000):
        nop(ring, lambda res, flags, data, i=i: order.append(i))
    ring.flush()
    ring.wait(1)
    assert len(order) == 256
    while len(order) < 1000:
        ring.wait(1)
    assert order == list(range(1000))


def test_operations_prepared_in_callbacks(ring: Ring) -> None:
    left = 500
    done: list[int] = []

    def again(res: int, flags: int, data: bytes) -> None:
        nonlocal left
        if left > 0:
            left -= 2
            nop(ring, again)
            nop(ring, again)
        done.append(res)

    nop(ring, again)
    while len(done) < 501:
        ring.wait(1)
    assert done == [0] * 501


def test_wait_with_nothing_to_wait_for_times_out(ring: Ring) -> None:
    begin = time.monotonic()
    ring.wait(0.02)
    assert time.monotonic() - begin >= 0.02


def test_flush_submits_without_calling_back(ring: Ring, tmp_path: Path) -> None:
    seen: Seen = []
    path = tmp_path / "file"
    ring.openat2(os.fsencode(path), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600, collect(seen))
    ring.flush()
    wait_until(path.exists, "the file is made")
    assert seen == []
    [(fd, _, _)] = wait_for(ring, seen, 1)
    os.close(fd)


def test_exception_comes_out_of_wait_and_the_rest_with_the_next(ring: Ring) -> None:
    seen: Seen = []

    def fail(res: int, flags: int, data: bytes) -> None:
        raise ZeroDivisionError

    nop(ring, collect(seen))
    nop(ring, fail)
    nop(ring, collect(seen))
    with pytest.raises(ZeroDivisionError):
        ring.wait()
    assert len(seen) == 1
    ring.wait(None)  # does not block, though the kernel has nothing more
    assert len(seen) == 2


def test_exception_is_reported(ring: Ring) -> None:
    seen: Seen = []
    reports: list[BaseException] = []

    def fail(res: int, flags: int, data: bytes) -> None:
        raise ZeroDivisionError

    ring.report = lambda exc, callback: reports.append(exc)
    nop(ring, fail)
    nop(ring, collect(seen))
    ring.wait()
    assert len(seen) == 1
    assert [type(exc) for exc in reports] == [ZeroDivisionError]


def test_interrupts_are_never_swallowed(ring: Ring) -> None:
    def interrupt(res: int, flags: int, data: bytes) -> None:
        raise KeyboardInterrupt

    ring.report = lambda exc, callback: None
    nop(ring, interrupt)
    with pytest.raises(KeyboardInterrupt):
        ring.wait()


def test_an_interrupt_that_was_raised_keeps_nothing(ring: Ring) -> None:
    """No reference cycle through its traceback: that would keep a client's socket open, for example."""

    def interrupt(res: int, flags: int, data: bytes) -> None:
        held = {1}
        kept.append(weakref.ref(held))
        raise KeyboardInterrupt

    kept: list[weakref.ref[set[int]]] = []
    ring.report = lambda exc, callback: None
    nop(ring, interrupt)
    gc.disable()
    try:
        with suppress(KeyboardInterrupt):
            ring.wait()
        assert kept[0]() is None
    finally:
        gc.enable()


@pytest.mark.skipif(kernel() < (6, 8), reason="Linux tells of provided buffers since 6.8")
def test_what_is_in_flight_and_which_buffers_are_taken(ring: Ring, pair: Pair) -> None:
    seen: Seen = []
    here, there = pair
    assert (in_flight(ring), buffers_taken(ring)) == (0, 0)
    token = ring.receive_multishot(here.fileno(), collect(seen))
    ring.flush()
    assert (in_flight(ring), buffers_taken(ring)) == (1, 0)
    there.send(b"x" * 200)
    ring.flush()
    assert buffers_taken(ring) == 4  # of 64 bytes each
    wait_for(ring, seen, 4)
    ring.cancel(token)
    wait_for(ring, seen, 5)
    assert (in_flight(ring), buffers_taken(ring)) == (0, 0)
