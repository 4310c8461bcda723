"""Comparisons in pairs: how many times as much one contender does as another, from ratios within turns.

A turn visits every contender within seconds, in an order drawn by lot. Whatever changes the speed of the machine from
turn to turn changes all figures of a turn by the same factor, and cancels in a ratio of two of them. So a ratio can be
certain when neither figure is.

The estimator, on logarithms, where a factor is a difference:

* The ratio of a pair is the mean over the turns that both have; its interval is Student's t for paired samples. The
  difference of two figures that may be exchanged is symmetric, for which t keeps its level even with outliers. Rank
  tests (Wilcoxon's) and the bootstrap cannot decide anything with two to five turns.
* A figure may have a weight: a CPU time of a request from a thousand requests says more than one from a hundred. Means
  and squares are weighted then, as for variances in inverse proportion to the weights.
* Few turns say little about the spread of one pair. So the spread of all contenders around a two-way fit (contender
  plus turn) lends up to LENT_MAX degrees of freedom to each pair, as in the moderated t of Smyth (2004, "Linear models
  and empirical Bayes methods for assessing differential expression"). What the pair itself says of its spread is left
  out of the loan, so that it is not counted twice. With two contenders this is the plain paired t.
* Turns share servers. A server that was started anew would be a little slower or faster (hash seeds, addresses), by
  SERVER_SPREAD, which no number of visits to the same one shows; so that is added to the error.
* The intervals of all pairs hold together (Bonferroni): in 95 of 100 experiments no order that is claimed is wrong.
  "Equal within 5 %" is no order; it is claimed when the pair's own 95 % interval is within these bounds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations, pairwise

from septet.lab.statistics import LEVEL, Ratio, student

DECIDED, EQUAL, OPEN, LIMITED = "decided", "equal", "open", "limited"
"""The order is sure; the two are equal within EQUAL_WITHIN; neither can be said; the load generator was the limit."""
EQUAL_WITHIN = 0.05
TURNS_MIN = 3
"""For an interval."""
SERVER_SPREAD = 0.01
"""Standard deviation of the figures of servers that were started alike, as a share of them."""
LENT_MAX = 10
"""Degrees of freedom. More would decide sooner, and wrongly for pairs that are noisier than the others."""
ITERATIONS = 100
"""Of the fit, at most. Two suffice when every contender is in every turn."""

Values = Mapping[str, Mapping[int, float]]
"""A figure above 0, by contender and turn; also its weight, which is 1 without one."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two contenders; `ratio` says how many times as good `ahead` is as `behind`, and is 1 or more."""

    ahead: str
    behind: str
    ratio: Ratio
    outcome: str
    rounds: int


@dataclass(frozen=True, slots=True)
class Standings:
    """The contenders, the best first, and all pairs of them."""

    order: tuple[str, ...]
    pairs: Mapping[frozenset[str], Pair] = field(default_factory=dict)

    def pair(self, one: str, other: str) -> Pair:
        return self.pairs[frozenset((one, other))]

    @property
    def neighbours(self) -> list[Pair]:
        return [self.pair(*both) for both in pairwise(self.order)]

    @property
    def tiers(self) -> list[list[str]]:
        """The order as far as it is sure: each contender of a tier is decidedly ahead of all in later tiers."""
        found: list[list[str]] = [[]]
        for place, label in enumerate(self.order):
            before, after = self.order[:place], self.order[place:]
            if before and all(self._decided(better, worse) for better in before for worse in after):
                found.append([])
            found[-1].append(label)
        return found

    def _decided(self, better: str, worse: str) -> bool:
        pair = self.pair(better, worse)
        return pair.outcome == DECIDED and pair.ahead == better


def standings(
    values: Values,
    more_is_better: bool,
    family: int,
    at_least: frozenset[str] = frozenset(),
    weights: Values | None = None,
    turns: int = 0,
) -> Standings:
    """Rank contenders by a figure.

    Args:
        values: contenders without a value are not ranked.
        family: how many intervals hold together, these pairs included.
        at_least: contenders of which the load generator was the limit, so that they may be better than their figures.
        weights: of the values.
        turns: how many turns share a server.
    """
    sign = 1 if more_is_better else -1
    logs = {
        label: {place: sign * math.log(value) for place, value in each.items()}
        for label, each in values.items()
        if each
    }
    heavy = {
        label: {place: (weights or {}).get(label, {}).get(place, 1.0) for place in each} for label, each in logs.items()
    }
    fitted = _fit(logs, heavy)
    order = tuple(sorted(logs, key=lambda label: -fitted.levels[label]))
    judge = _Judge(logs, heavy, fitted, max(1, family), at_least, turns)
    found = (judge.pair(one, other) for one, other in combinations(order, 2))
    return Standings(order, {frozenset((pair.ahead, pair.behind)): pair for pair in found})


@dataclass(frozen=True, slots=True)
class _Fit:
    """Each value as the level of its contender plus the speed of the machine in its round, and what remains."""

    levels: Mapping[str, float]
    squares: float
    """Of what remains, summed."""
    freedom: int


def _fit(logs: Values, weights: Values) -> _Fit:
    """The two-way fit by weighted least squares, by turns, since not every contender is in every turn."""
    places = {place for each in logs.values() for place in each}
    speeds = dict.fromkeys(places, 0.0)
    levels: dict[str, float] = {}
    for _ in range(ITERATIONS):
        levels = {
            label: _mean((value - speeds[place], weights[label][place]) for place, value in each.items())
            for label, each in logs.items()
        }
        before, speeds = (
            speeds,
            {
                place: _mean(
                    (each[place] - levels[label], weights[label][place])
                    for label, each in logs.items()
                    if place in each
                )
                for place in places
            },
        )
        if max((abs(speeds[place] - before[place]) for place in places), default=0.0) < 1e-9:
            break
    squares = [
        weights[label][place] * (value - levels[label] - speeds[place]) ** 2
        for label, each in logs.items()
        for place, value in each.items()
    ]
    return _Fit(levels, sum(squares), len(squares) - len(levels) - len(places) + 1)


def _mean(values: Iterable[tuple[float, float]]) -> float:
    """The mean of values with their weights."""
    total = weight = 0.0
    for value, each in values:
        total += value * each
        weight += each
    return total / weight


@dataclass(frozen=True, slots=True)
class _Judge:
    """Judges pairs; the fields are as those of `standings`."""

    logs: Values
    weights: Values
    fitted: _Fit
    family: int
    at_least: frozenset[str]
    turns: int

    def pair(self, one: str, other: str) -> Pair:
        places = sorted(self.logs[one].keys() & self.logs[other].keys())
        if not places:
            value = self.fitted.levels[one] - self.fitted.levels[other]
            return Pair(one, other, Ratio(math.exp(value), None, None), OPEN, 0)
        # The variance of a difference is the sum of two variances, each of which is 1 / weight.
        weights = [1 / sum(1 / self.weights[label][place] for label in (one, other)) for place in places]
        differences = [self.logs[one][place] - self.logs[other][place] for place in places]
        value = _mean(zip(differences, weights, strict=True))
        if value < 0:
            one, other, value, differences = other, one, -value, [-each for each in differences]
        squares = sum(weight * (each - value) ** 2 for each, weight in zip(differences, weights, strict=True))
        variance, freedom = self._variance(squares, len(places) - 1) if len(places) >= TURNS_MIN else (0.0, 0)
        if not freedom:
            return Pair(one, other, Ratio(math.exp(value), None, None), OPEN, len(places))
        servers = len({(place - 1) // self.turns for place in places}) if self.turns else 0
        error = math.sqrt(variance / sum(weights) + (2 * SERVER_SPREAD**2 / servers if servers else 0.0))
        reach = error * student(freedom, 1 - (1 - LEVEL) / self.family)
        outcome = self._outcome(one, other, value, reach, error * student(freedom, LEVEL))
        ratio = Ratio(math.exp(value), math.exp(value - reach), math.exp(value + reach))
        return Pair(one, other, ratio, outcome, len(places))

    def _variance(self, own: float, own_freedom: int) -> tuple[float, int]:
        """The variance of a value of weight 1, and its degrees of freedom; `own` is the sum of the pair's squares."""
        others_freedom = self.fitted.freedom - own_freedom
        lent = max(0, min(LENT_MAX, others_freedom))
        others = max(0.0, self.fitted.squares - own) / others_freedom if lent else 0.0
        freedom = own_freedom + lent
        return ((own + lent * others) / freedom if freedom else 0.0), freedom

    def _outcome(self, one: str, other: str, value: float, reach: float, single: float) -> str:
        """`reach` is that of the interval that holds with all others, `single` that of its own."""
        if value - reach > 0:
            return LIMITED if other in self.at_least else DECIDED
        if value + single < math.log(1 + EQUAL_WITHIN) and value - single > -math.log(1 + EQUAL_WITHIN):
            return LIMITED if self.at_least & {one, other} else EQUAL
        return LIMITED if other in self.at_least else OPEN
