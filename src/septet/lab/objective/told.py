"""Formats gauges (runs at one rate) as tables, sentences and data, for the terminal and for files."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from septet.lab.objective.gauge import Gauge
from septet.lab.objective.objective import ERRORS, Objective, written
from septet.lab.objective.search import Found, Outcome
from septet.lab.tables import aligned
from septet.lab.verdicts import FOREIGN_SHARE_MAX

MORE_CPUS = "give it more CPUs (--cpus), or more machines (--cluster)"


def line(gauge: Gauge) -> str:
    """Return the line that is printed after a gauge (a run at one rate): its rate, its figures and its outcome."""
    figures = ", ".join(f"{name} {_figure(name, value)}" for name, value in gauge.figures.items())
    why = f": {gauge.reason}" if gauge.reason else ""
    return f"{gauge.rate:,.0f}/s: {figures}: {gauge.outcome.value}{why}"


def table(gauges: Sequence[Gauge]) -> str:
    """Return a table of latency over rate: a row for each rate, with the medians of its gauges (runs at that rate)."""
    names = list(gauges[0].figures)
    rows = [["requests/s", "carried", *names, "held"]]
    for rate in sorted({gauge.rate for gauge in gauges}):
        here = [gauge for gauge in gauges if gauge.rate == rate]
        values = [_figure(name, middle(here, name)) for name in names]
        rows.append([f"{rate:,.0f}", f"{median(gauge.carried for gauge in here):,.0f}", *values, _held(here)])
    return aligned(rows)


def middle(gauges: Sequence[Gauge], name: str) -> float | None:
    """Return the median of a figure over the gauges (runs) at one rate; None if one of them had no answer."""
    values = [gauge.figures[name] for gauge in gauges]
    known = [value for value in values if value is not None]
    return median(known) if known and len(known) == len(values) else None


def _held(gauges: Sequence[Gauge]) -> str:
    held = sum(gauge.outcome is Outcome.HELD for gauge in gauges)
    others = {gauge.outcome.value for gauge in gauges if gauge.outcome not in (Outcome.HELD, Outcome.MISSED)}
    words = f"{held} of {len(gauges)}"
    return f"{words} ({', '.join(sorted(others))})" if others else words


def _figure(name: str, value: float | None) -> str:
    return "-" if value is None else written(name, value)


def verdict(objective: Objective, found: Found, gauges: Sequence[Gauge]) -> str:
    """Return a sentence with the result of the search for the highest rate at which the objective is held."""
    if not found.low:
        return f"{objective.text} is not held, even at {min(gauge.rate for gauge in gauges):,.0f} requests/s"
    if found.in_doubt:
        missed = f"at {found.high:,.0f} it was missed while other programs had the CPUs"
        return f"{objective.text} is held at {found.low:,.0f} requests/s and maybe at more: {missed}"
    if not found.limited:
        return f"{objective.text} is held up to {found.low:,.0f} requests/s, and not at {found.high:,.0f}"
    sentence = f"{objective.text} is held at {found.low:,.0f} requests/s and maybe at more"
    limits = [gauge for gauge in gauges if gauge.outcome is Outcome.LIMITED]
    if not limits:
        return f"{sentence}: the search ended before a rate was missed"
    return f"{sentence}: at {limits[-1].rate:,.0f} {limits[-1].reason.rpartition('; ')[2]}"


def remarks(found: Found, gauges: Sequence[Gauge]) -> list[str]:
    """Return sentences that qualify the result: its interval, the load generator, the machine."""
    low, high = found.interval
    said = []
    if found.low:
        ends = f"from {low:,.0f}" if high is None else f"{low:,.0f} to {high:,.0f}"
        open_end = " on, since no miss counts against the server" if high is None else ""
        said.append(f"95 % interval of that rate: {ends} requests/s{open_end}")
    if any("CPU" in gauge.reason for gauge in gauges if gauge.outcome is Outcome.LIMITED):
        said.append(f"the load generator was the limit: {MORE_CPUS}")
    said += machine(gauges)
    return said


def machine(gauges: Sequence[Gauge]) -> list[str]:
    """Return a list of one sentence, which says how much of the CPUs other programs and the hypervisor used before and
    during the runs.
    """
    shares = [gauge.others_share for gauge in gauges]
    disturbed = sum(gauge.is_disturbed for gauge in gauges)
    if not disturbed:
        return [f"the machine was quiet: others used at most {max(shares):.0%} of the CPUs before a gauge"]
    stolen = max(gauge.steal_share for gauge in gauges)
    words = f"the machine was disturbed in {disturbed} of {len(gauges)} gauges"
    if max(shares) > FOREIGN_SHARE_MAX:
        words += f": other programs used up to {max(shares):.0%} of the CPUs"
    return [f"{words}, the hypervisor up to {stolen:.0%}" if stolen > 0.005 else words]


def thin(objective: Objective, gauges: Sequence[Gauge]) -> list[str]:
    """Return a list with a warning if a gauge (a run at one rate) had too few answers for its percentiles to be
    reliable; else an empty list.
    """
    fewest = min(gauge.answers for gauge in gauges)
    if fewest >= objective.requests_needed:
        return []
    needed = f"{objective.requests_needed:,}"
    return [f"a gauge had {fewest:,} answers; {objective.text} takes {needed} to be more than chance: --duration"]


def as_csv(gauges: Sequence[Gauge]) -> str:
    """Return all gauges (runs at one rate) in the order in which they ran, one on a line. Latencies are in µs, shares
    from 0 to 1.
    """
    text = io.StringIO()
    rows = [_plain(gauge) for gauge in gauges]
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _plain(gauge: Gauge) -> dict[str, Any]:
    values = asdict(gauge)
    figures = {name if name == ERRORS else f"{name}_us": value for name, value in values.pop("figures").items()}
    return {"rate": values.pop("rate"), "outcome": values.pop("outcome").value, **figures, **values}


def as_values(objective: Objective, gauges: Sequence[Gauge]) -> dict[str, Any]:
    """Return the text of the objective and all gauges (runs at one rate) as values for JSON."""
    return {"objective": objective.text, "gauges": [_plain(gauge) for gauge in gauges]}
