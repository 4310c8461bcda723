"""The comparison page of the report: process models beside another server (--servers), which may be the one that the
user runs today, or the interpreters of --pythons beside the first of them.

Each table has a reference, whose own figures are its first row. The other rows have the ratio of each contender's
figure to the reference's, with the interval of that ratio, which is computed within rounds (see `septet.lab.pairs`). A
ratio below 1 means that the contender's figure is smaller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from septet.lab.evening import evened
from septet.lab.interpreters import SETTING
from septet.lab.metric import Metric
from septet.lab.metrics import BY_KEY, CPU, EVEN_RATE, MEMORY, P99, RATE
from septet.lab.pairs import EQUAL, LIMITED, Standings
from septet.lab.ranking import basis, rankings
from septet.lab.results import Results, run_of
from septet.lab.summary import Summary
from septet.lab.tables import AT_LEAST, is_lower_bound

METRICS = (RATE, CPU, MEMORY, P99)
ERRORS = BY_KEY["error_share"]
NONE = "-"
UNSURE = "busy machine"
"""Printed in place of a ratio of two rates if only one of them is evened (computed from CPU time, see
`septet.lab.evening`): the other depends on what other programs left of the machine.
"""
REMARK = (
    "In pairs: how many times as much as the first row, and the interval of that. An interval with 1 in it decides "
    "nothing; of the orders that the others state, none is wrong in 95 of 100 experiments; = means equal within 5 %."
)


@dataclass(frozen=True, slots=True)
class Beside:
    """A table of the comparison page of the report; its first line has the headings."""

    title: str
    lines: list[list[str]]


def beside(results: Results, cells: Sequence[Summary], users: int) -> list[Beside]:
    """Return the tables for one number of users; [] for an experiment that compares neither servers nor interpreters.

    Contenders whose runs all failed are left out.
    """
    here = {cell.label: cell for cell in cells if cell.users == users and cell.figures}
    groups = _groups(results, here)
    if not groups:
        return []
    standings = {metric.key: rankings(results, cells, metric)[users] for metric in METRICS}
    bases = {metric.key: basis(results, metric) for metric in METRICS}
    unlike = _unlike(results, users) if bases[RATE.key] is EVEN_RATE else frozenset(here)
    return [
        Beside(
            f"Beside {reference}, at {users:,} users",
            [
                ["", _rate_heading({reference, *labels} - unlike), *map(_heading, METRICS[1:]), "errors"],
                _own(here[reference], bases),
                *(_row(here[label], reference, standings, unlike) for label in labels),
            ],
        )
        for reference, labels in groups
    ]


def _groups(results: Results, here: Mapping[str, Summary]) -> list[tuple[str, list[str]]]:
    """Return, for each table, the label (the name of a contender with its options) of its reference, and the labels
    that are compared with the reference.
    """
    others = [other["name"] for other in results["experiment"]["others"]]
    ours = [label for label, cell in here.items() if cell.model not in others]
    groups = [(label, ours) for label, cell in here.items() if cell.model in others and ours]
    pythons = [python["name"] for python in results["experiment"].get("pythons", ())]
    if len(pythons) > 1:
        for model in dict.fromkeys(here[label].model for label in ours):
            labels = [label for label in ours if here[label].model == model]
            labels.sort(key=lambda label: pythons.index(dict(here[label].cell.setting)[SETTING]))
            if len(labels) > 1:
                groups.append((labels[0], labels[1:]))
    return groups


def _rate_heading(evened_labels: set[str]) -> str:
    return "requests/s (evened)" if evened_labels else "requests/s"


def _heading(metric: Metric) -> str:
    return {MEMORY.key: "memory", P99.key: "p99"}.get(metric.key, "CPU a request")


def _own(cell: Summary, bases: Mapping[str, Metric]) -> list[str]:
    """Return the first row of a table: the reference's own figures. `bases`: for the key of each metric of the table,
    the metric that is shown, which may be another one that takes its place.
    """
    return [cell.label, *(_figure(cell, bases[metric.key]) for metric in METRICS), _errors(cell)]


def _figure(cell: Summary, metric: Metric) -> str:
    found = metric.estimate(cell.figures)
    unit = "" if metric in (RATE, EVEN_RATE) else f" {metric.unit}"
    if found is None:
        return NONE
    return f"{AT_LEAST * is_lower_bound(metric, cell)}{float(f'{found.median:.3g}'):,.10g}{unit}"


def _unlike(results: Results, users: int) -> frozenset[str]:
    """Return the labels of the contenders whose measured rates are used and not evened ones (computed from CPU time,
    see `septet.lab.evening`), because CPU time did not limit these contenders.
    """
    records = [each for each in evened(results) if each["verdict"] != "failed" and each["users"] == users]
    return frozenset(run_of(each).cell.label for each in records if not each["evened"]["cpu_limited"])


def _row(cell: Summary, reference: str, standings: Mapping[str, Standings], unlike: frozenset[str]) -> list[str]:
    ratios = [_ratio(cell.label, reference, standings[metric.key], metric.more_is_better) for metric in METRICS]
    if len({cell.label, reference} & unlike) == 1:
        ratios[METRICS.index(RATE)] = UNSURE
    return [cell.label, *ratios, _errors(cell)]


def _ratio(label: str, reference: str, found: Standings, more_is_better: bool) -> str:
    """Return as text the ratio of a contender's figure to that of the reference, from the comparisons in `found`."""
    if label not in found.order or reference not in found.order:
        return NONE
    pair = found.pair(label, reference)
    value, low, high = pair.ratio
    # The ratio of a pair says how many times as good; that of the figures may be its inverse.
    if (pair.ahead == label) is not more_is_better:
        value, low, high = 1 / value, high and 1 / high, low and 1 / low
    if low is None or high is None:
        return f"about {_times(value)}"
    mark = " =" if pair.outcome == EQUAL else " (the generator's limit)" if pair.outcome == LIMITED else ""
    return f"{_times(value)} ({_times(low)}-{_times(high)}){mark}"


def _times(value: float) -> str:
    return f"{value:.2f}" if value < 9.95 else f"{value:,.0f}"


def _errors(cell: Summary) -> str:
    found = ERRORS.estimate(cell.figures)
    return NONE if found is None else f"{found.median:.2g} %" if found.median else "0"
