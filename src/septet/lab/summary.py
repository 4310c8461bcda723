"""Summaries of the runs of each cell: a verdict, and every figure as a median with its interval.

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
from septet.lab.verdicts import RANKED, all_served, judge_all


@dataclass(frozen=True, slots=True)
class Summary:
    """The summary of all runs of one cell, which is a contender with its options at one number of users."""

    cell: Cell
    verdict: str
    reason: str | None
    figures: dict[str, Estimate]
    """The known figures of `metrics.SUMMED_UP`, by key; empty when all runs failed."""
    runs: int
    served: bool
    """True if no more than a few requests failed; users without an answer at the end of a window do not count as
    failed.
    """
    latencies: Histogram
    """The latencies of all runs together."""

    @property
    def is_ranked(self) -> bool:
        """True if the cell is compared with others. A cell in which some users had no answer by the end of a window is
        compared as well.
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
        """Return the median of a figure; None, not 0, when it is not known, as in a cell that failed."""
        found = self.figures.get(key)
        return None if found is None else found.median


def summaries(results: Results) -> list[Summary]:
    """Return the summary of each cell (a contender with its options at one number of users) that has been run, in the
    order of the tables.
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
    return Summary(cell, verdict, reason, figures, len(records), all(map(all_served, records)), latencies)
