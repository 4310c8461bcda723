"""Timers of which many are due at once."""

import asyncio
import linecache
import sys
from typing import Any

import pytest

from septet.loop import ReadinessLoop


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
