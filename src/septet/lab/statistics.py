"""Statistics of repeated runs: a median with its interval, and the ratio of two series of runs.

Computed from runs, never from requests: requests of one run depend on each other, so a million of them are one sample.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from functools import cache
from statistics import fmean, median, stdev, variance
from typing import NamedTuple

LEVEL = 0.95
RESAMPLES = 2000
REPEATS_MAX = 1000
FREEDOM_MAX = 200
"""Largest number of degrees of freedom with which Student's distribution is used. For more of them it is taken with
this many, because it hardly changes any more.
"""
SEED = 0
"""Seed of the random resamples of the bootstrap: fixed, so that the same values give the same interval."""


class Estimate(NamedTuple):
    """A median and the bounds of its confidence interval, which are None if there are too few values."""

    median: float
    low: float | None
    high: float | None


class Ratio(NamedTuple):
    """A ratio of two figures and the bounds of its confidence interval, which are None if there were too few values."""

    value: float
    low: float | None
    high: float | None


def estimate(values: Sequence[float]) -> Estimate | None:
    """Return the median with its 95 % interval by the percentile bootstrap (Efron); None without values."""
    if not values:
        return None
    if len(values) < 3:
        return Estimate(median(values), None, None)
    ordered = sorted(values)
    medians = sorted((ordered[low] + ordered[high]) / 2 for low, high in _middles(len(values)))
    edge = round(RESAMPLES * (1 - LEVEL) / 2)
    return Estimate(median(values), medians[edge], medians[-1 - edge])


@cache
def _middles(count: int) -> list[tuple[int, int]]:
    """Return for each resample of `count` ordered values the ranks (from 0) of the two values whose mean is its median.

    The ranks do not depend on the values. So they are drawn at random once, and then used for all figures with this
    `count` of values.
    """
    chance = random.Random(SEED)
    resamples = (sorted(chance.choices(range(count), k=count)) for _ in range(RESAMPLES))
    return [(ranks[(count - 1) // 2], ranks[count // 2]) for ranks in resamples]


def ratio(
    befores: Sequence[Sequence[float]],
    afters: Sequence[Sequence[float]],
    level: float = LEVEL,
    common: float = 0.0,
) -> Ratio:
    """Return the ratio of the values in `afters` to those in `befores`, with its interval; for several pairs of series
    the geometric mean of their ratios.

    It is a ratio of geometric means, with Welch's interval of a difference, computed on logarithms. It is not a
    bootstrap: three values have only ten different resamples, so the ends of its interval never pass the extremes,
    which is too narrow for the high levels that many intervals at once need. All values must be above 0, and each
    series must have one. `common` is a variance that is added to that of the logarithm of the ratio. It is for what
    changes all values of one side alike, so that the values do not show it.
    """
    pairs = [([*map(math.log, before)], [*map(math.log, after)]) for before, after in zip(befores, afters, strict=True)]
    shift = fmean(fmean(after) - fmean(before) for before, after in pairs)
    series = [each for pair in pairs for each in pair]
    if min(map(len, series)) < 2:
        return Ratio(math.exp(shift), None, None)
    errors = [(variance(each) / len(each) / len(pairs) ** 2, len(each) - 1) for each in series]
    error = sum(part for part, _ in errors) + common
    doubt = sum(part**2 / freedom for part, freedom in errors)
    # Welch and Satterthwaite; rounded down, which makes the interval wider.
    freedom = min(FREEDOM_MAX, int(error**2 / doubt)) if doubt else FREEDOM_MAX if common else 1
    reach = math.sqrt(error) * student(max(1, freedom), round(level, 6)) if error else 0.0
    return Ratio(math.exp(shift), math.exp(shift - reach), math.exp(shift + reach))


def repeats_for(change: float, found: Ratio, runs: int, level: float) -> int | None:
    """Return how many runs before and how many after a change are needed to show that a figure has changed by the share
    `change` (0.05: 5 %), at the confidence level `level`.

    How much runs differ by chance is taken from `found`, the ratio that `runs` runs before and as many after have
    given. None if `found` has no interval. REPEATS_MAX means that many or more.
    """
    if found.high is None or runs < 2:
        return None
    level = round(level, 6)
    noise = math.log(found.high / found.value) / student(2 * (runs - 1), level) / math.sqrt(2 / runs)
    for repeats in range(2, REPEATS_MAX):
        if student(2 * (repeats - 1), level) * noise * math.sqrt(2 / repeats) <= math.log(1 + change):
            return repeats
    return REPEATS_MAX


@cache
def student(freedom: int, level: float) -> float:
    """Return the t for which a value of Student's distribution is between -t and t with the probability `level`."""
    low, high = 0.0, math.pi / 2  # t = tan(angle) x sqrt(freedom)
    for _ in range(60):
        angle = (low + high) / 2
        low, high = (angle, high) if _within(angle, freedom) < level else (low, angle)
    return math.tan(low) * math.sqrt(freedom)


def _within(angle: float, freedom: int) -> float:
    """Return the probability that a value is between -t and t, where t = tan(angle) x sqrt(freedom).

    Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    cosine, total = math.cos(angle), 0.0
    term = cosine if freedom % 2 else 1.0
    for power in range(2 + freedom % 2, freedom + 1, 2):
        total += term
        term *= cosine**2 * (power - 1) / power
    total *= math.sin(angle)
    return (angle + total) * 2 / math.pi if freedom % 2 else total


def variation(values: Sequence[float]) -> float:
    """Return the standard deviation as a share of the mean; 0 for one value, or where the mean is 0."""
    mean = fmean(values) if values else 0.0
    return stdev(values) / mean if len(values) > 1 and mean else 0.0
