"""Ranks contenders (servers or process models) by comparisons in pairs, and finds the pairs whose order is still open.

A cell (a contender at one number of users) may be ranked though its figure is noisy, because the ratio of two runs of
the same turn may be certain when the figure is not. A cell in which requests failed is not ranked: its figures are
those of the other requests. If the only reason is that the window was too short for each user to get an answer, the
cell is ranked, but not by its latencies.

If other programs disturb the machine, the ranking uses evened figures (see `septet.lab.evening`), otherwise measured
ones; rates that CPU time limits are corrected for the speed of the CPU then. The choice depends only on how much of
the CPUs others took, never on which contender would be ahead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from septet.lab.evening import evened, rests_on_cpu_time
from septet.lab.experiment import Cell
from septet.lab.figures import GRAIN_MAX, Record, cpu_grain
from septet.lab.metric import Metric
from septet.lab.metrics import CPU, EVEN_CPU, EVEN_RATE, P99, RATE
from septet.lab.pairs import OPEN, Pair, Standings, standings
from septet.lab.results import Results, run_of
from septet.lab.summary import Summary

OPEN_NAMED_MAX = 4
LOOKS_SHARE, LOOKS_MAX = 0.02, 10
"""An experiment with --for is judged after each round, and goes on where the ranking is open, so chance has several
occasions to look like an order. What is said after a round gets LOOKS_SHARE of the error rate, and what is said at the
end the rest, as for LOOKS_MAX rounds (after Haybittle, 1971, and Peto and others, 1976). More rounds than these have
most of their data in common; the tests simulate this.
"""
COARSEST = 0.15
"""A rate that is computed from CPU time is used for ranking only if the error of that CPU time is at most this share of
it. It may be larger than the error of a figure that is shown, because the interval of a comparison includes this error
like other noise.
"""
WEIGHT_MAX = 4.0
"""In comparisons a run has a weight: its number of answers divided by that of the median run of the same cell (a server
or process model at one number of users), but at most this.
"""


def basis(results: Results, metric: Metric) -> Metric:
    """Return the metric to rank by when `metric` is asked for. For CPU that is EVEN_CPU. For RATE it is EVEN_RATE if
    other programs disturbed the machine and the page computes. (Both are corrected for what disturbed the runs.) Any
    other metric is returned as it is.
    """
    if metric is CPU:
        return EVEN_CPU
    return EVEN_RATE if metric is RATE and rests_on_cpu_time(results) else metric


def rankings(
    results: Results, cells: Sequence[Summary], metric: Metric = RATE, is_at_end: bool = True
) -> dict[int, Standings]:
    """Return the ranking of the contenders (servers or process models) by `metric`, for each number of users. `cells`
    are the summaries of the results: one for each contender at each number of users.

    Without `is_at_end` it is the ranking by which an experiment with --for goes on, which is decided more strictly.
    """
    found = _values(results, cells, metric)
    sharing, experiment = float(len(found)), results["experiment"]
    if experiment.get("for_s"):
        sharing /= 1 - LOOKS_SHARE * LOOKS_MAX if is_at_end else LOOKS_SHARE
    return {
        users: standings(
            each.values,
            metric.more_is_better,
            sharing,
            frozenset(each.at_least),
            weights=each.weights,
            turns=_turns(experiment, users),
        )
        for users, each in found.items()
    }


def _turns(experiment: Mapping[str, Any], users: int) -> int:
    """Return for how many turns in a row a server keeps running at this number of users; 0: every run has a new one."""
    if not experiment.get("for_s"):
        return 0
    name = "short_turns" if users in dict(experiment.get("short", ())) else "turns"
    return int(experiment.get(name, 1))


@dataclass(slots=True)
class _Values:
    """The figures by which contenders (servers or process models) are ranked at one number of users, and the weights of
    these figures, by the contender's label and the number of the turn. In a turn every contender is run once.
    """

    values: dict[str, dict[int, float]] = field(default_factory=dict)
    weights: dict[str, dict[int, float]] = field(default_factory=dict)
    at_least: set[str] = field(default_factory=set)
    """Labels of the contenders (servers or process models) whose figures are lower bounds, because the load generator
    was the limit, or because other programs slowed them down.
    """


def _values(results: Results, cells: Sequence[Summary], metric: Metric) -> dict[int, _Values]:
    by = basis(results, metric)
    ranked = {cell.cell: cell.verdict for cell in cells if cell.is_ranked and not (by is P99 and cell.is_cut)}
    found: dict[int, _Values] = {cell.users: _Values() for cell in cells}
    for cell, verdict in ranked.items():
        if verdict == "client-limited" and by in (RATE, P99):
            found[cell.users].at_least.add(cell.label)
    records = evened(results)
    coarse = _coarse(records, by)
    for record in records:
        run = run_of(record)
        if record["verdict"] != "failed" and run.cell in ranked.keys() - coarse and (value := _figure(record, by)):
            here = found[run.cell.users]
            here.values.setdefault(run.cell.label, {})[run.repeat] = float(value)
            here.weights.setdefault(run.cell.label, {})[run.repeat] = _answers(record)
    if by is EVEN_RATE:
        _bound_what_is_not_computed(records, found)
    for each in found.values():
        each.weights = _weights(each.weights) if by in (EVEN_RATE, EVEN_CPU) else {}
    return found


def _figure(record: Record, by: Metric) -> float | None:
    """Return the figure of a run that comparisons rest on: that of `by`, rates as they would be at the usual speed of
    the CPU.
    """
    assert by.figure is not None, "metrics that are ranked are summed up"
    return record["evened"]["at_usual_speed"] if by is RATE else by.figure(record)


def _bound_what_is_not_computed(records: Sequence[Record], found: Mapping[int, _Values]) -> None:
    """If the rates of some contenders (servers or process models) at a number of users are computed from CPU time, mark
    the measured rates of the others as lower bounds (`at_least`): on a busy machine these show only what other programs
    left of the CPUs.
    """
    computed: dict[int, dict[bool, set[str]]] = {users: {True: set(), False: set()} for users in found}
    for record in records:
        if record["verdict"] != "failed":
            cell = run_of(record).cell
            computed[cell.users][record["evened"]["cpu_limited"]].add(cell.label)
    for users, labels in computed.items():
        if labels[True]:
            found[users].at_least |= labels[False]


def _coarse(records: Sequence[Record], by: Metric) -> set[Cell]:
    """Return the cells (servers or process models at one number of users) whose CPU time over all runs is too inexact
    to rank them by the metric `by`, because it is counted in ticks.
    """
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
    """Return the weight of a run's figure in comparisons. If the server was limited by CPU time, that is the number of
    answers, because its CPU time for a request is a mean over them; otherwise it is 1.
    """
    if not record["evened"]["cpu_limited"]:
        return 1.0
    return float(record["load"]["requests_per_s"] * record["load"]["window_s"])


def _weights(answers: Mapping[str, Mapping[int, float]]) -> dict[str, dict[int, float]]:
    """Return weights by contender (a server or process model) and turn, in which every contender is run once. They are
    the values of `answers`, divided by the contender's median so that its usual run has the weight 1, but at most
    WEIGHT_MAX.
    """
    found = {}
    for label, each in answers.items():
        usual = median(each.values())
        found[label] = {place: min(WEIGHT_MAX, value / usual) for place, value in each.items()}
    return found


def open_pairs(found: Mapping[int, Standings]) -> list[tuple[int, Pair]]:
    """Return (number of users, pair) for each pair of contenders (servers or process models) that are neighbours in the
    ranking at that number of users, and whose order is still OPEN: neither certain nor equal.
    """
    return [(users, pair) for users, each in found.items() for pair in each.neighbours if pair.outcome == OPEN]


def open_cells(found: Mapping[int, Standings], cells: Sequence[Cell]) -> list[Cell]:
    """Return those of `cells` that another round of runs should measure: those of a contender (a server or process
    model) whose order with a neighbour in the ranking is open at that number of users.
    """
    labels = {(users, label) for users, pair in open_pairs(found) for label in (pair.ahead, pair.behind)}
    return [cell for cell in cells if (cell.users, cell.label) in labels]


def state(found: Mapping[int, Standings]) -> str:
    """Return a sentence for the progress display: how many pairs of neighbours in the rankings are settled, and which
    pairs are still OPEN: neither is certainly better, nor are they known to be equal.
    """
    still = open_pairs(found)
    pairs = sum(len(each.neighbours) for each in found.values())
    where: dict[int, list[str]] = {}
    for users, pair in still[:OPEN_NAMED_MAX]:
        where.setdefault(users, []).append(f"{pair.ahead} ~ {pair.behind}")
    told = "; ".join(f"{users:,} users: {', '.join(words)}" for users, words in where.items())
    more = f"; {len(still) - OPEN_NAMED_MAX} more" if len(still) > OPEN_NAMED_MAX else ""
    return f"{pairs - len(still)} of {pairs} pairs of neighbours decided" + (f", open: {told}{more}" if told else "")
