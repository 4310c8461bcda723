"""One run in one process: users arrive, the server warms up, the window is measured, the counts are returned."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Protocol

from .closed_loop import ClosedLoop
from .limits import prepare
from .loop import Loop, Notify
from .open_loop import OpenLoop
from .plan import Plan

ARRIVAL_MAX_S = 30.0  # then those who could not come yet go on trying, in the warm-up and the window
ARRIVAL_CHORES_NS = 1_000_000
NEVER_NS = 1 << 62
clock = time.monotonic_ns


class Cue(Protocol):
    """Says when the window begins: the run itself, or who leads several."""

    at_once: bool  # without any warm-up: users still arrive in the window

    def came(self) -> int | None:
        """All users have come; the instant of the first request of an open loop, None for now."""

    def over(self, answers: int) -> bool:
        """Whether the warm-up is over."""

    def begin_ns(self) -> int:
        """When the window begins."""


class OwnCue:
    """For a process that is alone."""

    def __init__(self, plan: Plan) -> None:
        self._warmup = Warmup(plan.warmup_s, plan.warmup_max_s)
        self.at_once = not (plan.warmup_s or plan.warmup_max_s)

    def came(self) -> None:
        return None

    def over(self, answers: int) -> bool:
        return self._warmup.over(time.monotonic(), answers)

    def begin_ns(self) -> int:
        return clock()


def carry_out(plan: Plan, notify: Notify, cue: Cue) -> dict[str, Any]:
    """Load the server as planned, in this process; returns the raw counts. Ctrl-C ends it early, with those so far.

    `notify` hears of "came", "progress" (four times a second), "measuring" and "measured". Raises LoadError, before
    anything is sent, when it cannot be done here; and when nobody listens.
    """
    way = prepare(plan)
    loop = ClosedLoop(plan, way, notify) if plan.rate is None else OpenLoop(plan, way, notify)
    try:
        interrupted = _phases(loop, plan, notify, cue)
        notify("measured", {})
        return {**loop.raw(), "interrupted": interrupted}
    finally:
        loop.close()


def _phases(loop: Loop, plan: Plan, notify: Notify, cue: Cue) -> bool:
    """Whether it was interrupted."""
    try:
        if not cue.at_once:
            loop.run_until(clock() + int(ARRIVAL_MAX_S * 1e9), loop.everybody_came, ARRIVAL_CHORES_NS)
            loop.align(cue.came() or clock())
            notify("came", {})
            loop.go()
            loop.run_until(NEVER_NS, lambda: cue.over(loop.completed))
            loop.run_until(cue.begin_ns())
        loop.go()
        loop.measure()
        begun_ns = loop.tally.begun_ns
        if cue.at_once:
            loop.align(begun_ns)  # what is due belongs to the window, from its first request on
        notify("measuring", {})
        loop.run_until(begun_ns + int(plan.duration_s * 1e9))
        loop.end()
    except KeyboardInterrupt:
        return True
    return False


WINDOWS = 4  # of them a rate must be steady
WINDOW_S = 0.25
TOLERANCE = 0.05  # of their mean; more for rates so low that chance alone makes them differ more
SIGMAS = 2.0


class Warmup:
    """Told how many answers have come until when; says whether that is enough. Times in seconds, its clock any."""

    def __init__(self, at_least_s: float, at_most_s: float) -> None:
        self._at_least_s = at_least_s
        self._at_most_s = max(at_least_s, at_most_s)
        self._begun_s: float | None = None
        self._mark: tuple[float, int] = (0.0, 0)
        self._windows: deque[int] = deque(maxlen=WINDOWS)

    def over(self, now_s: float, answers: int) -> bool:
        """Whether the warm-up is over, after `answers` since its beginning, the first call."""
        if self._begun_s is None:
            self._begun_s, self._mark = now_s, (now_s, answers)
        if now_s - self._mark[0] >= WINDOW_S:
            rate = (answers - self._mark[1]) / (now_s - self._mark[0])
            self._windows.append(round(rate * WINDOW_S))
            self._mark = (now_s, answers)
        passed_s = now_s - self._begun_s
        return passed_s >= self._at_least_s and (passed_s >= self._at_most_s or self.steady)

    @property
    def steady(self) -> bool:
        """Whether the last windows differ from their mean by no more than they should."""
        if len(self._windows) < WINDOWS:
            return False
        mean = sum(self._windows) / WINDOWS
        allowed = max(TOLERANCE * mean, SIGMAS * mean**0.5)  # Poisson's deviation of a count
        return mean > 0 and all(abs(each - mean) <= allowed for each in self._windows)
