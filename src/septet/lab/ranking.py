"""Who is ahead of whom in an experiment, by comparisons in pairs, and what is still open.

A cell whose verdict is "noisy" is ranked: noise affects both contenders of a round, so that their ratio may be certain
where neither figure is. Cells with errors, or that failed, are not ranked: their figures leave out failed requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from septet.lab.experiment import Cell
from septet.lab.figures import cpu_grain
from septet.lab.metrics import CPU, P99, RATE, Metric
from septet.lab.pairs import OPEN, ROUNDS_MIN, Pair, Standings, standings
from septet.lab.results import Results, run_of
from septet.lab.summary import Summary, summaries

RANKED = ("valid", "noisy", "client-limited")
FIRST_ROUNDS = 2
"""Rounds of an experiment with --for that visit every cell; also the rounds that an interval needs there. Two suffice,
because its intervals have a stricter level (LOOKS)."""
OPEN_NAMED_MAX = 4
GRAIN_MAX = 0.05
"""Runs whose CPU time may be wrong by more than this share are not ranked by it (see `figures.cpu_grain`)."""
LOOKS = 10
"""With --for, the error rate of every interval is divided by this number. Such an experiment is examined after every
round and ends as soon as it is decided, which gives chance more occasions to look like an order. After Pocock (1977)
8 would do for 30 rounds; the tests simulate them."""


def rankings(results: Results, cells: Sequence[Summary], metric: Metric = RATE) -> dict[int, Standings]:
    """Return the standings at each number of users; `cells` are the summaries of the results."""
    values, at_least = _values(results, cells, metric)
    family = sum(len(each) * (len(each) - 1) // 2 for each in values.values())
    rounds_min = ROUNDS_MIN
    if results["experiment"].get("for_s"):
        family, rounds_min = family * LOOKS, FIRST_ROUNDS
    return {
        users: standings(each, metric.more_is_better, family, frozenset(at_least[users]), rounds_min)
        for users, each in values.items()
    }


def _values(
    results: Results, cells: Sequence[Summary], metric: Metric
) -> tuple[dict[int, dict[str, dict[int, float]]], dict[int, set[str]]]:
    """Return the figures of `metric` by number of users, label and round; and, by number of users, the labels whose
    figures are only a lower bound, because the load generator was the limit."""
    assert metric.figure is not None, "metrics that are ranked are summed up"
    ranked = {cell.cell: cell.verdict for cell in cells if cell.verdict in RANKED}
    values: dict[int, dict[str, dict[int, float]]] = {cell.users: {} for cell in cells}
    at_least: dict[int, set[str]] = {cell.users: set() for cell in cells}
    for cell, verdict in ranked.items():
        if verdict == "client-limited" and metric in (RATE, P99):
            at_least[cell.users].add(cell.label)
    for record in results["runs"]:
        run = run_of(record)
        if record["verdict"] == "failed" or (metric is CPU and cpu_grain(record) > GRAIN_MAX):
            continue
        if run.cell in ranked and (value := metric.figure(record)):
            values[run.cell.users].setdefault(run.cell.label, {})[run.repeat] = float(value)
    return values, at_least


def open_pairs(found: Mapping[int, Standings]) -> list[tuple[int, Pair]]:
    """Return (users, pair) for each pair of neighbours in the order whose outcome is OPEN."""
    return [(users, pair) for users, each in found.items() for pair in each.neighbours if pair.outcome == OPEN]


def open_cells(results: Results, cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells of contenders that are in an open pair of neighbours, which another round may decide."""
    found = rankings(results, summaries(results))
    labels = {(users, label) for users, pair in open_pairs(found) for label in (pair.ahead, pair.behind)}
    return [cell for cell in cells if (cell.users, cell.label) in labels]


def state(found: Mapping[int, Standings]) -> str:
    """Return a sentence for the progress display: how many pairs of neighbours are decided, and which are open."""
    still = open_pairs(found)
    pairs = sum(len(each.neighbours) for each in found.values())
    where: dict[int, list[str]] = {}
    for users, pair in still[:OPEN_NAMED_MAX]:
        where.setdefault(users, []).append(f"{pair.ahead} ~ {pair.behind}")
    told = "; ".join(f"{users:,} users: {', '.join(words)}" for users, words in where.items())
    more = f"; {len(still) - OPEN_NAMED_MAX} more" if len(still) > OPEN_NAMED_MAX else ""
    return f"{pairs - len(still)} of {pairs} pairs of neighbours decided" + (f", open: {told}{more}" if told else "")
