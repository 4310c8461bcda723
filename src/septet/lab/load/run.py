"""Carries out a run in one process: users arrive, the server warms up, the window is measured."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Protocol

from .closed_loop import ClosedLoop, ThinkingLoop
from .limits import prepare
from .loop import Loop, Notify
from .open_loop import OpenLoop
from .plan import Plan
from .visits import RecordingLoop

ARRIVAL_CHORES_NS = 1_000_000
NEVER_NS = 1 << 62

WINDOWS = 4
"""During the warm-up, answers are counted in windows of WINDOW_S. The rate of answers is taken for steady if the counts
of this many successive windows hardly differ.
"""
WINDOW_S = 0.25
"""Length in seconds of the windows in which the warm-up counts answers."""
TOLERANCE = 0.05
"""A count may differ from the mean of the last WINDOWS counts by this share of the mean, or by SIGMAS standard
deviations, whichever is more. If no count differs by more, the rate of answers is steady.
"""
SIGMAS = 2.0
clock = time.monotonic_ns


class StartSignal(Protocol):
    """Decides when the measured window begins. A process that runs alone decides for itself (`OwnStart`); one of
    several is told by the coordinator (`CoordinatedStart`).
    """

    at_once: bool
    """True if there is no warm-up: the measured window begins at once, and users connect during it."""

    def arrived(self) -> int | None:
        """Called when all users have had a first answer, or no more are waited for.

        Returns the instant of an open loop's first request, in ns of the monotonic clock; None: now, without waiting.
        """

    def over(self, answers: int) -> bool:
        """True if the warm-up is over; `answers` is the number of right answers so far."""

    def begin_ns(self) -> int:
        """Return the instant at which the measured window begins, in ns of the monotonic clock. Called once `over` has
        returned True.
        """


class OwnStart:
    """The start signal of a process that runs alone: the window begins when its own warm-up is over."""

    def __init__(self, plan: Plan) -> None:
        self._warmup = warmup(plan)
        self.at_once = not (plan.warmup_s or plan.warmup_max_s or plan.ramp_s)

    def arrived(self) -> None:
        return None

    def over(self, answers: int) -> bool:
        return self._warmup.over(time.monotonic(), answers)

    def begin_ns(self) -> int:
        return clock()


def carry_out(plan: Plan, notify: Notify, start: StartSignal) -> dict[str, Any]:
    """Load the server as planned, in this process, and return the raw counts. Ctrl-C ends the run early, with the
    counts so far. `start` decides when the measured window begins.

    `notify` is called with the events "came" (all users have had a first answer, or no more are waited for), "progress"
    (four times a second), "measuring" and "measured" (the window begins, and has ended). Raises LoadError, before
    anything is sent, when the plan cannot be carried out here; and NoListener when nothing listens at the URL.
    """
    route = prepare(plan)
    loop = _loop_class(plan)(plan, route, notify)
    try:
        interrupted = _phases(loop, plan, notify, start)
        loop.end_phases()
        notify("measured", {})
        return {**loop.raw(), "interrupted": interrupted}
    finally:
        loop.close()


def _loop_class(plan: Plan) -> type[Loop]:
    kind: type[Loop] = OpenLoop if plan.rate is not None else ThinkingLoop if plan.think_s else ClosedLoop
    if not plan.streams:
        return RecordingLoop if plan.visits and kind is ClosedLoop else kind
    from . import streams  # it needs the library h2, which no other run does

    return streams.OVER_HTTP2[kind]


def _phases(loop: Loop, plan: Plan, notify: Notify, start: StartSignal) -> bool:
    """Run the phases of a run: users arrive, the server warms up, the window is measured. Returns True if Ctrl-C
    interrupted them.
    """
    try:
        if not start.at_once:
            longest_s = plan.arrival_max_s + plan.ramp_s
            loop.run_until(clock() + int(longest_s * 1e9), loop.all_arrived, ARRIVAL_CHORES_NS)
            loop.align(start.arrived() or clock())
            notify("came", {})
            loop.begin_phase("warm-up")
            loop.release()
            loop.run_until(NEVER_NS, lambda: start.over(loop.completed))
            loop.run_until(start.begin_ns())
        loop.release()
        loop.measure()
        begun_ns = loop.tally.begun_ns
        if start.at_once:
            loop.align(begun_ns)  # from the first request on, all that becomes due belongs to the window
        notify("measuring", {})
        loop.run_until(begun_ns + int(plan.duration_s * 1e9))
        loop.end()
    except KeyboardInterrupt:
        return True
    return False


def warmup(plan: Plan) -> Warmup:
    """Return the warm-up of a plan. If the plan has a rate, the time in which the rate grows (`Plan.ramp_s`) is part of
    the warm-up; without a rate, users arrive in that time, before the warm-up.
    """
    ramp_s = plan.ramp_s if plan.rate is not None else 0.0
    return Warmup(ramp_s + plan.warmup_s, ramp_s + plan.warmup_max_s)


class Warmup:
    """Decides when a warm-up is over: as soon as the rate of answers is steady, but not before `at_least_s` seconds,
    and at the latest after `at_most_s`.

    It reads no clock: `over` is given the time and the number of answers.
    """

    def __init__(self, at_least_s: float, at_most_s: float) -> None:
        self._at_least_s = at_least_s
        self._at_most_s = max(at_least_s, at_most_s)
        self._begun_s: float | None = None
        self._mark: tuple[float, int] = (0.0, 0)
        self._windows: deque[int] = deque(maxlen=WINDOWS)

    def over(self, now_s: float, answers: int) -> bool:
        """True if the warm-up is over. `now_s` is the time in seconds of any clock, `answers` the number of right
        answers up to now.
        """
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
        """True if the rate of answers is steady: the numbers of answers in the last WINDOWS windows differ from their
        mean by no more than TOLERANCE and SIGMAS allow.
        """
        if len(self._windows) < WINDOWS:
            return False
        mean = sum(self._windows) / WINDOWS
        allowed = max(TOLERANCE * mean, SIGMAS * mean**0.5)  # the standard deviation of a count (Poisson)
        return mean > 0 and all(abs(each - mean) <= allowed for each in self._windows)
