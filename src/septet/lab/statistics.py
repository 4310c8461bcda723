"""What repeated runs let anybody say: a median, and the interval in which it lies with 95 % confidence.

By bootstrap over runs, never over requests: those of one run share its luck, and a million of them are still one
throw of the dice.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import fmean, median, stdev
from typing import NamedTuple

LEVEL = 0.95
RESAMPLES = 2000


class Estimate(NamedTuple):
    """A median, and its interval; without one (None) when there are too few values."""

    median: float
    low: float | None
    high: float | None


def estimate(values: Sequence[float], seed: int = 0) -> Estimate | None:
    """The percentile bootstrap of the median (Efron); None without values. The same values give the same interval."""
    if not values:
        return None
    if len(values) < 3:
        return Estimate(median(values), None, None)
    chance = random.Random(seed)
    medians = sorted(median(chance.choices(values, k=len(values))) for _ in range(RESAMPLES))
    edge = round(RESAMPLES * (1 - LEVEL) / 2)
    return Estimate(median(values), medians[edge], medians[-1 - edge])


def variation(values: Sequence[float]) -> float:
    """The standard deviation as a share of the mean; 0 for one value, or where the mean is 0."""
    mean = fmean(values) if values else 0.0
    return stdev(values) / mean if len(values) > 1 and mean else 0.0
