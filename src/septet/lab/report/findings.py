"""What the figures allow to be said, in sentences, and at which numbers of users.

Of two contenders one is ahead only when their 95 % intervals do not meet; an interval needs three runs of each. Figures
that are noisy, and those of a server that answered with errors, are not ranked. Where the load generator was the limit
the server may be faster than it looks: then its figure is "at least", and no other contender is said to be ahead of it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from septet.lab.caveats import enumerated, spans
from septet.lab.metrics import CPU, MEMORY, P99, RATE, Metric
from septet.lab.results import Results
from septet.lab.summary import Summary

MOST_OF_THEM = 0.75
"""Share of the contenders."""


def focus(cells: Sequence[Summary]) -> int:
    """The largest number of users that most contenders could serve, where they differ most."""
    served = _served(cells)
    if not served:
        return max(cell.users for cell in cells)
    enough = MOST_OF_THEM * max(served.values())
    return max(users for users, contenders in served.items() if contenders >= enough)


def landmarks(cells: Sequence[Summary]) -> list[int]:
    """That number, and the largest that more than one contender could serve (or one, where there is but one)."""
    served = _served(cells)
    several = [users for users, contenders in served.items() if contenders > 1]
    return sorted({focus(cells), max(several or served or [focus(cells)])})


def _served(cells: Sequence[Summary]) -> Counter[int]:
    return Counter(cell.users for cell in cells if cell.figures)


RANKED = ("valid", "client-limited")
CLIFF = 0.6
"""A rate that falls below this share of the rate at the previous number of users is told."""
NAMED_MAX = 3
"""So many contenders behind the first are named; of more only the next and the last."""


def findings(results: Results, cells: Sequence[Summary]) -> list[str]:
    """Sentences about the summaries of the results, the most important first."""
    if not cells:
        return ["Nothing has been measured yet."]
    said = []
    if results["finished"] is None:
        said.append("The experiment was interrupted: some of its cells are missing.")
    if not any(cell.figures for cell in cells):
        return [*said, "Every cell failed; the reasons are below."]
    for users in landmarks(cells):
        said += _at([cell for cell in cells if cell.users == users], users)
    return said + _cliffs(cells) + _broken(cells, "failed", "Failed") + _broken(cells, "errors", "Answered with errors")


@dataclass(frozen=True, slots=True)
class _Standing:
    """The figure of a contender with its interval, negated where less is better; `high` is infinite for "at least"."""

    label: str
    value: float
    low: float
    high: float
    at_least: bool


def _at(cells: Sequence[Summary], users: int) -> list[str]:
    """The sentences about one number of users."""
    said = [sentence for tell in (_rates, _latencies, _cpu, _memory) if (sentence := tell(cells, users))]
    doubtful = [f"{cell.label} ({cell.verdict})" for cell in cells if cell.verdict not in (*RANKED, "failed")]
    if doubtful:
        said.append(f"At {users:,} users not ranked: {enumerated(doubtful)}.")
    return said


def _rates(cells: Sequence[Summary], users: int) -> str | None:
    return _ranking(RATE, cells, f"At {users:,} users", "{leader} served {least}{value} requests/s", "{ratio} {label}")


def _latencies(cells: Sequence[Summary], users: int) -> str | None:
    opening = "99 of 100 requests took {most}{value} ms or less under {leader}"
    return _ranking(P99, cells, f"At {users:,} users", opening, "{ratio} that under {label}")


def _cpu(cells: Sequence[Summary], users: int) -> str | None:
    opening = "a request cost {leader} {value} µs of CPU time"
    return _ranking(CPU, cells, f"At {users:,} users", opening, "{label} {ratio} that")


def _memory(cells: Sequence[Summary], users: int) -> str | None:
    return _ranking(MEMORY, cells, f"At {users:,} users", "{leader} took {value} MB", "{label} {ratio} that")


def _ranking(metric: Metric, cells: Sequence[Summary], where: str, opening: str, other: str) -> str | None:
    """Which contender is best, by how much, and which do not differ from it beyond noise."""
    known = [cell for cell in cells if cell.verdict in RANKED and metric.estimate(cell.figures) is not None]
    if not known:
        return None
    standings = [standing for cell in known if (standing := _standing(metric, cell)) is not None]
    if len(standings) < len(known):
        return _unranked(metric, known, where) if metric is RATE else None
    leader = max(standings, key=lambda each: each.value)
    behind = sorted((each for each in standings if each.high < leader.low), key=lambda each: -each.value)
    level = [each.label for each in standings if each.high >= leader.low and each is not leader]
    if level and not behind:
        figures = [f"{each.label} {_figure(each)}" for each in standings]
        return f"{where} none is ahead beyond noise in {_subject(metric)}: {enumerated(figures)} {metric.unit}."
    words = {"leader": leader.label, "value": _rounded(abs(leader.value))}
    words |= {"least": "at least " * leader.at_least, "most": "at most " * leader.at_least}
    said = f"{where} {opening.format(**words)}"
    if behind:
        told = [
            other.format(label=each.label + place, ratio=_ratio(leader, each, metric)) for each, place in _named(behind)
        ]
        said += f", {enumerated(told)}" if metric.more_is_better else f"; {enumerated(told)}"
    if level:
        said += f". {enumerated(level)} {'does' if len(level) == 1 else 'do'} not differ from it beyond noise"
    return said + "."


def _standing(metric: Metric, cell: Summary) -> _Standing | None:
    """The standing of a cell; None without an interval."""
    found = metric.estimate(cell.figures)
    if found is None or found.low is None or found.high is None:
        return None
    open_end = cell.verdict == "client-limited" and metric in (RATE, P99)
    if metric.more_is_better:
        return _Standing(cell.label, found.median, found.low, math.inf if open_end else found.high, open_end)
    return _Standing(cell.label, -found.median, -found.high, 0.0 if open_end else -found.low, open_end)


def _unranked(metric: Metric, cells: Sequence[Summary], where: str) -> str:
    figures = [
        f"{cell.label} {'at least ' * (cell.verdict == 'client-limited')}{_rounded(found.median)}"
        for cell in cells
        if (found := metric.estimate(cell.figures)) is not None
    ]
    if len(figures) == 1:
        return f"{where} {figures[0]} {metric.unit}; fewer than three runs, so how exact that is cannot be told."
    return (
        f"{where} {enumerated(figures)} {metric.unit}; fewer than three runs, so differences cannot be told from noise."
    )


def _named(behind: list[_Standing]) -> list[tuple[_Standing, str]]:
    """The contenders to name, each with its place when others between them are left out."""
    if len(behind) <= NAMED_MAX:
        return [(each, "") for each in behind]
    return [(behind[0], " (next)"), (behind[-1], " (last)")]


def _ratio(leader: _Standing, other: _Standing, metric: Metric) -> str:
    """The ratio as text, from the worst to the best case of both intervals."""
    if metric.more_is_better:
        low, high = leader.low / other.high, leader.high / other.low
    else:
        low, high = other.high / leader.low, other.low / leader.high if leader.high else math.inf
    if math.isinf(high):
        return f"at least {_times(low)} times"
    first, last = _times(low), _times(high)
    return f"{first} times" if first == last else f"{first} to {last} times"


def _times(ratio: float) -> str:
    """A ratio with as many digits as are of use."""
    decimals = 2 if ratio < 1.995 else 1 if ratio < 9.95 else 0
    return f"{ratio:,.{decimals}f}"


def _figure(standing: _Standing) -> str:
    limit = ("at least " if standing.value > 0 else "at most ") if standing.at_least else ""
    return limit + _rounded(abs(standing.value))


def _subject(metric: Metric) -> str:
    assert metric.chart is not None, "sentences are made of metrics with a chart"
    return metric.chart.subject


def _rounded(value: float) -> str:
    return f"{float(f'{value:.3g}'):,.10g}"


def _cliffs(cells: Sequence[Summary]) -> list[str]:
    """Where the rate of a contender falls suddenly."""
    said = []
    for line in _lines(cells):
        told = [(cell, found) for cell in line if cell.verdict in RANKED and (found := RATE.estimate(cell.figures))]
        falls = [
            (after[1].median / before[1].median, before, after)
            for before, after in pairwise(told)
            if before[1].low is not None and after[1].high is not None and after[1].high < CLIFF * before[1].low
        ]
        if falls:
            _, (before, high), (after, low) = min(falls, key=lambda fall: fall[0])
            said.append(
                f"{before.label} fell from {_rounded(high.median)} requests/s at {before.users:,} users "
                f"to {_rounded(low.median)} at {after.users:,}."
            )
    return said


def _broken(cells: Sequence[Summary], verdict: str, words: str) -> list[str]:
    """A sentence about the numbers of users at which contenders have this verdict."""
    found = []
    axis = sorted({cell.users for cell in cells})
    for line in _lines(cells):
        users = [cell.users for cell in line if cell.verdict == verdict]
        if users:
            tail = [cell.users for cell in line][-len(users) :]
            where = f"at {spans(users, axis)} users"
            if len(users) > 1 and users == tail:
                where = "everywhere" if len(users) == len(line) else f"from {users[0]:,} users on"
            found.append(f"{line[0].label} {where}")
    return [f"{words}: {'; '.join(found)}."] if found else []


def _lines(cells: Sequence[Summary]) -> list[list[Summary]]:
    lines: dict[str, list[Summary]] = {}
    for cell in cells:
        lines.setdefault(cell.label, []).append(cell)
    return list(lines.values())
