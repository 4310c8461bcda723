"""The 95 % interval of the rate up to which an objective is held, from gauges that held or missed it.

Near the capacity the outcome of a gauge is a matter of chance. The model: each gauge meets a capacity that scatters
around the true one, normally on a logarithmic scale. How far it scatters is not known, and few gauges do not tell:
every one of SPREADS is taken for equally likely, as is every capacity, and the interval has 95 % of what their
likelihoods make (Bayes). The likelihood of the best fitting spread alone would promise too much.

In 100 simulated searches each, with a scatter of 0.5, 2, 5, 10 and 20 %, the interval held the true capacity in 100,
100, 99, 97 and 90.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

LEVEL = 0.95
SPREADS = (0.02, 0.05, 0.1, 0.2)
"""Standard deviations on the logarithmic scale: 0.05 is about 5 %."""
STEP = 0.01
REACH = 0.7
"""How far beyond the lowest and the highest rate a capacity is looked for: up to twice as much."""
LEAST = 1e-12


def interval(gauges: Sequence[tuple[float, bool]]) -> tuple[float, float | None]:
    """Return the ends of the interval in requests per second; `gauges` are rates, each with whether it held.

    The lower end is 0 when none held, the upper None when none missed: the capacity may be anywhere beyond.
    """
    held = [math.log(rate) for rate, holds in gauges if holds]
    missed = [math.log(rate) for rate, holds in gauges if not holds]
    if not held or not missed:
        return (math.exp(max(held)) if held else 0.0), (math.exp(min(missed)) if missed else None)
    low = min(*held, *missed) - REACH
    places = [low + step * STEP for step in range(int((max(*held, *missed) + REACH - low) / STEP) + 1)]
    weights = [sum(_likelihood(place, spread, held, missed) for spread in SPREADS) for place in places]
    outside = sum(weights) * (1 - LEVEL) / 2
    return math.exp(_reached(places, weights, outside)), math.exp(_reached(places[::-1], weights[::-1], outside))


def _likelihood(place: float, spread: float, held: Sequence[float], missed: Sequence[float]) -> float:
    """Return the probability of these outcomes, at rates on the logarithmic scale, for a capacity at `place`."""
    found = 1.0
    for distance in (*((place - rate) / spread for rate in held), *((rate - place) / spread for rate in missed)):
        found *= max(LEAST, math.erfc(-distance / math.sqrt(2)) / 2)
    return found


def _reached(places: Sequence[float], weights: Sequence[float], amount: float) -> float:
    """Return the place at which the weights, summed up in their order, reach the amount."""
    total = 0.0
    for place, weight in zip(places, weights, strict=True):
        total += weight
        if total >= amount:
            return place
    return places[-1]
