"""Finds the highest rate at which an objective is held. It brackets that rate between one that was held and one that
was missed, and then halves the bracket on a logarithmic scale.

A state machine without clock and network: it says at which rate to make the next gauge (a run at one rate), is told the
outcome, and ends with a result. All that it stores are the outcomes; every answer is computed from these, so that
nothing can go stale.

One gauge decides little: other programs make a run miss what the server would hold, and luck makes it hold what the
server would miss. So a miss is repeated at once, and counts when two of up to MOST gauges missed. A hold is believed
while the bracket is wide, since nothing makes a server faster than it is; the rate that the result names must have been
held twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from septet.lab.objective.interval import interval

WITHIN = 0.05
"""The search ends when the lowest rate at which the objective was missed exceeds the highest rate at which it was held
by at most this share (0.05: 5 %).
"""
WITHIN_LIMITED = 0.25
"""Takes the place of WITHIN (how near the two rates must be to each other for the search to end) if the load generator,
not the server, was the limit at the higher rate. The exact limit of the load generator is not worth many runs.
"""
MOST = 5
"""Largest number of gauges (runs) at one rate. Gauges that do not count, because other programs disturbed them, are not
included (see FORGIVEN).
"""
GAUGES_MAX = 40
FORGIVEN = 1
"""Number of gauges (runs) at one rate that do not count because other programs disturbed them. Further ones count as
misses, and the result is in doubt.
"""
GROWTH = (1.15, 1.3, 1.6, 2.0)
SHRINKING = (0.8, 0.65, 0.5, 0.3, 0.2)


class Outcome(Enum):
    """The outcome of a gauge, which is one run at one rate."""

    HELD = "held"
    MISSED = "missed"
    """The server missed the objective."""
    LIMITED = "client-limited"
    """The load generator could not send more, so nothing is known about the server."""
    DISTURBED = "disturbed"
    """The objective was missed while other programs used the CPUs, so that the server may not be the cause."""


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a search. Rates are in requests per second."""

    low: float
    """The highest rate at which the objective was held; 0: there was none."""
    high: float | None
    """The lowest rate above `low` at which the objective was missed, or the load generator was the limit; None: there
    was none.
    """
    interval: tuple[float, float | None]
    """The 95 % interval of the highest rate at which the objective is held, in requests per second (see the module
    `septet.lab.objective.interval`). The upper end is None if it is not known.
    """
    limited: bool
    """True if the search ended because the load generator, not the server, was the limit, or before any rate was
    missed. The server may then hold the objective at rates above `low`.
    """
    in_doubt: bool
    """True if the objective was missed at the rate `high` only in runs during which other programs used the CPUs, so
    that the server might hold it there.
    """


@dataclass(frozen=True, slots=True)
class Votes:
    """Counts the outcomes of the gauges (runs) at one rate."""

    held: int
    missed: int
    """Number of gauges (runs) at this rate that count as misses. Those that other programs disturbed count, too, except
    for the first FORGIVEN of them.
    """
    limited: int
    disturbed: int

    @property
    def against(self) -> int:
        return self.missed + self.limited

    @property
    def is_held(self) -> bool:
        return self.held > self.against

    @property
    def is_against(self) -> bool:
        """True if the objective counts as not held at this rate: at least two gauges (runs) missed it or were limited
        by the load generator, and more than held it.
        """
        return self.against >= 2 and self.against > self.held

    @property
    def is_open(self) -> bool:
        """True if more gauges (runs) are needed at this rate, because it is not decided whether the objective is held
        there.
        """
        return not self.is_held and not self.is_against and self.held + self.against < MOST


class Search:
    """The search for the highest rate at which an objective is held, in requests per second. It begins at the rate
    `start`, and never tries one below `floor`.
    """

    def __init__(self, start: float, floor: float = 1.0) -> None:
        self._start = max(start, floor)
        self._floor = floor
        self._outcomes: list[tuple[float, Outcome]] = []

    def record(self, rate: float, outcome: Outcome) -> None:
        self._outcomes.append((rate, outcome))

    def next_rate(self) -> float | None:
        """Return the rate at which the server is to be loaded next, in requests per second. None: the search has ended,
        and `result` has its result.
        """
        if not self._outcomes:
            return self._start
        if len(self._outcomes) >= GAUGES_MAX:
            return None
        last = self._outcomes[-1][0]
        if self.votes(last).is_open:
            return last
        low, high = self._low(), self._high()
        if not low:
            assert high is not None, "a rate that is neither held nor open is decided against"
            return self._lower(high)
        if high is None:
            return low * GROWTH[min(len(self._rates()) - 1, len(GROWTH) - 1)]
        within = WITHIN_LIMITED if self.votes(high).limited > self.votes(high).missed else WITHIN
        if high > low * (1 + within):
            return math.sqrt(low * high)
        return low if self.votes(low).held < 2 else None

    def result(self) -> Found:
        low, high = self._low(), self._high()
        at_high = None if high is None else self.votes(high)
        limited = high is None or (at_high is not None and at_high.limited > at_high.missed)
        doubt = at_high is not None and not self._count(high, Outcome.MISSED) and not limited
        told = (Outcome.HELD, Outcome.MISSED)
        gauges = [(rate, outcome is Outcome.HELD) for rate, outcome in self._outcomes if outcome in told]
        return Found(low, high, interval(gauges), limited, doubt)

    def votes(self, rate: float) -> Votes:
        disturbed = self._count(rate, Outcome.DISTURBED)
        missed = self._count(rate, Outcome.MISSED) + max(0, disturbed - FORGIVEN)
        return Votes(self._count(rate, Outcome.HELD), missed, self._count(rate, Outcome.LIMITED), disturbed)

    # Computed from the outcomes.

    def _count(self, rate: float | None, outcome: Outcome) -> int:
        return sum(1 for each in self._outcomes if each == (rate, outcome))

    def _rates(self) -> list[float]:
        return sorted({rate for rate, _ in self._outcomes})

    def _high(self) -> float | None:
        return _least(rate for rate in self._rates() if not self.votes(rate).is_held and not self.votes(rate).is_open)

    def _low(self) -> float:
        high = self._high()
        held = (rate for rate in self._rates() if self.votes(rate).is_held and (high is None or rate < high))
        return max(held, default=0.0)

    def _lower(self, high: float) -> float | None:
        """Return a rate below `high` to try next. Called as long as there is no rate at which the objective was held.
        None if `high` is the lowest rate that the search may try.
        """
        if high <= self._floor:
            return None
        steps = len(self._rates())  # all of them are against
        return max(self._floor, high * SHRINKING[min(steps - 1, len(SHRINKING) - 1)])


def _least(values: Iterable[float]) -> float | None:
    return min(values, default=None)
