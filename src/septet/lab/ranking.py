"""Who is ahead of whom in an experiment, by comparisons in pairs, and what is still open.

A verdict speaks of the figure it is about: a noisy cell is ranked, because a ratio within a turn may be sure where the
figure is not. Cells in which requests failed are not ranked: their figures are those of other requests. Where only the
window was too short for each user to have an answer, they are.

On a machine that others use, the ranking rests on evened figures (see `septet.lab.evening`), and on measured ones
elsewhere. Which it is depends on what others took alone, never on who would be ahead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from septet.lab.evening import evened, rests_on_cpu_time
from septet.lab.experiment import Cell
from septet.lab.figures import GRAIN_MAX, Record, cpu_grain
from septet.lab.metric import Metric
from septet.lab.metrics import CPU, EVEN_CPU, EVEN_RATE, P99, RATE
from septet.lab.pairs import OPEN, Pair, Standings, standings
from septet.lab.results import Results, run_of
from septet.lab.summary import Summary, summaries

FIRST_ROUNDS = 1
"""Which visit every cell of an experiment with a limit in time."""
OPEN_NAMED_MAX = 4
LOOKS = 5
"""Chance is given several occasions to look like an order when an experiment ends as soon as it is decided: the level
of every interval is that much stricter. After Pocock (1977) 5 do for ten looks, each of which has most of its data in
common with the one before; the tests simulate them."""
COARSEST = 0.15
"""For ranks, whose intervals have the ticks in them as they have other noise; a figure that is stated takes less."""
WEIGHT_MAX = 4.0
"""A run weighs by its answers, as compared with the median run of its cell, but no more than this."""


def basis(results: Results, metric: Metric) -> Metric:
    """The metric by which contenders are ranked where `metric` is asked for."""
    if metric is CPU:
        return EVEN_CPU
    return EVEN_RATE if metric is RATE and rests_on_cpu_time(results) else metric


def rankings(results: Results, cells: Sequence[Summary], metric: Metric = RATE) -> dict[int, Standings]:
    """Return the standings at each number of users; `cells` are the summaries of the results."""
    found = _values(results, cells, metric)
    family = sum(len(each.values) * (len(each.values) - 1) // 2 for each in found.values())
    turns = 0
    if results["experiment"].get("for_s"):
        family *= LOOKS
        turns = results["experiment"].get("turns", 1)
    return {
        users: standings(
            each.values, metric.more_is_better, family, frozenset(each.at_least), weights=each.weights, turns=turns
        )
        for users, each in found.items()
    }


@dataclass(slots=True)
class _Values:
    """The figures at one number of users, by label and turn."""

    values: dict[str, dict[int, float]] = field(default_factory=dict)
    weights: dict[str, dict[int, float]] = field(default_factory=dict)
    at_least: set[str] = field(default_factory=set)
    """The labels whose figures are a lower bound of what the server can."""


def _values(results: Results, cells: Sequence[Summary], metric: Metric) -> dict[int, _Values]:
    by = basis(results, metric)
    assert by.figure is not None, "metrics that are ranked are summed up"
    ranked = {cell.cell: cell.verdict for cell in cells if cell.is_ranked}
    found: dict[int, _Values] = {cell.users: _Values() for cell in cells}
    for cell, verdict in ranked.items():
        if verdict == "client-limited" and by in (RATE, P99):
            found[cell.users].at_least.add(cell.label)
    records = evened(results)
    coarse = _coarse(records, by)
    for record in records:
        run = run_of(record)
        if record["verdict"] != "failed" and run.cell in ranked.keys() - coarse and (value := by.figure(record)):
            here = found[run.cell.users]
            here.values.setdefault(run.cell.label, {})[run.repeat] = float(value)
            here.weights.setdefault(run.cell.label, {})[run.repeat] = _answers(record)
    if by is EVEN_RATE:
        _bound_what_is_not_computed(records, found)
    for each in found.values():
        each.weights = _weights(each.weights) if by in (EVEN_RATE, EVEN_CPU) else {}
    return found


def _bound_what_is_not_computed(records: Sequence[Record], found: Mapping[int, _Values]) -> None:
    """Where rates of some contenders are computed from CPU time, mark the measured ones of others as lower bounds: they
    are what a busy machine left of them, and nothing that is ahead of them is surely ahead."""
    computed: dict[int, dict[bool, set[str]]] = {users: {True: set(), False: set()} for users in found}
    for record in records:
        if record["verdict"] != "failed":
            cell = run_of(record).cell
            computed[cell.users][record["evened"]["cpu_limited"]].add(cell.label)
    for users, labels in computed.items():
        if labels[True]:
            found[users].at_least |= labels[False]


def _coarse(records: Sequence[Record], by: Metric) -> set[Cell]:
    """The cells whose CPU time, of all runs together, may be wrong by too much for `by`, since it is in ticks."""
    if by not in (EVEN_RATE, EVEN_CPU):
        return set()
    grain_max = COARSEST if by is EVEN_RATE else GRAIN_MAX
    runs: dict[Cell, list[Record]] = {}
    for record in records:
        if record["verdict"] != "failed" and (by is not EVEN_RATE or record["evened"]["cpu_limited"]):
            runs.setdefault(run_of(record).cell, []).append(record)
    # Windows begin and end at random within ticks, so the errors of several are independent.
    return {cell for cell, each in runs.items() if max(map(cpu_grain, each)) / math.sqrt(len(each)) > grain_max}


def _answers(record: Record) -> float:
    """The weight of a run: how many requests its CPU time is the mean of. A rate as measured has none."""
    if not record["evened"]["cpu_limited"]:
        return 1.0
    return float(record["load"]["requests_per_s"] * record["load"]["window_s"])


def _weights(answers: Mapping[str, Mapping[int, float]]) -> dict[str, dict[int, float]]:
    """Of each contender in relation to its own median: it says how much of the CPU a visit got, not how fast it is."""
    found = {}
    for label, each in answers.items():
        usual = median(each.values())
        found[label] = {place: min(WEIGHT_MAX, value / usual) for place, value in each.items()}
    return found


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
