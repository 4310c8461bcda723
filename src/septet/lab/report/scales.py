"""Scales: the ends of an axis, whether it is logarithmic, and its ticks.

They are chosen here and not by the plotting library, because the names beside lines are placed by the same scale, and
because pictures for wide and narrow screens need different ticks on the same axis.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FAR_APART = 8
"""An axis is logarithmic if the largest value is at least this many times the smallest one: on a linear axis the small
values would look equal.
"""
STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, slots=True)
class Scale:
    """The scale of an axis of a chart: it goes from `low` to `high`, and has a number at each of `ticks`."""

    low: float
    high: float
    ticks: tuple[float, ...]
    logarithmic: bool = False

    def share(self, value: float) -> float:
        """Return where a value is on the axis, as a share of its length: 0 at `low` and 1 at `high`."""
        low, high, at = (self._bent(each) for each in (self.low, self.high, value))
        return (at - low) / (high - low)

    def value(self, share: float) -> float:
        """Return the value at a position on the axis, where 0 is at `low` and 1 at `high`. This is the inverse of
        `share`.
        """
        low, high = self._bent(self.low), self._bent(self.high)
        at = low + share * (high - low)
        return math.exp(at) if self.logarithmic else at

    def _bent(self, value: float) -> float:
        return math.log(value) if self.logarithmic else value


def values_scale(values: Iterable[float], always_linear: bool = False) -> Scale:
    """Return the scale of a vertical axis for these values: linear from zero, or logarithmic if all are above 0 and the
    largest is at least FAR_APART times the smallest. `always_linear` makes it linear in any case.
    """
    present = [value for value in values if math.isfinite(value)]
    least, most = min(present, default=0.0), max(present, default=0.0)
    if most <= 0:
        return linear(1.0)
    if always_linear or least <= 0 or most / least < FAR_APART:
        return linear(most)
    return Scale(least / 1.3, most * 1.3, _decades(least / 1.3, most * 1.3), logarithmic=True)


def linear(most: float) -> Scale:
    """Return a scale from zero to the next round number above `most`, in four to seven steps."""
    rough = most * 1.03 / 5
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(each * magnitude for each in STEPS if each * magnitude >= rough * 0.999)
    count = math.ceil(most * 1.03 / step - 1e-9)
    return Scale(0.0, step * count, tuple(step * place for place in range(count + 1)))


def _decades(low: float, high: float) -> tuple[float, ...]:
    """Return the ticks of a logarithmic axis from `low` to `high`: 1, 2 and 5 times each power of ten, or, if these are
    too many, the powers alone.
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    digits = (1,) if len(powers) > 5 else (1, 2, 5)
    found = (digit * 10.0**power for power in powers for digit in digits)
    return tuple(value for value in found if low <= value <= high)


def users_scale(users: Sequence[int], width: float, room: float, character: float) -> Scale:
    """Return a logarithmic scale for numbers of users, with `room` pixels at the right for the names of lines. `width`
    is that of the axis and `character` that of a digit, both in pixels.
    """
    if len(users) == 1:
        return Scale(users[0] / 2, users[0] * 4, (float(users[0]),), logarithmic=True)
    least, most = users[0], users[-1]
    margin = 0.015 * width  # so that no point sits on the other axis
    per_pixel = math.log(most / least) / (width - room - margin)
    low, high = least * math.exp(-margin * per_pixel), most * math.exp(room * per_pixel)
    bare = Scale(low, high, (), logarithmic=True)
    return Scale(low, high, _readable(users, bare, width, character), logarithmic=True)


def _readable(users: Sequence[int], scale: Scale, width: float, character: float) -> tuple[float, ...]:
    """Return those of the numbers of users that are written at the axis. Numbers that would overlap others are left
    out: the two ends have precedence, then round numbers.

    `width` is that of the axis, `character` that of a digit, both in pixels.
    """
    taken: list[tuple[float, float]] = []
    chosen = []
    for number in sorted(users, key=lambda each: _roundness(each, users)):
        half = (len(f"{number:,}") + 1.5) * character / 2
        middle = scale.share(number) * width
        if all(middle + half <= left or middle - half >= right for left, right in taken):
            taken.append((middle - half, middle + half))
            chosen.append(float(number))
    return tuple(sorted(chosen))


def _roundness(number: int, users: Sequence[int]) -> tuple[int, int]:
    if number in (users[0], users[-1]):
        return 0, number
    first = int(str(number)[0]) if set(str(number)[1:]) <= {"0"} else 9
    return {1: 1, 5: 2, 2: 3}.get(first, 4), number


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move ascending places apart, by pushing neighbours from each other, until they are at least `gap` apart.

    They stay between `low` and `high`; if they are too many for that, some are below `low`.
    """
    moved = list(places)
    for _ in range(200):
        stirred = False
        for lower in range(len(moved) - 1):
            lack = gap - (moved[lower + 1] - moved[lower])
            if lack > gap / 1000:
                stirred = True
                moved[lower] -= lack / 2
                moved[lower + 1] += lack / 2
        if not stirred:
            break
    floor, ceiling = low, high
    for place in range(len(moved)):
        moved[place] = max(moved[place], floor)
        floor = moved[place] + gap
    for place in reversed(range(len(moved))):
        moved[place] = min(moved[place], ceiling)
        ceiling = moved[place] - gap
    return moved
