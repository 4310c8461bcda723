"""Corrects measured figures for the state of the machine: *evened* figures are those that an equally fast and otherwise
idle machine would have given in every run.

Other programs, and changes of the CPU's speed, disturb the two figures of a run in two ways:

* The CPU time of a request depends on the speed of the CPU, which the probe measures (see `septet.lab.probe`): what
  slows a server down is seldom the clock, and often what others do on a sibling thread. How much it depends is fitted
  within the experiment: the slope of the logarithm of CPU time over the logarithm of the probe's time, between runs of
  the same cell. It is the weighted median of the slopes of all pairs of runs (after Theil and Sen), because outliers do
  not move a median. A slope of 0 means no dependence, and no correction; 1 means that both change by the same factor.
* Requests per second depend on what other programs leave of the CPUs. A server that is limited by CPU time would, alone
  on the machine, answer as many requests in a second as it has CPU time for. A server that waits for something else is
  hardly slowed down by other programs, and its measured rate is used.

So the evened rate of a cell that is limited by CPU time is the number of CPUs that it wants, divided by the evened CPU
time of a request; for other cells it is the measured rate. It has only the noise of the CPU time, which is a third of
the rate's on a machine whose CPUs are used by three quarters by others.

Where other programs leave the CPUs alone, such a cell's measured rate is only corrected for the speed of the CPU, and
only in comparisons within a turn.

A cell is limited by CPU time if the page computes, and if threads of the server want a CPU most of the time. A page
computes if its fastest answers take hardly longer than their CPU time: among thousands of requests some are not held up
by anything. The wish for a CPU alone would not suffice, because threads that have waited for a backend also wait for a
CPU if other programs use it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, median
from typing import Any

from septet.lab.experiment import Cell
from septet.lab.figures import GRAIN_MAX, Record, cpu_grain, whole_cpu_us
from septet.lab.results import Results, run_of

WANTED_MIN = 0.5
"""A server counts as limited by CPU time only if it wanted at least this many CPUs on average: if users wait for
something else, the server is idle at times.
"""
COMPUTING_MAX = 2.0
"""A page computes, and does not wait, if the time of its fastest answer is at most the CPU time of an answer times this
factor, plus OVERHEAD_US.
"""
OVERHEAD_US = 500
"""Microseconds that an answer may take for the load generator, the network and waiting in line; see COMPUTING_MAX."""
DISTURBED_SHARE = 0.15
"""A machine is disturbed if in the median run other programs take more than this share of the server's CPUs. Work of
the kernel that is charged to no process stays below it.
"""
SLOPE_MAX = 1.5
"""Largest accepted slope of the logarithm of CPU time over that of the probe's time (the probe times a fixed piece of
work): CPU time cannot change by much more than the CPU's speed does; caches add a little.
"""
APART_MIN = 0.02
"""Two runs are not compared if the logarithms of their probes' times (the time of a fixed piece of work) differ by less
than this: the slope between them would be noise.
"""
WEIGHT_MIN = 1.0
"""A pair of runs has as its weight the difference of the logarithms of their probes' times (the time of a fixed piece
of work). If the sum of the weights is below this, the CPU's speed hardly changed, and CPU time is taken not to depend
on it (a slope of 0).
"""


@dataclass(frozen=True, slots=True)
class Evening:
    """The correction for one experiment: by how much CPU time changes with the probe's time (`slope`, see the module),
    and the median of the probe's time in µs, to which all runs are corrected.
    """

    slope: float = 0.0
    middle_us: float | None = None

    def cpu_factor(self, record: Record) -> float:
        """Return the run's CPU time divided by what it would have been at the usual speed of the CPU, by this
        correction. The usual speed is the one at which the probe (a fixed piece of work) takes its median time.
        """
        probe_us = record["usage"].get("probe_us")
        return 1.0 if not probe_us or not self.middle_us else (probe_us / self.middle_us) ** self.slope


def fitted(cells: Iterable[Sequence[Record]]) -> Evening:
    """Fit the correction to the measured runs. `cells`: for each cell (one contender at one number of users) its runs.
    Only runs of the same cell are compared with each other.
    """
    points = [[point for record in runs if (point := _point(record)) is not None] for runs in cells]
    probes = [probe for each in points for probe, _ in each]
    if not probes:
        return Evening()
    slopes = [
        ((one[1] - other[1]) / (one[0] - other[0]), abs(one[0] - other[0]))
        for each in points
        for one, other in combinations(each, 2)
        if abs(one[0] - other[0]) >= APART_MIN
    ]
    weight = sum(apart for _, apart in slopes)
    slope = _weighted_median(slopes) if weight >= WEIGHT_MIN else 0.0
    return Evening(min(SLOPE_MAX, max(0.0, slope)), math.exp(median(probes)))


def _point(record: Record) -> tuple[float, float] | None:
    """Return, of a run, the logarithms of the probe's time (see `septet.lab.probe`) and of the CPU time of a request;
    None if one is not known or too inexact.
    """
    probe_us, cpu_us = record["usage"].get("probe_us"), whole_cpu_us(record)
    if not probe_us or not cpu_us or cpu_grain(record) > GRAIN_MAX:
        return None
    return math.log(probe_us), math.log(cpu_us)


def _weighted_median(values: list[tuple[float, float]]) -> float:
    half, seen = sum(weight for _, weight in values) / 2, 0.0
    for value, weight in sorted(values):
        seen += weight
        if seen >= half:
            return value
    raise AssertionError("half of the weight is reached before the end")


def evened(results: Results) -> list[Record]:
    """Return the records of all runs. Those that did not fail have a new entry `evened`, with the corrected `cpu_us`
    and `requests_per_s` (None if not known), with `at_usual_speed`, the measured requests per second corrected for the
    speed of the CPU alone, and with `cpu_limited`, which is True if CPU time limited the rate.
    """
    cells: dict[Cell, list[Record]] = {}
    for record in results["runs"]:
        if record["verdict"] != "failed":
            cells.setdefault(run_of(record).cell, []).append(record)
    evening = fitted(cells.values())
    measured = [record for runs in cells.values() for record in runs]
    computes = page_computes(measured, results.get("alone") or {})
    limits = {cell: _cpus_wanted(runs) if computes else 0 for cell, runs in cells.items()}
    return [
        {**record, "evened": _evened(record, evening, limits[run_of(record).cell])}
        if record["verdict"] != "failed"
        else record
        for record in results["runs"]
    ]


def page_computes(records: Sequence[Record], alone: Mapping[str, float]) -> bool:
    """True if an answer takes CPU time and hardly any other time, as the fastest answers show.

    `records`: runs that did not fail. `alone`: the figures `least_us` and `cpu_us` of a single user before the
    experiment (see `septet.lab.bench.preflight`); may be empty.
    """
    found = [(alone["least_us"], alone["cpu_us"])] if alone else []
    found += [
        (min(map(int, record["load"]["histogram_us"])), cpu_us)
        for record in records
        if record["load"]["histogram_us"] and (cpu_us := whole_cpu_us(record))
    ]
    return any(least_us <= COMPUTING_MAX * cpu_us + OVERHEAD_US for least_us, cpu_us in found)


def rests_on_cpu_time(results: Results) -> bool:
    """True if contenders are compared by rates that are computed from CPU time: the machine is disturbed, and the page
    computes.
    """
    measured = [record for record in results["runs"] if record["verdict"] != "failed"]
    return disturbed(results) and page_computes(measured, results.get("alone") or {})


def disturbed(results: Results) -> bool:
    """True if other programs took so much of the server's CPUs that measured rates say little about contenders that
    compute.
    """
    shares = [share for record in results["runs"] if (share := taken_share(record, results)) is not None]
    return bool(shares) and median(shares) > DISTURBED_SHARE


def taken_share(record: Record, results: Results) -> float | None:
    """Return the share of the server's CPUs that other programs and the hypervisor took; None if it is not known."""
    usage, load = record.get("usage", {}), record.get("load", {})
    if "server_cpus_busy_s" not in usage or not load.get("window_s"):
        return None
    server, client = results["experiment"]["pinned"]
    cpus = len(server) or results["machine"].get("cpus_usable") or 1
    ours_s = usage["cpu_s"] if client else usage["cpu_s"] + load["client"]["user_s"] + load["client"]["system_s"]
    taken_s = usage["server_cpus_busy_s"] - ours_s + usage["server_cpus_steal_s"]
    return float(min(1.0, max(0.0, taken_s / (load["window_s"] * cpus))))


def _cpus_wanted(runs: Sequence[Record]) -> int:
    """Return the number of CPUs that the server of a cell wanted on average, rounded, but at least 1. Returns 0 if it
    wanted less than WANTED_MIN, or if that is not known; its rate then counts as not limited by CPU time.
    """
    known = [wanted for record in runs if (wanted := record["usage"].get("cpus_wanted")) is not None]
    wanted = fmean(known) if known else 0.0
    return max(1, round(wanted)) if wanted >= WANTED_MIN else 0


def _evened(record: Record, evening: Evening, cpus_wanted: int) -> dict[str, Any]:
    cpu_us, rate = whole_cpu_us(record), record["load"]["requests_per_s"]
    factor = evening.cpu_factor(record)
    found = {"cpu_limited": cpus_wanted > 0, "at_usual_speed": rate * factor if cpus_wanted else rate}
    if not cpu_us:
        return {**found, "cpu_us": None, "requests_per_s": None if cpus_wanted else rate}
    cpu_us /= factor
    return {**found, "cpu_us": cpu_us, "requests_per_s": cpus_wanted * 1e6 / cpu_us if cpus_wanted else rate}
