"""watch, rewatch and unwatch, on all loops."""

import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from septet.loop import ReadinessLoop
from septet.pollers import HANGUP, READABLE, WRITABLE

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    """Three connected pairs of non-blocking sockets."""
    made = [socket.socketpair() for _ in range(3)]
    for pair in made:
        for end in pair:
            end.setblocking(False)
    yield made
    for pair in made:
        for end in pair:
            end.close()


def turn(loop: ReadinessLoop, times: int = 3) -> None:
    """Run a few turns of the loop, without waiting."""
    for _ in range(times):
        loop.call_soon(loop.stop)
        loop.run_forever()


def until(loop: ReadinessLoop, condition: Callable[[], object]) -> None:
    """Run turns of the loop until a condition is true."""
    deadline = loop.time() + 30
    while not condition():
        assert loop.time() < deadline
        turn(loop)


def test_callback_gets_the_bits(loop: ReadinessLoop, pairs: list[Pair]) -> None:
    (here, there), seen = pairs[0], []
    loop.watch(here.fileno(), READABLE | WRITABLE, seen.append)
    until(loop, lambda: seen)
    assert set(seen) == {WRITABLE}
    there.send(b"x")
    until(loop, lambda: READABLE | WRITABLE in seen)
    assert loop.unwatch(here.fileno())


def test_watching_is_level_triggered(loop: ReadinessLoop, pairs: list[Pair]) -> None:
    (here, there), seen = pairs[0], []
    there.send(b"abc")
    loop.watch(here.fileno(), READABLE, lambda mask: seen.append(here.recv(1)))
    until(loop, lambda: len(seen) == 3)
    turn(loop)
    assert seen == [b"a", b"b", b"c"]
    loop.unwatch(here.fileno())


def test_waiting_loop_is_woken(loop: ReadinessLoop, pairs: list[Pair]) -> None:
    here, there = pairs[0]
    loop.watch(here.fileno(), READABLE, lambda mask: loop.stop())
    loop.call_later(0.01, there.send, b"x")
    loop.run_forever()
    loop.unwatch(here.fileno())


def test_rewatch(loop: ReadinessLoop, pairs: list[Pair]) -> None:
    (here, there), seen = pairs[0], []
    there.send(b"x")
    loop.watch(here.fileno(), WRITABLE, seen.append)
    until(loop, lambda: seen)
    loop.rewatch(here.fileno(), READABLE)
    seen.clear()
    until(loop, lambda: seen)
    assert set(seen) == {READABLE}
    loop.unwatch(here.fileno())


def test_hangup_is_reported_though_nothing_is_asked(loop: ReadinessLoop, pairs: list[Pair]) -> None:
    (here, there), seen = pairs[0], []
    loop.watch(here.fileno(), 0, seen.append)
    turn(loop)
    assert seen == []
    there.close()
    until(loop, lambda: seen)
    assert set(seen) == {HANGUP}
    loop.unwatch(here.fileno())


def test_unwatched_is_silent(loop: ReadinessLoop, pairs: list[Pair]) -> None:
    (here, there), seen = pairs[0], []
    loop.watch(here.fileno(), READABLE, seen.append)
    turn(loop)
    assert loop.unwatch(here.fileno())
    assert not loop.unwatch(here.fileno())
    there.send(b"x")
    turn(loop)
    assert seen == []


def test_unwatch_in_its_own_callback(loop: ReadinessLoop, pairs: list[Pair]) -> None:
    (here, there), seen = pairs[0], []
    there.send(b"x")
    loop.watch(here.fileno(), READABLE, lambda mask: (seen.append(mask), loop.unwatch(here.fileno())))
    until(loop, lambda: seen)
    turn(loop)
    assert seen == [READABLE]


def test_unwatched_by_another_callback_of_the_same_round(loop: ReadinessLoop, pairs: list[Pair]) -> None:
    """All three are ready; the first that is called unwatches the others."""
    seen = []

    def called(who: int) -> None:
        seen.append(who)
        for here, _ in pairs:
            loop.unwatch(here.fileno())

    for i, (here, there) in enumerate(pairs):
        there.send(b"x")
        loop.watch(here.fileno(), READABLE, lambda mask, who=i: called(who))
    until(loop, lambda: seen)
    turn(loop)
    assert len(seen) == 1


def test_number_given_away_in_the_same_round(loop: ReadinessLoop, pairs: list[Pair]) -> None:
    """Two are ready; the first callback closes the other one, whose number goes to a socket that is not ready."""
    (first, to_first), (second, to_second), (quiet, to_quiet) = pairs
    wrong: list[int] = []
    newcomer: list[tuple[int, bytes]] = []

    def replace(mine: socket.socket, others: socket.socket) -> None:
        mine.recv(1)
        if newcomer:
            return
        fd = others.detach()
        loop.unwatch(fd)
        os.dup2(quiet.fileno(), fd)
        newcomer.append((fd, b""))
        loop.watch(fd, READABLE, wrong.append)

    loop.watch(first.fileno(), READABLE, lambda mask: replace(first, second))
    loop.watch(second.fileno(), READABLE, lambda mask: replace(second, first))
    turn(loop)
    to_first.send(b"x")
    to_second.send(b"x")
    until(loop, lambda: newcomer)
    turn(loop)
    assert wrong == []
    to_quiet.send(b"y")
    until(loop, lambda: wrong)
    fd = newcomer[0][0]
    assert loop.unwatch(fd)
    os.close(fd)
    for end in (first, second):
        if end.fileno() >= 0:
            loop.unwatch(end.fileno())


def test_exception_goes_to_the_handler_and_the_loop_lives(loop: ReadinessLoop, pairs: list[Pair]) -> None:
    contexts: list[dict[str, Any]] = []
    seen: list[int] = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))

    def fail(mask: int) -> None:
        pairs[0][0].recv(1)
        raise ZeroDivisionError

    loop.watch(pairs[0][0].fileno(), READABLE, fail)
    loop.watch(pairs[1][0].fileno(), READABLE, lambda mask: seen.append(len(pairs[1][0].recv(1))))
    for _ in range(2):
        for _, there in pairs:
            there.send(b"x")
        until(loop, lambda: len(contexts) == len(seen) > 0)
        turn(loop)
    assert [type(context["exception"]) for context in contexts] == [ZeroDivisionError] * 2
    assert seen == [1, 1]
    for here, _ in pairs[:2]:
        loop.unwatch(here.fileno())


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_interrupt_ends_the_run_and_no_event_is_lost(
    loop: ReadinessLoop, pairs: list[Pair], kind: type[BaseException]
) -> None:
    seen: list[int] = []

    def called(end: socket.socket) -> None:
        end.recv(1)
        seen.append(end.fileno())
        raise kind

    for here, there in pairs:
        there.send(b"x")
        loop.watch(here.fileno(), READABLE, lambda mask, end=here: called(end))
    for _ in pairs:
        with pytest.raises(kind):
            loop.run_forever()
    assert sorted(seen) == sorted(here.fileno() for here, _ in pairs)
    for here, _ in pairs:
        loop.unwatch(here.fileno())


def test_one_interest_per_descriptor(loop: ReadinessLoop, pairs: list[Pair]) -> None:
    fd, other = pairs[0][0].fileno(), pairs[1][0].fileno()
    loop.watch(fd, READABLE, print)
    loop.add_reader(other, print)
    with pytest.raises(RuntimeError, match="watched already"):
        loop.watch(fd, WRITABLE, print)
    with pytest.raises(RuntimeError, match="watched already"):
        loop.add_reader(fd, print)
    with pytest.raises(RuntimeError, match="watched already"):
        loop.watch(other, READABLE, print)
    assert loop.unwatch(fd)
    assert loop.remove_reader(other)


def test_watched_and_asyncio_side_by_side(loop: ReadinessLoop, pairs: list[Pair]) -> None:
    seen: list[str] = []
    (here, there), (other, to_other), _ = pairs
    loop.watch(here.fileno(), READABLE, lambda mask: (seen.append("watched"), here.recv(1)))
    loop.add_reader(other, lambda: (seen.append("reader"), other.recv(1)))
    there.send(b"x")
    to_other.send(b"x")
    until(loop, lambda: len(seen) == 2)
    turn(loop)
    assert sorted(seen) == ["reader", "watched"]
    loop.unwatch(here.fileno())
    loop.remove_reader(other)


def test_a_thousand_watched_connections(loop: ReadinessLoop) -> None:
    """More than one completion queue holds or one epoll_wait(2) reports."""
    count = 1000
    echoed: list[int] = []
    made = [socket.socketpair() for _ in range(count)]

    def called(end: socket.socket) -> None:
        echoed.append(end.send(end.recv(100)))

    for here, there in made:
        loop.watch(here.fileno(), READABLE, lambda mask, end=here: called(end))
        there.send(b"ping")
    until(loop, lambda: len(echoed) == count)
    for here, there in made:
        assert there.recv(100) == b"ping"
        loop.unwatch(here.fileno())
        here.close()
        there.close()


class FullSet(set[int]):
    """For which there is no memory, once."""

    full = True

    def add(self, element: int) -> None:
        if self.full:
            self.full = False
            raise MemoryError("deliberate")
        super().add(element)


def test_watching_that_fails_has_changed_nothing(loop: ReadinessLoop, pairs: list[Pair]) -> None:
    """The descriptor's next owner could not be watched: under epoll no new client was served any more."""
    (here, there), seen = pairs[0], []
    interest: Any = loop._interest
    interest.changed = FullSet()
    with pytest.raises(MemoryError):
        loop.watch(here.fileno(), READABLE, seen.append)
    there.send(b"x")
    loop.watch(here.fileno(), READABLE, seen.append)
    until(loop, lambda: seen)
    assert loop.unwatch(here.fileno())
