"""Comparisons in pairs: the ratio of two contenders' figures, computed within rounds.

A round visits every contender within seconds, in an order drawn by lot. Whatever changes the speed of the machine from
round to round changes all figures of a round by the same factor, and cancels in a ratio of two of them. So a ratio can
be certain when neither figure is.

The estimator, on logarithms, where a factor is a difference:

* The ratio of a pair is the mean over the rounds that both have; its interval is Student's t for paired samples. The
  difference of two figures that may be exchanged is symmetric, for which t keeps its level even with outliers. Rank
  tests (Wilcoxon's) and the bootstrap cannot decide anything with two to five rounds.
* Few rounds say little about the spread of one pair. So the spread of all contenders around a two-way fit (contender
  plus round) lends up to LENT_MAX degrees of freedom to each pair, as in the moderated t of Smyth (2004, "Linear models
  and empirical Bayes methods for assessing differential expression"). The pair's own part of that spread is left out,
  so that it is not counted twice. With two contenders this is the plain paired t.
* All pairs share an error rate of 5 % (Bonferroni): in 95 of 100 experiments no order that is claimed is wrong.
  "Equal within 5 %" is no order; it is claimed when the pair's own 95 % interval is within these bounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from statistics import fmean

from septet.lab.statistics import LEVEL, Ratio, student

DECIDED, EQUAL, OPEN, LIMITED = "decided", "equal", "open", "limited"
"""Outcomes of a pair: its order is certain; the two are equal within EQUAL_WITHIN; neither can be said yet; the load
generator was the limit, so that more rounds would not decide either."""
EQUAL_WITHIN = 0.05
ROUNDS_MIN = 3
"""By default a pair gets an interval if its two contenders have figures in at least this many common rounds."""
FREEDOM_MIN = 2
"""Degrees of freedom that an interval needs. Two rounds have one of their own; other contenders must lend the rest."""
LENT_MAX = 6
"""Most degrees of freedom that a pair is lent. More would decide sooner, but wrongly for pairs with more noise."""
TURNS = 100
"""Most iterations of the fit. Two suffice when every contender is in every round."""

Values = Mapping[str, Mapping[int, float]]
"""Figures above 0, by contender and number of the round."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The comparison of two contenders. `ratio` says how many times as good `ahead` is as `behind`; it is 1 or more."""

    ahead: str
    behind: str
    ratio: Ratio
    outcome: str
    """DECIDED, EQUAL, OPEN or LIMITED."""
    rounds: int
    """Number of rounds in which both have a figure."""


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
        """Contenders in groups, the best first: every pair from two groups is DECIDED for the one in the earlier group.

        Contenders in one group are not necessarily equal: the measurements do not separate the group further.
        """
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
    rounds_min: int = ROUNDS_MIN,
) -> Standings:
    """Rank contenders by one figure, the best first, and compare every pair of them.

    Args:
        values: the figure by contender and round; a contender without any value is left out.
        more_is_better: False for figures such as latency, where the smallest value is best.
        family: number of comparisons that share the error rate of 5 % (Bonferroni), including the pairs compared here;
            a larger number widens the intervals, so that fewer pairs are DECIDED.
        at_least: contenders that the load generator held back, and that may be better than measured; a lead over one
            of them is LIMITED, never DECIDED.
        rounds_min: rounds that both contenders of a pair must share; with fewer the pair has a ratio without an
            interval and is OPEN.
    """
    sign = 1 if more_is_better else -1
    logs = {
        label: {place: sign * math.log(value) for place, value in each.items()}
        for label, each in values.items()
        if each
    }
    fitted = _fit(logs)
    order = tuple(sorted(logs, key=lambda label: -fitted.levels[label]))
    family = max(1, family)
    found = (_pair(one, other, logs, fitted, family, at_least, rounds_min) for one, other in combinations(order, 2))
    return Standings(order, {frozenset((pair.ahead, pair.behind)): pair for pair in found})


@dataclass(frozen=True, slots=True)
class _Fit:
    """Each logarithm as the level of its contender, plus the speed of the machine in its round, plus a residual."""

    levels: Mapping[str, float]
    squares: float
    """Sum of the squares of the residuals."""
    freedom: int
    """Degrees of freedom of the residuals."""


def _fit(logs: Values) -> _Fit:
    """Return the two-way fit by least squares: levels and speeds in turn, since not every contender is in every
    round."""
    rounds = {place for each in logs.values() for place in each}
    speeds = dict.fromkeys(rounds, 0.0)
    levels: dict[str, float] = {}
    for _ in range(TURNS):
        levels = {label: fmean(value - speeds[place] for place, value in each.items()) for label, each in logs.items()}
        before, speeds = (
            speeds,
            {
                place: fmean(each[place] - levels[label] for label, each in logs.items() if place in each)
                for place in rounds
            },
        )
        if max((abs(speeds[place] - before[place]) for place in rounds), default=0.0) < 1e-9:
            break
    rest = [value - levels[label] - speeds[place] for label, each in logs.items() for place, value in each.items()]
    return _Fit(levels, sum(each**2 for each in rest), len(rest) - len(levels) - len(rounds) + 1)


def _pair(
    one: str, other: str, logs: Values, fitted: _Fit, family: int, at_least: frozenset[str], rounds_min: int
) -> Pair:
    differences = [logs[one][place] - logs[other][place] for place in logs[one].keys() & logs[other].keys()]
    if not differences:
        return Pair(one, other, Ratio(math.exp(fitted.levels[one] - fitted.levels[other]), None, None), OPEN, 0)
    if fmean(differences) < 0:
        one, other, differences = other, one, [-each for each in differences]
    value, rounds = fmean(differences), len(differences)
    error, freedom = _error(differences, fitted) if rounds >= rounds_min else (math.inf, 0)
    if freedom < FREEDOM_MIN:
        return Pair(one, other, Ratio(math.exp(value), None, None), OPEN, rounds)
    reach = error * student(freedom, 1 - (1 - LEVEL) / family)
    single = error * student(freedom, LEVEL)
    outcome = OPEN
    if value - reach > 0:
        outcome = LIMITED if other in at_least else DECIDED
    elif value + single < math.log(1 + EQUAL_WITHIN) and value - single > -math.log(1 + EQUAL_WITHIN):
        outcome = LIMITED if at_least & {one, other} else EQUAL
    elif other in at_least:
        outcome = LIMITED
    return Pair(one, other, Ratio(math.exp(value), math.exp(value - reach), math.exp(value + reach)), outcome, rounds)


def _error(differences: Sequence[float], fitted: _Fit) -> tuple[float, int]:
    """Return the standard error of the mean of `differences`, and its degrees of freedom."""
    middle, own_freedom = fmean(differences), len(differences) - 1
    own = sum((each - middle) ** 2 for each in differences)
    others_freedom = fitted.freedom - own_freedom
    lent = max(0, min(LENT_MAX, others_freedom))
    # A difference of two values has twice the variance of one. So the pair's squares count half in the fit's sum, and
    # what the other contenders leave of that sum is doubled.
    others = 2 * max(0.0, fitted.squares - own / 2) / others_freedom if lent else 0.0
    variance = (own + lent * others) / (own_freedom + lent)
    return math.sqrt(variance / len(differences)), own_freedom + lent
