"""Finds the highest rate at which a server meets a latency target, in few trials.

A state machine without a clock or a network: it says which rate to try, is told the outcome, and ends with a bracket,
two rates between which the capacity lies. All it stores is the list of trials; every answer is computed from that anew,
so no state can go stale.

Trials can mislead. A rate that was held (answered within the target) can be believed, because any disturbance makes a
run slower. A rate that was broken (not held) may have failed because of other programs. So the lowest broken rate, on
which the result depends, is tried a second time before the search ends; and a rate that was held as often as broken is
tried until there is a majority.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from enum import Enum

TOLERANCE = 0.06
"""The search ends when the lowest rate at which the target was not met exceeds the highest rate at which it was met by
at most this share.
"""
COARSE = 0.25
"""Takes the place of TOLERANCE (how near to each other the two rates must be for the search to end) if the load
generator, and not the server, is the limit: the result cannot be more exact then.
"""
GROWTH = (1.12, 1.25, 1.5, 2.0)
"""As long as the target is met at every rate, the next rate to try is the highest rate so far times one of these
factors: the first factor at first, then the second, and so on; the last one is used again and again.
"""
SHRINKING = (0.85, 0.7, 0.5, 0.35, 0.2)
"""As long as the target is met at no rate, the next rate to try is the lowest rate so far times one of these factors:
the first factor at first, then the second, and so on.
"""
DISTURBANCES_MAX = 2
"""After this many trials that other programs disturbed, a rate counts as one at which the target is not met, and the
result is in doubt.
"""
TRIALS_MAX = 14


class Outcome(Enum):
    """The outcome of a trial: whether the latency target was met at its rate."""

    HELD = "held"
    BROKEN = "broken"
    """The target was not met, and the server is the cause."""
    LIMITED = "client-limited"
    """The load generator could not send faster, so that nothing is known about the server at this rate."""
    DISTURBED = "disturbed"
    """The target was not met, but other programs used the CPUs and may be the reason."""


@dataclass(frozen=True, slots=True)
class Bracket:
    """The result of a search: the capacity is between two rates, in requests per second."""

    low: float
    """The highest rate at which the latency target was met; 0: there was none."""
    high: float | None
    """The lowest rate above `low` at which the target was not met; None: none was found, because the load generator (or
    the number of trials) was the limit.
    """
    at_least: bool = False
    """True if the capacity may be higher than `low`, because the load generator was the limit, or the target was met at
    all rates that were tried.
    """
    in_doubt: bool = False
    """True if other programs may be the reason why the target was not met at `high`."""
    wavered: bool = False
    """True if the target was met at some rate in one trial and not in another."""
    refuted: bool = False
    """True if a fresh server met the target neither at the rate that was found nor at lower ones; then `low` is 0, and
    the capacity unknown.
    """
    unchecked: bool = False
    """True if the machine was too busy to find out whether a fresh server meets the target at `low` in longer trials,
    too.
    """
    trials: int = 0

    @property
    def is_lower_bound(self) -> bool:
        """True if the capacity may be higher than `low`: no higher rate was tried that could judge the server, or other
        programs may be the reason why the target was not met at `high`, or the target was met at some rate in one trial
        and not in another.
        """
        return self.at_least or self.in_doubt or self.wavered


class CapacitySearch:
    """The search for the capacity of one server. The first rate that it tries is `start`, and it tries no rate below
    `floor`; both are in requests per second.
    """

    def __init__(self, start: float, floor: float = 1.0, tolerance: float = TOLERANCE) -> None:
        self._start = max(start, floor)
        self._floor = floor
        self._tolerance = tolerance
        self._trials: list[tuple[float, Outcome]] = []

    def record(self, rate: float, outcome: Outcome) -> None:
        """Add the outcome of a trial at this rate."""
        self._trials.append((rate, outcome))

    def next_rate(self) -> float | None:
        """Return the rate to try now; None: the search has ended."""
        if not self._trials:
            return self._start
        if len(self._trials) >= TRIALS_MAX:
            return None
        rate, outcome = self._trials[-1]
        if outcome is Outcome.DISTURBED and self._disturbances(rate) < DISTURBANCES_MAX:
            return rate
        if (tied := self._tied()) is not None:
            return tied
        low, high, cap = self._low(), self._high(), self._cap()
        if not low:
            return self._lower(min(filter(None, (high, cap))))
        if high is None and cap is None:
            return low * _step(GROWTH, self._run_of(Outcome.HELD))
        if cap is not None and (high is None or cap <= high):
            return None if cap <= low * (1 + COARSE) else math.sqrt(low * cap)
        assert high is not None, "either high or cap is known"
        if high > low * (1 + self._tolerance):
            return math.sqrt(low * high)
        return high if self._votes(high)[Outcome.BROKEN] < 2 else None

    def result(self) -> Bracket:
        low, high, cap = self._low(), self._high(), self._cap()
        limited = cap is not None and (high is None or cap <= high)
        return Bracket(
            low=low,
            high=None if limited else high,
            at_least=bool(low) and (limited or high is None),
            in_doubt=high is not None and self._disturbances(high) >= DISTURBANCES_MAX,
            wavered=any(self._is_split(rate) for rate in self._rates()),
            trials=len(self._trials),
        )

    # Computed from the trials.

    def _rates(self) -> list[float]:
        return sorted({rate for rate, _ in self._trials})

    def _votes(self, rate: float) -> Counter[Outcome]:
        votes = Counter(outcome for tried, outcome in self._trials if tried == rate)
        if votes[Outcome.DISTURBED] >= DISTURBANCES_MAX and not votes[Outcome.HELD]:
            votes[Outcome.BROKEN] += 2  # every trial was disturbed: the rate counts as broken
        return votes

    def _disturbances(self, rate: float) -> int:
        return sum(1 for tried, outcome in self._trials if tried == rate and outcome is Outcome.DISTURBED)

    def _is_split(self, rate: float) -> bool:
        votes = self._votes(rate)
        return bool(votes[Outcome.HELD] and votes[Outcome.BROKEN])

    def _tied(self) -> float | None:
        for rate in self._rates():
            votes = self._votes(rate)
            if votes[Outcome.HELD] and votes[Outcome.HELD] == votes[Outcome.BROKEN]:
                return rate
        return None

    def _is_broken(self, rate: float) -> bool:
        votes = self._votes(rate)
        return votes[Outcome.BROKEN] > votes[Outcome.HELD]

    def _low(self) -> float:
        """Return the highest rate at which the target was met and below which no tried rate missed it; 0 if there is
        none.
        """
        high = self._high()
        held = (rate for rate in self._rates() if self._votes(rate)[Outcome.HELD] and not self._is_broken(rate))
        return max((rate for rate in held if high is None or rate < high), default=0.0)

    def _high(self) -> float | None:
        return min(filter(self._is_broken, self._rates()), default=None)

    def _cap(self) -> float | None:
        """Return the lowest rate at which the load generator, not the server, was the limit. Such a rate counts only if
        it is above `_low()`, the highest rate at which the target was met; None if there is none.
        """
        limited = {rate for rate, outcome in self._trials if outcome is Outcome.LIMITED}
        return min((rate for rate in limited if rate > self._low()), default=None)

    def _run_of(self, outcome: Outcome) -> int:
        """Return the number of latest trials, in a row, that had this outcome, minus one; 0 if there are none. It is
        used as an index into GROWTH: the longer the row, the larger the next step.
        """
        run = 0
        for _, each in reversed(self._trials):
            if each is not outcome:
                break
            run += 1
        return max(0, run - 1)

    def _lower(self, broken: float) -> float | None:
        """Return the next rate to try, below `broken`; to be called as long as the target was met at no rate. `broken`:
        the lowest rate so far at which it was not met, or at which the load generator was the limit.

        If `broken` is the least rate allowed (the floor), or the factors of SHRINKING are used up, `broken` itself is
        returned, so that it is tried a second time; after that None, and the search ends.
        """
        steps = sum(1 for rate in self._rates() if rate >= broken) - 1
        if broken <= self._floor or steps >= len(SHRINKING) + 2:
            return None if self._votes(broken)[Outcome.BROKEN] > 1 else broken
        return max(self._floor, broken * _step(SHRINKING, steps))


def _step(factors: tuple[float, ...], number: int) -> float:
    return factors[min(number, len(factors) - 1)]
