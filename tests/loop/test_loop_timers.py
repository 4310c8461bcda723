"""Timers of which many are due at once."""

import asyncio
import linecache
import sys
from collections.abc import Awaitable, Callable
from itertools import count
from types import FrameType
from typing import Any

import pytest

from septet.loop import ReadinessLoop
from support.struck import Struck


def test_many_timers_that_are_due_at_once(loop: ReadinessLoop) -> None:
    """So many that the heap is sorted: in their order, without the cancelled ones, and the later ones stay."""
    order: list[int] = []
    now = loop.time()
    times = [i * 7919 % 1000 // 2 for i in range(3000)]  # three turns, each time twice in each
    timers = [loop.call_at(now - 1 + t * 0.001, order.append, i) for i, t in enumerate(times)]
    later = [loop.call_at(now + 60, print) for _ in range(200)]
    for timer in timers[::3]:
        timer.cancel()
    later[0].cancel()
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert order == sorted((i for i in range(3000) if i % 3), key=lambda i: (times[i], i))
    assert {id(timer) for _, _, timer in loop._scheduled} == {id(timer) for timer in later}
    assert not any(timer._scheduled for timer in timers)
    assert loop._timer_cancelled_count == 1


def test_timers_of_which_a_signal_handler_stops_the_taking(loop: ReadinessLoop) -> None:
    """It raises between two of those that are taken from the sorted heap: each is called once nevertheless."""
    order: list[int] = []
    for i in range(1000):
        loop.call_at(loop.time() - 1, order.append, i)
    code = type(loop)._take_many_due.__code__
    lines = range(code.co_firstlineno, 10_000)
    top = next(line for line in lines if "for _, _, timer" in linecache.getline(code.co_filename, line))
    left = 50

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal left
        if frame.f_code is code and event == "line" and frame.f_lineno == top:
            left -= 1
            if not left:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace if frame.f_code is code or event == "call" else None

    sys.settrace(trace)
    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(asyncio.sleep(0.01))
    finally:
        sys.settrace(None)
    assert not left
    loop.run_until_complete(asyncio.sleep(0.01))
    assert order == list(range(1000))
    assert not loop._scheduled


@pytest.mark.parametrize(
    ("begin", "ending"),
    [
        (lambda loop: asyncio.sleep(0.001), {"_set_result_unless_cancelled"}),
        (lambda loop: loop.run_in_executor(None, int), {"_set_state", "_copy_future_state"}),
    ],
    ids=["sleep", "executor"],
)
def test_a_wait_whose_end_is_interrupted(
    loop: ReadinessLoop, begin: Callable[[ReadinessLoop], Awaitable[object]], ending: set[str]
) -> None:
    """By an exception of another thread or of a signal handler, anywhere in what asyncio does to end it: the wait ends
    all the same."""
    loop.set_exception_handler(lambda *_: None)
    number = 0
    while _ends_though_struck(loop, begin, ending, number):
        number += 1
    assert number > 1


def _ends_though_struck(
    loop: ReadinessLoop, begin: Callable[[ReadinessLoop], Awaitable[object]], ending: set[str], number: int
) -> bool:
    """Wait for what `begin` begins, with an exception at the `number`-th call of the functions named `ending`, or in
    them. False if they make fewer."""
    events, struck = count(), False

    def strike(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal struck
        if frame.f_code.co_name in ending and event != "return" and not struck and next(events) == number:
            struck = True
            raise Struck

    async def wait() -> None:
        await begin(loop)

    async def visit() -> None:
        task = asyncio.ensure_future(wait())
        sys.setprofile(strike)
        try:
            done, _ = await asyncio.wait({task}, timeout=5.0)
        finally:
            sys.setprofile(None)
        assert done, f"waits for ever after a strike at call {number}"

    loop.run_until_complete(visit())
    return struck


def test_a_wait_that_cannot_end_is_not_ended_again_and_again(loop: ReadinessLoop) -> None:
    """What ends it raises by itself, as asyncio's does for StopIteration up to Python 3.11."""
    told: list[object] = []
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))

    class Unwilling(asyncio.Future[None]):
        def set_result(self, result: None) -> None:
            raise ValueError

    loop.call_soon(asyncio.futures._set_result_unless_cancelled, Unwilling(loop=loop), None)  # type: ignore[attr-defined]
    loop.run_until_complete(asyncio.sleep(0.05))
    assert 1 <= len(told) <= 2
