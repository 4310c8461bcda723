"""Figures evened: what they would be if the machine had been equally fast, and the server's alone, in every run.

A machine that others use, or whose speed changes, spoils the two figures of a run in two ways:

* CPU time of a request follows the speed of the CPU, which the probe sees (see `septet.lab.probe`). How far it follows
  is fitted within the experiment: the slope, on logarithms, of CPU time over the probe within cells, as the weighted
  median of the slopes between any two runs of a cell (after Theil and Sen; outliers do not move it). 0: not at all, and
  then nothing is corrected; 1: as the probe itself.
* Requests per second follow what others leave of the CPUs. A server that is limited by CPU time would serve, left
  alone, as many requests in a second as it has CPU time for. A server that waits for something else is not held up
  much by others, and its rate is as it was measured.

So a cell's evened rate is the CPUs that it wants / the evened CPU time of a request where it is limited by CPU time,
and the measured rate elsewhere. Only the noise of CPU time is in it, which is a third of that of the rate on a machine
whose CPUs others use by three quarters.

A cell is limited by CPU time when the page computes, and threads of the server want a CPU most of the time. A page
computes when the fastest answers take little longer than their CPU time: of thousands of requests some are held up by
nothing. How much threads want a CPU would not do alone, since threads that waited for a backend wait for a CPU as well
where others use it.
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
"""CPUs that are wanted on the average where CPU time is the limit: where users are held up the server is idle, too."""
COMPUTING_MAX = 2.0
"""How many times its CPU time the fastest answer to a page that computes may take,"""
OVERHEAD_US = 500
"""and this besides: for the load generator, the network, and a place in line."""
DISTURBED_SHARE = 0.15
"""Share of the server's CPUs that others take, in the median run, on a machine that is disturbed. The work of the
kernel for which no process is charged stays below it."""
SLOPE_MAX = 1.5
"""CPU time cannot follow the speed of the CPU by much more than one to one; caches make it a little more."""
APART_MIN = 0.02
"""Two runs whose probes differ by less, as a logarithm, say nothing about a slope."""
WEIGHT_MIN = 1.0
"""Sum of these differences: with less the slope is as good as not known, and taken as 0."""


@dataclass(frozen=True, slots=True)
class Evening:
    """How far CPU time follows the probe, and the probe's median."""

    slope: float = 0.0
    middle_us: float | None = None

    def cpu_factor(self, record: Record) -> float:
        """How many times as much CPU time the run took as at the median speed."""
        probe_us = record["usage"].get("probe_us")
        return 1.0 if not probe_us or not self.middle_us else (probe_us / self.middle_us) ** self.slope


def fitted(cells: Iterable[Sequence[Record]]) -> Evening:
    """The evening of measured runs, given by cells."""
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
    """The logarithms of the probe and of the CPU time of a request; None where one of them is not known."""
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
    """The records with `evened`: `cpu_us` and `requests_per_s` where they are known, and `cpu_limited`."""
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
    """Whether what is asked for takes CPU time and hardly any other time.

    `alone` is what a single user found (see `septet.lab.bench`), who waits in no line; it may be empty.
    """
    found = [(alone["least_us"], alone["cpu_us"])] if alone else []
    found += [
        (min(map(int, record["load"]["histogram_us"])), cpu_us)
        for record in records
        if record["load"]["histogram_us"] and (cpu_us := whole_cpu_us(record))
    ]
    return any(least_us <= COMPUTING_MAX * cpu_us + OVERHEAD_US for least_us, cpu_us in found)


def rests_on_cpu_time(results: Results) -> bool:
    """Whether contenders are compared by evened rates: where the machine is disturbed, and the page computes."""
    measured = [record for record in results["runs"] if record["verdict"] != "failed"]
    return disturbed(results) and page_computes(measured, results.get("alone") or {})


def disturbed(results: Results) -> bool:
    """Whether others took so much of the server's CPUs that measured rates say little of contenders that compute."""
    shares = [share for record in results["runs"] if (share := taken_share(record, results)) is not None]
    return bool(shares) and median(shares) > DISTURBED_SHARE


def taken_share(record: Record, results: Results) -> float | None:
    """The share of the server's CPUs that other programs and the hypervisor took; None where it is not known."""
    usage, load = record.get("usage", {}), record.get("load", {})
    if "server_cpus_busy_s" not in usage or not load.get("window_s"):
        return None
    server, client = results["experiment"]["pinned"]
    cpus = len(server) or results["machine"].get("cpus_usable") or 1
    ours_s = usage["cpu_s"] if client else usage["cpu_s"] + load["client"]["user_s"] + load["client"]["system_s"]
    taken_s = usage["server_cpus_busy_s"] - ours_s + usage["server_cpus_steal_s"]
    return float(min(1.0, max(0.0, taken_s / (load["window_s"] * cpus))))


def _cpus_wanted(runs: Sequence[Record]) -> int:
    """How many CPUs limit a cell; 0 when they do not, or when that is not known."""
    known = [wanted for record in runs if (wanted := record["usage"].get("cpus_wanted")) is not None]
    wanted = fmean(known) if known else 0.0
    return max(1, round(wanted)) if wanted >= WANTED_MIN else 0


def _evened(record: Record, evening: Evening, cpus_wanted: int) -> dict[str, Any]:
    cpu_us, rate = whole_cpu_us(record), record["load"]["requests_per_s"]
    if not cpu_us:
        return {"cpu_us": None, "requests_per_s": None if cpus_wanted else rate, "cpu_limited": cpus_wanted > 0}
    cpu_us /= evening.cpu_factor(record)
    rate = cpus_wanted * 1e6 / cpu_us if cpus_wanted else rate
    return {"cpu_us": cpu_us, "requests_per_s": rate, "cpu_limited": cpus_wanted > 0}
