"""Waiting for a condition: the only way in which these tests let time pass."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: s; generous because test machines are slow, bounded because a hang must become a failure.
PATIENCE_S = 40.0

_PAUSE_S = 0.005


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = PATIENCE_S) -> None:
    """Return as soon as `condition()` is true; raise AssertionError naming `what` after `timeout_s` seconds."""
    if not becomes_true(condition, timeout_s):
        raise AssertionError(f"waited {timeout_s:g} s in vain until {what}")


def becomes_true(condition: Callable[[], object], timeout_s: float) -> bool:
    """Whether `condition()` becomes true within `timeout_s` seconds; for what must *not* happen in a while."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE_S)
    return True


def in_time_enough(measure: Callable[[float], T], is_enough: Callable[[T], bool], shortest_s: float) -> T:
    """What is measured in `shortest_s` seconds; if that is not enough, because others had the CPUs then, in five or 25
    times as many.
    """
    found = measure(shortest_s)
    for times in (5, 25):
        if is_enough(found):
            break
        found = measure(times * shortest_s)
    return found
