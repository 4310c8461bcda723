"""Summaries of the runs of each cell (a server or process model at one number of users): a verdict, which says whether
the figures can be relied on, and every figure as a median with its interval.

They are computed once for a results file; tables, charts and sentences are made from them.
"""

from __future__ import annotations

from dataclasses import dataclass

from septet.lab.evening import evened
from septet.lab.experiment import Cell
from septet.lab.figures import Record
from septet.lab.load import Histogram
from septet.lab.metrics import SUMMED_UP
from septet.lab.results import Results, run_of
from septet.lab.statistics import Estimate, estimate
from septet.lab.verdicts import RANKED, all_served, is_cut, judge_all


@dataclass(frozen=True, slots=True)
class Summary:
    """The summary of all runs of one cell: of one server or process model with its options at one number of users."""

    cell: Cell
    verdict: str
    reason: str | None
    figures: dict[str, Estimate]
    """The figures of the cell, by key of the metric: those of `metrics.SUMMED_UP` that are known, as medians with
    intervals. Empty if all runs failed.
    """
    runs: int
    served: bool
    """True if hardly any request failed in any run. Users who had no answer by the end of a window count as failed only
    if the window was long enough for all of them.
    """
    latencies: Histogram
    """The latencies of all runs of the cell in one histogram, in µs."""
    is_cut: bool = False
    """True if in most runs the window was too short for the latencies (`verdicts.is_cut`): they are longer than the
    figures say.
    """

    @property
    def is_ranked(self) -> bool:
        """True if the cell (a server or process model at one number of users) is ranked among others: hardly any
        request failed. It is ranked even if some users had no answer by the end of a window that was too short for all
        of them.
        """
        return self.verdict in RANKED or (self.verdict == "errors" and self.served and bool(self.figures))

    @property
    def model(self) -> str:
        return self.cell.model

    @property
    def users(self) -> int:
        return self.cell.users

    @property
    def label(self) -> str:
        return self.cell.label

    def median(self, key: str) -> float | None:
        """Return the median of a figure over the runs, by the key of its metric, as it was recorded. None, not 0, if it
        is not known, as when all runs failed.
        """
        found = self.figures.get(key)
        return None if found is None else found.median


def summaries(results: Results) -> list[Summary]:
    """Return the summary of each cell (a server or process model with its options at one number of users) of which at
    least one run is recorded: the smallest number of users first, and for each number in the order in which servers and
    models were named.
    """
    groups: dict[Cell, list[Record]] = {}
    for record in evened(results):
        groups.setdefault(run_of(record).cell, []).append(record)
    order = {name: place for place, name in enumerate(_contenders(results))}
    cells = sorted(groups, key=lambda cell: (cell.users, order.get(cell.model, 0)))
    return [_summary(cell, groups[cell]) for cell in cells]


def _contenders(results: Results) -> list[str]:
    experiment = results["experiment"]
    return [*experiment["models"], *(other["name"] for other in experiment["others"])]


def _summary(cell: Cell, records: list[Record]) -> Summary:
    verdict, reason = judge_all(records)
    measured = [record for record in records if record["verdict"] != "failed"] if verdict != "failed" else []
    latencies = Histogram()
    for record in measured:
        buckets = {int(lowest): count for lowest, count in record["load"].get("histogram_us", {}).items()}
        latencies.merge(buckets, record["load"]["latency_us"]["max"] or 0, record["load"].get("latency_total_us", 0))
    figures = {}
    for key, figure in SUMMED_UP.items():
        values = [float(value) for record in measured if (value := figure(record)) is not None]
        if (found := estimate(values)) is not None:
            figures[key] = found
    cut = sum(map(is_cut, measured)) > len(measured) / 2
    return Summary(cell, verdict, reason, figures, len(records), all(map(all_served, records)), latencies, cut)
