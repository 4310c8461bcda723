"""Comparisons in pairs: how many times as good one contender (a server or process model) is as another, from ratios
within turns.

A turn visits every contender within seconds, in an order drawn by lot. Whatever changes the speed of the machine from
turn to turn changes all figures of a turn by the same factor, and cancels in a ratio of two of them. So a ratio can be
certain when neither figure is.

The estimator, on logarithms, where a factor is a difference:

* The ratio of a pair is the mean over the turns that both have; its interval is Student's t for paired samples. The
  difference of two figures that may be exchanged is symmetric, for which t keeps its level even with outliers. Rank
  tests (Wilcoxon's) and the bootstrap cannot decide anything with two to five turns.
* Now and then something slows one visit down a lot. Such a figure is moved to the edge of what is usual (EDGE) before
  ratios are formed, and the variance is corrected for that (after Huber, 1964: "Robust estimation of a location
  parameter"), so a stray figure counts, but does not hide what the others say.
* A figure may have a weight: a CPU time of a request from a thousand requests says more than one from a hundred. Means
  and squares are weighted then, as for variances in inverse proportion to the weights.
* Few turns say little about the spread of one pair. So other pairs lend it up to LENT_MAX degrees of freedom, as in the
  moderated t of Smyth (2004, "Linear models and empirical Bayes methods for assessing differential expression"): the
  pairs of one of the two with another contender. Some contenders are noisier than others by far (a process for each
  client, on a busy machine). So the lent variance is the median over a contender's pairs, and the larger one of the two
  contenders: a noisy one makes its own pairs wide, and no others. With two contenders this is the plain paired t.
* Turns share servers. A server that was started anew would be a little slower or faster (hash seeds, addresses), by
  SERVER_SPREAD, which no number of visits to the same one shows; so that is added to the error.
* The orders that are claimed hold together: in 95 of 100 experiments none of them is wrong. Pairs share that error rate
  (Bonferroni), and those that are decided leave their share to the others (Holm, 1979: "A simple sequentially rejective
  multiple test procedure"). All intervals are those of its last step. "Equal within 5 %" is no order; it is claimed
  when the pair's own 90 % interval is within these bounds: two one-sided tests of 5 % each (Schuirmann, 1987).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from statistics import median
from typing import NamedTuple

from septet.lab.statistics import LEVEL, Ratio, student

DECIDED, EQUAL, OPEN, LIMITED = "decided", "equal", "open", "limited"
"""Outcomes of the comparison of two contenders (servers or process models). DECIDED: one is certainly better. EQUAL:
they are equal within EQUAL_WITHIN. OPEN: neither can be said yet. LIMITED: the load generator was the limit, so that
more runs would not decide it.
"""
EQUAL_WITHIN = 0.05
EQUAL_LEVEL = 0.90
"""Level of the interval that must be within EQUAL_WITHIN for two contenders to be called equal."""
TURNS_MIN = 3
"""The ratio of two contenders (servers or process models) gets an interval only if both have a figure in at least this
many turns. In a turn every contender is run once.
"""
SERVER_SPREAD = 0.01
"""Standard deviation, as a share, of the figures of servers that were started by the same command: each is a little
slower or faster for as long as it runs.
"""
LENT_MAX = 8
"""The variance of the comparison of two contenders (servers or process models) is estimated from other pairs as well,
which count for at most this many degrees of freedom. More would decide earlier, but wrongly for pairs that are noisier
than the others.
"""
EDGE = 1.5
"""A figure is moved to the edge of what is usual if it is further than this many standard deviations from what its
contender and its turn (in which every contender is run once) suggest. Standard deviations are 1.4826 times the median
of the distances, as for normal noise. With 1.5 normal noise costs 4 % of the precision.
"""
EDGE_TURNS_MIN = 5
"""Only the figures of contenders that have at least this many are moved: with fewer one cannot see what is usual."""
EDGE_CONTENDERS_MIN = 3
"""Figures are moved only if there are this many such contenders: of two nobody can say which one is astray."""
POLISHED = 4
"""Rounds of `_middles`; the first two do nearly all."""
ITERATIONS = 100
"""Most iterations of the fit in `_levels`. Two iterations suffice if every contender (a server or process model) has a
figure in every turn, in which each is run once.
"""

Values = Mapping[str, Mapping[int, float]]
"""Either figures, all above 0, or the weights of such figures: for each contender (a server or process model, by its
label) a mapping from the number of a turn, in which every contender is run once, to the value in that turn.
"""


@dataclass(frozen=True, slots=True)
class Pair:
    """The comparison of two contenders (servers or process models). `ratio` says how many times as good the better one
    (`ahead`) is as the other (`behind`); it is 1 or more.
    """

    ahead: str
    behind: str
    ratio: Ratio
    outcome: str
    """What the comparison says: DECIDED (the order of the two is certain), EQUAL (they hardly differ), OPEN (not known
    yet) or LIMITED (the load generator was the limit).
    """
    rounds: int
    """Number of turns in which both contenders (the two that are compared) have a figure. In a turn every contender is
    run once.
    """


@dataclass(frozen=True, slots=True)
class Standings:
    """A ranking of contenders (servers or process models) by one figure: `order` has their labels, the best first, and
    `pairs` the comparison of every two of them.
    """

    order: tuple[str, ...]
    pairs: Mapping[frozenset[str], Pair] = field(default_factory=dict)

    def pair(self, one: str, other: str) -> Pair:
        return self.pairs[frozenset((one, other))]

    @property
    def neighbours(self) -> list[Pair]:
        return [self.pair(*both) for both in pairwise(self.order)]

    @property
    def tiers(self) -> list[list[str]]:
        """The labels of the contenders (servers or process models) in groups, the best group first. Every contender of
        a group is certainly better (DECIDED) than every one of a later group.

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
    sharing: float = 1.0,
    at_least: frozenset[str] = frozenset(),
    weights: Values | None = None,
    turns: int = 0,
) -> Standings:
    """Rank contenders (servers or process models) by one figure, the best first, and compare every pair of them.

    In a turn every contender is run once; turns are numbered from 1.

    Args:
        values: the figure by contender and turn; a contender without any value is left out.
        more_is_better: False for figures such as latency, where the smallest value is best.
        sharing: number of rankings, this one included, that share the error rate of 5 %; a larger number widens the
            intervals, so that fewer pairs are DECIDED.
        at_least: contenders that the load generator held back, and that may be better than measured; a lead over one
            of them is LIMITED, never DECIDED.
        weights: the weight of each of `values`, by contender and turn; None: every weight is 1.
        turns: number of turns in a row for which a server of a contender keeps running; 0: every run has a new server.
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
    logs, kept = _without_strays(logs, heavy)
    levels = _levels(logs, heavy)
    order = tuple(sorted(logs, key=lambda label: -levels[label]))
    compared = {frozenset(both): _compared(*both, logs, heavy, kept) for both in combinations(order, 2)}
    judge = _Judge(levels, compared, at_least, turns)
    tested = [judge.tested(one, other) for one, other in combinations(order, 2)]
    level = _holm(tested, sharing)
    found = (judge.pair(each, level) for each in tested)
    return Standings(order, {frozenset((pair.ahead, pair.behind)): pair for pair in found})


def _levels(logs: Values, weights: Values) -> Mapping[str, float]:
    """Return an estimate of the figure of each contender (a server or process model), as a logarithm. It is fitted as a
    sum of one number for the contender and one for the turn (a turn runs each contender once), because some contenders
    have no figure in some turns.

    The fit is by weighted least squares: the numbers of contenders and those of turns are fitted alternately.
    """
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
    return levels


def _without_strays(
    logs: dict[str, dict[int, float]], weights: Values
) -> tuple[dict[str, dict[int, float]], dict[str, float]]:
    """Return the figures with those that are far from the others moved to the edge of what is usual (EDGE), and for
    each contender the share of its figures that stayed.
    """
    kept = dict.fromkeys(logs, 1.0)
    many = {label: each for label, each in logs.items() if len(each) >= EDGE_TURNS_MIN}
    if len(many) < EDGE_CONTENDERS_MIN:
        return logs, kept
    levels, speeds = _middles(many)
    rests = {
        label: {place: v - levels[label] - speeds[place] for place, v in each.items()} for label, each in many.items()
    }
    usual = median(abs(rest) for each in rests.values() for rest in each.values())
    moved = dict(logs)
    for label, each in rests.items():
        edges = {
            place: EDGE * 1.4826 * max(usual, median(map(abs, each.values()))) / math.sqrt(weights[label][place])
            for place in each
        }
        kept[label] = sum(abs(rest) <= edges[place] for place, rest in each.items()) / len(each)
        moved[label] = {
            place: levels[label] + speeds[place] + max(-edges[place], min(edges[place], rest))
            for place, rest in each.items()
        }
    return moved, kept


def _middles(logs: Values) -> tuple[dict[str, float], dict[int, float]]:
    """Return the level of each contender and the speed of each turn, whose sum is what a figure should be, by medians
    in turn (Tukey's median polish).
    """
    places = {place for each in logs.values() for place in each}
    levels, speeds = {label: median(each.values()) for label, each in logs.items()}, dict.fromkeys(places, 0.0)
    for _ in range(POLISHED):
        speeds = {
            place: median(each[place] - levels[label] for label, each in logs.items() if place in each)
            for place in places
        }
        levels = {label: median(value - speeds[place] for place, value in each.items()) for label, each in logs.items()}
    return levels, speeds


def _mean(values: Iterable[tuple[float, float]]) -> float:
    """Return the weighted mean of pairs (value, weight)."""
    total = weight = 0.0
    for value, each in values:
        total += value * each
        weight += each
    return total / weight


@dataclass(frozen=True, slots=True)
class _Compared:
    """The differences between the figures of two contenders (servers or process models), `one` minus `other`, on a
    logarithmic scale: one difference for each turn, in which every contender is run once.
    """

    one: str
    other: str
    places: Sequence[int]
    value: float
    """The weighted mean of the differences; each difference is from one turn, in which every contender is run once."""
    squares: float
    """The sum of the squared deviations of the differences from their mean `value`, each with its weight."""
    weight: float
    kept: float = 1.0
    """The share of the figures of the two that were not moved to the edge of what is usual."""

    @property
    def freedom(self) -> int:
        return len(self.places) - 1

    @property
    def variance(self) -> float:
        """The variance of a difference with the weight 1, estimated from how much the differences of single turns
        deviate from their mean. Figures that were moved have made it too small, and the slope of Huber's psi, `kept`,
        corrects that.
        """
        return self.squares / self.freedom / self.kept**2


def _compared(one: str, other: str, logs: Values, weights: Values, kept: Mapping[str, float]) -> _Compared:
    places = sorted(logs[one].keys() & logs[other].keys())
    if not places:
        return _Compared(one, other, places, 0.0, 0.0, 0.0)
    # The variance of a difference is the sum of two variances, each of which is 1 / weight.
    each = [
        (logs[one][place] - logs[other][place], 1 / (1 / weights[one][place] + 1 / weights[other][place]))
        for place in places
    ]
    value = _mean(each)
    squares = sum(weight * (difference - value) ** 2 for difference, weight in each)
    share = (kept[one] + kept[other]) / 2
    return _Compared(one, other, places, value, squares, sum(weight for _, weight in each), share)


class _Lent(NamedTuple):
    """What other pairs of contenders say about the noise of a pair that has few turns: the variance of a difference
    with the weight 1, and the degrees of freedom of this estimate.
    """

    variance: float
    """The median of the variances of the other pairs, raised because the median of chi squared is below its mean
    (Wilson and Hilferty, 1931).
    """
    freedom: int


class _Tested(NamedTuple):
    """How far two contenders (servers or process models) are apart, and how certain that is."""

    ahead: str
    behind: str
    value: float
    """The logarithm of the ratio of `ahead` to `behind`; 0 or more, unless they had no turn in common."""
    error: float
    """The standard error of `value`; infinite if there are too few turns (TURNS_MIN)."""
    freedom: int
    """Its degrees of freedom."""
    turns: int

    def reach(self, level: float) -> float:
        """Return half the width of the interval of `value` at this level."""
        return self.error * student(self.freedom, level)


def _holm(tested: Sequence[_Tested], sharing: float) -> float:
    """Return the level of the intervals that say which pairs are decided, by Holm's procedure: pairs that are decided
    leave their share of the error rate to the others, again and again, until that decides no more of them.
    """
    left = len(tested)
    while True:
        level = 1 - (1 - LEVEL) / max(1, left) / sharing
        still = sum(each.value <= each.reach(level) for each in tested)
        if still in (left, 0):
            return level
        left = still


@dataclass(frozen=True, slots=True)
class _Judge:
    """Compares pairs of contenders (servers or process models), and says for each whether its order is certain. The
    fields are arguments and intermediate results of `standings`.
    """

    levels: Mapping[str, float]
    compared: Mapping[frozenset[str], _Compared]
    at_least: frozenset[str]
    turns: int

    def tested(self, one: str, other: str) -> _Tested:
        found = self.compared[frozenset((one, other))]
        turns = len(found.places)
        if not turns:
            return _Tested(one, other, self.levels[one] - self.levels[other], math.inf, 1, 0)
        ahead, behind = (found.one, found.other) if found.value >= 0 else (found.other, found.one)
        value = abs(found.value)
        if turns < TURNS_MIN:
            return _Tested(ahead, behind, value, math.inf, 1, turns)
        variance, freedom = self._variance(found)
        servers = len({(place - 1) // self.turns for place in found.places}) if self.turns else 0
        error = math.sqrt(variance / found.weight + (2 * SERVER_SPREAD**2 / servers if servers else 0.0))
        return _Tested(ahead, behind, value, error, freedom, turns)

    def pair(self, tested: _Tested, level: float) -> Pair:
        ahead, behind, value, error, _, turns = tested
        if error == math.inf:
            return Pair(ahead, behind, Ratio(math.exp(value), None, None), OPEN, turns)
        reach = tested.reach(level)
        outcome = self._outcome(ahead, behind, value, reach, tested.reach(EQUAL_LEVEL))
        ratio = Ratio(math.exp(value), math.exp(value - reach), math.exp(value + reach))
        return Pair(ahead, behind, ratio, outcome, turns)

    def _variance(self, pair: _Compared) -> tuple[float, int]:
        """Return the variance of a difference with the weight 1 between the logarithms of two contenders' figures, and
        its degrees of freedom. It is estimated from the pair itself, and from other pairs of its two contenders.
        """
        lent = [lent for label in (pair.one, pair.other) if (lent := self._lent(label, pair)) is not None]
        if not lent:
            return pair.variance, pair.freedom
        variance, freedom = max(each.variance for each in lent), min(LENT_MAX, min(each.freedom for each in lent))
        whole = pair.freedom + freedom
        return (pair.freedom * pair.variance + freedom * variance) / whole, whole

    def _lent(self, label: str, pair: _Compared) -> _Lent | None:
        """Return the variance of a difference with the weight 1, as the median of what the other pairs with the
        contender `label` give (without `pair`), and the sum of their degrees of freedom. None if there are no other
        pairs with enough turns.
        """
        others = [
            each
            for each in self.compared.values()
            if label in (each.one, each.other) and each is not pair and len(each.places) >= TURNS_MIN
        ]
        if not others:
            return None
        variances = [each.variance / (1 - 2 / (9 * each.freedom)) ** 3 for each in others]
        return _Lent(median(variances), sum(each.freedom for each in others))

    def _outcome(self, one: str, other: str, value: float, reach: float, single: float) -> str:
        """Return the outcome of the comparison of two contenders: DECIDED, EQUAL, OPEN or LIMITED. `value`: the
        logarithm of the ratio of `one` to `other`. `reach`: half the width of the interval by which orders are decided;
        `single`: half the width of the pair's own 90 % interval.
        """
        if value - reach > 0:
            return LIMITED if other in self.at_least else DECIDED
        if value + single < math.log(1 + EQUAL_WITHIN) and value - single > -math.log(1 + EQUAL_WITHIN):
            return LIMITED if self.at_least & {one, other} else EQUAL
        return LIMITED if other in self.at_least else OPEN
