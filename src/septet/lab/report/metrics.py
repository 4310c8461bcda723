"""What is drawn of a cell: which figures, in which unit, and how they are written."""

from __future__ import annotations

from dataclasses import dataclass

from septet.lab.statistics import Estimate
from septet.lab.summary import Summary
from septet.lab.verdicts import DOUBT_MARK


@dataclass(frozen=True, slots=True)
class Metric:
    """`figure` is its name in a summary, `per_unit` how many of its units make one of `unit`."""

    name: str  # of files and of the page's links
    title: str
    figure: str
    unit: str
    per_unit: float = 1.0
    linear: bool = False  # even when a logarithmic axis would show more
    more_is_better: bool = False

    def estimate(self, cell: Summary) -> Estimate | None:
        """In `unit`; None where it is not known, as always in a cell that failed."""
        found = cell.figures.get(self.figure)
        if found is None:
            return None
        low, high = (None if edge is None else edge / self.per_unit for edge in (found.low, found.high))
        return Estimate(found.median / self.per_unit, low, high)

    @property
    def heading(self) -> str:
        """The title with the unit, where the title does not say it."""
        return f"{self.title}, {self.unit}" if self.unit not in (RATE.unit, SWITCHES.unit) else self.title

    def words(self, found: Estimate) -> str:
        """The median, and half of the interval where it is known."""
        if found.low is None or found.high is None:
            return number(found.median)
        return f"{number(found.median)} ±{number((found.high - found.low) / 2, like=found.median)}"


RATE = Metric("requests-per-second", "Requests per second", "requests_per_s", "requests/s", 1, True, True)
P50 = Metric("latency-p50", "Latency: half of the requests are faster (p50)", "p50_us", "ms", 1000)
P99 = Metric("latency-p99", "Latency: 99 of 100 requests are faster (p99)", "p99_us", "ms", 1000)
CPU = Metric("cpu", "CPU time of a request", "cpu_us", "µs")
MEMORY = Metric("memory", "Memory of all processes (PSS)", "pss_bytes", "MB", 1e6)
SWITCHES = Metric("switches", "Context switches of a request", "switches", "switches")
ERRORS = Metric("errors", "Requests that failed", "error_share", "% of all requests", 0.01, True)

ALL = (RATE, P50, P99, CPU, MEMORY, SWITCHES, ERRORS)
SIDE_BY_SIDE = (RATE, P99, P50, CPU, MEMORY, SWITCHES)  # for one number of users


def number(value: float, like: float | None = None) -> str:
    """Three digits or so, and as many decimals as that takes; those that `like` would have."""
    size = abs(value if like is None else like)
    decimals = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 or size == 0 else 3
    text = f"{value:,.{decimals}f}"
    return text if like is not None or "." not in text else text.rstrip("0").rstrip(".")


def text(metric: Metric, cell: Summary | None) -> str:
    """A figure as it stands in tables: with a mark where it is not valid."""
    if cell is None:
        return "-"  # not measured: the run was interrupted before
    if not cell.figures:
        return "failed"
    found = metric.estimate(cell)
    return "-" if found is None else metric.words(found) + (DOUBT_MARK if cell.verdict != "valid" else "")
