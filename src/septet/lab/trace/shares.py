"""How much of a stretch of time went into each state. Pure functions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from septet.lab.threads.states import Interval, State

Shares = dict[State, float]


def shares(intervals: Iterable[Interval], start: int, end: int) -> Shares:
    """Of the time from `start` to `end`, 0 to 1. Less than 1 together where nothing is known, or nobody was there."""
    found: Shares = defaultdict(float)
    for each in intervals:
        overlap = min(each.end, end) - max(each.start, start)
        if overlap > 0:
            found[each.state] += overlap / (end - start)
    return dict(found)


def columns(intervals: Iterable[Interval], start: int, end: int, number: int) -> Iterator[tuple[int, int, Shares]]:
    """(start, end, shares) of so many stretches of equal length; equal neighbours come as one.

    The intervals are in order and do not overlap.
    """
    edges = [start + (end - start) * place // number for place in range(number + 1)]
    parts: list[Shares] = [defaultdict(float) for _ in range(number)]
    for each in intervals:
        place = max(0, (each.start - start) * number // (end - start))
        while place < number and edges[place] < each.end:
            overlap = min(each.end, edges[place + 1]) - max(each.start, edges[place])
            if overlap > 0:
                parts[place][each.state] += overlap / (edges[place + 1] - edges[place])
            place += 1
    since = 0
    for place in range(1, number + 1):
        if place == number or parts[place] != parts[since]:
            yield edges[since], edges[place], dict(parts[since])
            since = place
