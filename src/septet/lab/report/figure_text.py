"""Formats figures for the tables and labels of the report."""

from __future__ import annotations

from septet.lab.metric import Metric
from septet.lab.statistics import Estimate
from septet.lab.summary import Summary
from septet.lab.tables import AT_LEAST, is_lower_bound
from septet.lab.verdicts import DOUBT_MARK


def number(value: float, like: float | None = None) -> str:
    """Return a number as text with about three digits; with `like`, it has as many decimals as `like` would have."""
    size = abs(value if like is None else like)
    decimals = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 or size == 0 else 3
    text = f"{value:,.{decimals}f}"
    return text if like is not None or "." not in text else text.rstrip("0").rstrip(".")


def with_interval(found: Estimate) -> str:
    """Return an estimate as text: the median, and half the width of its interval where that is known ("1,234 ±56")."""
    if found.low is None or found.high is None:
        return number(found.median)
    return f"{number(found.median)} ±{number((found.high - found.low) / 2, like=found.median)}"


def text(metric: Metric, cell: Summary | None) -> str:
    """Return the value of a metric in a cell (a server or process model at one number of users) as text. DOUBT_MARK
    follows if the verdict on the cell's runs is not "valid", AT_LEAST precedes a lower bound. It is "failed" if all
    runs failed, and "-" if the value is not known.
    """
    if cell is None:
        return "-"  # not measured: the run was interrupted before
    if not cell.figures:
        return "failed"
    found = metric.estimate(cell.figures)
    if found is None:
        return "-"
    least = AT_LEAST * is_lower_bound(metric, cell)
    return least + with_interval(found) + (DOUBT_MARK if cell.verdict != "valid" else "")
