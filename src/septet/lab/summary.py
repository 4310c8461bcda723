"""What the runs of each cell say together: a verdict, and every figure as a median with its interval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from septet.lab.experiment import Cell
from septet.lab.load import Histogram
from septet.lab.results import Results, run_of
from septet.lab.statistics import Estimate, estimate
from septet.lab.verdicts import judge_all

Record = dict[str, Any]
Number = float | int | None


@dataclass(frozen=True, slots=True)
class Summary:
    """All runs of one cell."""

    cell: Cell
    verdict: str
    reason: str | None
    figures: dict[str, Estimate]  # those of FIGURES that are known; none when all runs failed
    runs: int
    latencies: Histogram  # of all runs together

    @property
    def model(self) -> str:
        return self.cell.model

    @property
    def users(self) -> int:
        return self.cell.users

    @property
    def label(self) -> str:
        return self.cell.label

    def median(self, name: str) -> float | None:
        """None for what is not known, and for all figures of a cell that failed: no figure is no zero."""
        found = self.figures.get(name)
        return None if found is None else found.median


def summaries(results: Results) -> list[Summary]:
    """One for each cell that has been run, in the order of the tables."""
    groups: dict[Cell, list[Record]] = {}
    for record in results["runs"]:
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
    for name, figure in FIGURES.items():
        values = [float(value) for record in measured if (value := figure(record)) is not None]
        if (found := estimate(values)) is not None:
            figures[name] = found
    return Summary(cell, verdict, reason, figures, len(records), latencies)


def _latency(name: str) -> Callable[[Record], Number]:
    return lambda record: record["load"]["latency_us"].get(name)


def _usage(name: str) -> Callable[[Record], Number]:
    return lambda record: record["usage"].get(name)


def _cpu_us(name: str) -> Callable[[Record], Number]:
    return lambda record: record["usage"][name] * 1e6 / (record["load"]["requests_per_s"] * record["load"]["window_s"])


def _switches(name: str) -> Callable[[Record], Number]:
    """For one answer, over the server's whole life: /proc forgets the threads and processes that have ended."""

    def figure(record: Record) -> Number:
        life, load = record["stop"]["life"], record["load"]
        return life[name] / (load["answers"] + load["warmup"]["answers"]) if life["complete"] else None

    return figure


def _error_share(record: Record) -> Number:
    errors: int = sum(record["load"]["errors"].values())
    answers: int = record["load"]["answers"]
    return errors / (errors + answers)


def _sum(*figures: Callable[[Record], Number]) -> Callable[[Record], Number]:
    def figure(record: Record) -> Number:
        values = [value for each in figures if (value := each(record)) is not None]
        return sum(values) if len(values) == len(figures) else None

    return figure


FIGURES: dict[str, Callable[[Record], Number]] = {
    "requests_per_s": lambda record: record["load"]["requests_per_s"],
    **{f"{name}_us": _latency(name) for name in ("p50", "p90", "p99", "p99.9", "p99.99", "max", "mean")},
    "cpu_us": _sum(_cpu_us("user_s"), _cpu_us("system_s")),
    "cpu_user_us": _cpu_us("user_s"),
    "cpu_system_us": _cpu_us("system_s"),
    "switches": _sum(_switches("voluntary_switches"), _switches("involuntary_switches")),
    "voluntary_switches": _switches("voluntary_switches"),
    "involuntary_switches": _switches("involuntary_switches"),
    **{
        name: _usage(name)
        for name in ("pss_bytes", "rss_bytes", "processes", "threads", "descriptors", "queue_depth", "queue_overflows")
    },
    "gil_share": _usage("gil_share"),
    "error_share": _error_share,
}
