"""The order to stop, and signals whose handlers do not come to give it."""

import ctypes
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from types import FrameType

import pytest

from septet import forked
from septet.processes.orders import DRAIN, Stop
from support.struck import struck_at


class Deliberate(Exception):
    """What another thread raises in the main thread."""


@pytest.fixture
def stop() -> Iterator[Stop]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, DRAIN, signal.SIGALRM)
    before = [signal.getsignal(number) for number in numbers]
    stop = Stop(supervised=True)
    yield stop
    stop.close()
    for number, handler in zip(numbers, before, strict=True):
        forked.reset_signal_handler(number)
        signal.signal(number, handler)


def lose(*numbers: int) -> None:
    """Have these signals come, and an exception of another thread that ends the handler of the first one before its
    first line. All in one call of C, in which Python handles neither.
    """
    main = ctypes.c_ulong(threading.main_thread().ident or 0)
    strike = partial(ctypes.pythonapi.PyThreadState_SetAsyncExc, main, ctypes.py_object(Deliberate))
    come = [partial(signal.raise_signal, number) for number in numbers]
    with pytest.raises(Deliberate):
        deque(map(partial.__call__, [strike, *come]), maxlen=0)


def wait(stop: Stop) -> None:
    stop.wait_for_signal(0.0)


LOOKS: list[Callable[[Stop], object]] = [wait, Stop.drain_and_check]


@pytest.mark.parametrize("look", LOOKS, ids=["wait", "look"])
@pytest.mark.parametrize(("number", "drains"), [(signal.SIGTERM, False), (DRAIN, True)])
def test_order_whose_handler_was_struck_is_given(
    stop: Stop, number: int, drains: bool, look: Callable[[Stop], object]
) -> None:
    stop.on_term()
    lose(number)
    assert not stop.ordered
    look(stop)
    assert (stop.ordered, stop.draining) == (True, drains)


def test_order_is_given_though_taking_the_numbers_is_struck(stop: Stop, monkeypatch: pytest.MonkeyPatch) -> None:
    stop.on_term()
    lose(signal.SIGTERM)
    readv = os.readv

    def struck(*arguments: object) -> None:
        readv(*arguments)  # type: ignore[arg-type]
        raise Deliberate

    monkeypatch.setattr(os, "readv", struck)
    with pytest.raises(Deliberate):
        stop.drain_and_check()
    assert stop.ordered


def test_second_signal_is_told_from_one_that_was_lost(stop: Stop) -> None:
    """A signal whose handler has run is not handled again: a second TERM would end the process."""
    seconds: list[None] = []
    stop._supervised = False
    stop.on_signals(lambda: seconds.append(None))  # type: ignore[arg-type, return-value]
    signal.raise_signal(signal.SIGTERM)
    wait(stop)
    assert (stop.ordered, seconds) == (True, [])


def test_lost_quit_ends_the_process(stop: Stop) -> None:
    ends: list[None] = []
    stop._supervised = False
    stop.on_signals(lambda: ends.append(None))  # type: ignore[arg-type, return-value]
    lose(signal.SIGQUIT)
    assert not ends
    wait(stop)
    assert ends


def test_signals_that_the_application_handles_are_its_own(stop: Stop) -> None:
    stop.on_term()
    handled: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        handled.append(number)

    signal.signal(signal.SIGTERM, handle)
    signal.raise_signal(signal.SIGTERM)
    wait(stop)
    assert (handled, stop.ordered) == ([signal.SIGTERM], False)


def test_wait_goes_on_wherever_it_is_struck(stop: Stop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it asks whether it is over, and where it logs an exception that has come before."""
    raises = [Deliberate]

    def wait_for_signal(timeout_s: float | None, attendant: object = None) -> None:
        if raises:
            raise raises.pop()
        stop.order()

    monkeypatch.setattr(stop, "wait_for_signal", wait_for_signal)

    def waited() -> None:
        stop.ordered = False
        raises[:] = [Deliberate]
        stop.wait(lambda: False)
        ends.append(number)

    ends: list[int] = []
    for number in count():
        if not struck_at(number, waited, real=True):
            break
    # Not the first call, that of `waited`, and not what comes after the wait.
    first, last = min(ends), max(ends)
    assert last - first > 20
    assert ends == list(range(first, last + 1))
