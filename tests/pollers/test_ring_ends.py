"""The ring between threads and signals, when it is closed, and when the kernel or Python lacks memory."""

import errno
import os
import signal
import socket
import threading
import time

import pytest

from septet.pollers import READABLE
from septet.pollers import _uring_abi as abi
from septet.pollers.ring import Ring
from support.rings import Pair, Seen, buffers_taken, collect, nop, wait_for


def test_other_threads_run_while_waiting(ring: Ring, pair: Pair) -> None:
    """If wait() held the GIL, the thread could never write what wait() waits for."""
    seen: Seen = []
    ring.poll_add(pair[0].fileno(), READABLE, collect(seen))
    other = threading.Thread(target=lambda: pair[1].send(b"%d" % sum(range(100_000))))
    other.start()
    ring.wait(None)
    other.join()
    assert seen == [(READABLE, 0, b"")]


def test_signal_ends_the_wait(ring: Ring) -> None:
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        begin = time.monotonic()
        ring.wait(60)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert rung == [signal.SIGALRM]
    assert time.monotonic() - begin < 30


def test_made_in_one_thread_and_used_in_another(ring: Ring) -> None:
    seen: Seen = []
    nop(ring, collect(seen))
    other = threading.Thread(target=ring.wait)
    other.start()
    other.join()
    assert seen == [(0, 0, b"")]
    with pytest.raises(RuntimeError, match="another thread"):
        ring.wait(0)


def test_closed_ring_says_so(ring: Ring) -> None:
    ring.close()
    ring.close()
    with pytest.raises(RuntimeError, match="closed"):
        ring.wait(0)
    with pytest.raises(RuntimeError, match="closed"):
        nop(ring, collect([]))


def test_close_lets_go_of_descriptors(ring: Ring, pair: Pair) -> None:
    here, there = pair
    ring.receive_multishot(here.fileno(), collect([]))
    ring.poll_add(here.fileno(), READABLE, collect([]))
    ring.wait(0)
    here.close()
    with pytest.raises(BlockingIOError):
        there.recv(1)  # the ring holds the other end open
    ring.close()
    assert there.recv(1) == b""


def test_close_closes_what_was_accepted_and_not_called_back(ring: Ring) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ring.accept_multishot(listener.fileno(), collect([]))
        ring.flush()
        with socket.create_connection(listener.getsockname()) as client:
            ring.flush()
            ring.close()
            assert client.recv(1) == b""


def test_close_leaves_no_descriptor_behind() -> None:
    before = os.listdir("/proc/self/fd")
    with Ring(8, buffers=2, buffer_size=64) as ring:
        nop(ring, collect([]))
        ring.wait()
    assert os.listdir("/proc/self/fd") == before


def test_forgotten_ring_is_closed_with_a_warning() -> None:
    before = os.listdir("/proc/self/fd")
    ring = Ring(8)
    with pytest.warns(ResourceWarning, match="unclosed"):
        del ring
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("count", [0, 3, 1 << 16])
def test_number_of_buffers_is_a_power_of_two(count: int, pair: Pair) -> None:
    with Ring(8, buffers=count) as ring, pytest.raises(ValueError, match=f"not {count}"):
        ring.receive_multishot(pair[0].fileno(), collect([]))


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOMEM])
def test_shortage_of_the_kernels_is_waited_for(ring: Ring, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """io_uring_enter(2) may lack memory for a moment; no operation is lost."""
    seen: Seen = []
    nop(ring, collect(seen))
    ring.wait()
    enter, refusals = abi.enter, [-code] * 3

    def refused(*arguments: int) -> int:
        return refusals.pop() if refusals else enter(*arguments)

    monkeypatch.setattr(abi, "enter", refused)
    nop(ring, collect(seen))
    wait_for(ring, seen, 2)
    assert not refusals


def test_segment_without_memory_is_told_of(ring: Ring, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """If received data cannot be copied, the receiver gets an error; otherwise data would be missing unnoticed."""
    seen: Seen = []
    ours, theirs = pair
    ring.receive_multishot(ours.fileno(), collect(seen))
    theirs.send(b"first")
    wait_for(ring, seen, 1)

    def exhausted(*arguments: int) -> bytes:
        raise MemoryError

    assert ring._buffers is not None
    free = buffers_taken(ring)
    with monkeypatch.context() as shortage:
        shortage.setattr(ring._buffers, "take", exhausted)
        theirs.send(b"second")
        wait_for(ring, seen, 2)
    theirs.send(b"third")
    wait_for(ring, seen, 3)
    assert [(res, data) for res, _, data in seen] == [(5, b"first"), (-errno.ENOMEM, b""), (5, b"third")]
    assert buffers_taken(ring) == free
