"""`septet bench --gate BASELINE`: measures again what a baseline measured, and fails where it got worse beyond noise.

The comparison is that of `septet compare`: intervals from the repeats, which all figures together keep in 95 of 100
comparisons, and a tolerance. Two things are added, because a false alarm in CI costs more than a second look:

* A shared machine is in another state now than when the baseline was measured, and repeats in one sitting share their
  state: no interval from them contains that. So the intervals are widened by SPREADS. In cells that other programs
  disturbed only STEADY figures are judged: CPU time in units of fixed work that was timed in the same seconds on the
  same CPU, and memory.
* What got worse is measured once more, from the beginning. It fails the gate only if it is worse both times.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from septet.errors import Failed, UsageError
from septet.lab import output, results
from septet.lab.compare import comparison_text
from septet.lab.compare.comparison import BELIEVED, WORSE, Comparison, Spread, compare
from septet.lab.compare.differences import differences
from septet.lab.experiment import Experiment
from septet.lab.results import Results, run_of
from septet.lab.statistics import LEVEL

STEADY = ("CPU/probe", "memory")
OTHERS = ("requests/s", "p99")
SPREADS = {
    "CPU/probe": Spread(0.03, 0.12),
    "memory": Spread(0.01, 0.01),
    "requests/s": Spread(0.05, 0.2),
    "p99": Spread(0.1, 0.4),
}
"""How much two measurements of the same thing differ, only because they were made at different times: standard
deviations as shares, first on a quiet machine, then on a busy one. On a machine where 30 programs wanted two CPUs,
CPU/probe differed by 0.1 between eight measurements of benchmarks/gates.py; the other figures are allowances.
"""
AGAIN = "again"
"""The name of the directory for the second measurement, which is made if something got worse. It is within the
directory of the first.
"""

Measure = Callable[[Experiment, Results], None]
"""A function that carries out an experiment and adds its runs to the results."""
Worse = set[tuple[str, int | None, str | None]]
"""What got worse, as a set of (label of the contender, number of users, metric). The number is None for all numbers of
users together, and the metric is None if requests fail.
"""


@dataclass(frozen=True, slots=True)
class Gated:
    """The comparison of one measurement with the baseline, in two parts: the STEADY figures (CPU time and memory) in
    all cells, the others only in cells that nothing disturbed.
    """

    now: Results
    steady: Comparison
    others: Comparison

    @property
    def judged(self) -> int:
        return self.steady.judged + self.others.judged

    @property
    def worse(self) -> Worse:
        both = (self.steady, self.others)
        return {(row.label, row.users, metric) for each in both for row, metric in each.with_outcome(WORSE)}


def gate(path: Path, out: Path | None, seed: int, tolerance: float, measure: Measure) -> int:
    """Measure again what the baseline at `path` measured, print the comparison, and return the exit status 0. What got
    worse is measured a second time, which decides.

    `out`: the directory for the results; None: a new one. `seed`: decides the order of the runs. `tolerance`: changes
    by a smaller share than this are ignored. `measure`: carries out the experiment. Raises Failed when something got
    worse both times, and UsageError when the baseline cannot be used or nothing could be judged.
    """
    baseline = _baseline(path)
    experiment = _again(baseline, out or output.dated("gate"), seed)
    first = gated(baseline, _measured(experiment, measure), tolerance)
    if not first.worse:
        return _passed(baseline, first)
    click.echo("worse at the first look; a second one decides ...", err=True)
    second = gated(
        baseline, _measured(replace(experiment, out=experiment.out / AGAIN, seed=seed + 1), measure), tolerance
    )
    _print(baseline, second)
    worse = first.worse & second.worse
    if not worse:
        click.echo("\nwhat was worse at the first look was not at the second: nothing got worse beyond noise")
        return 0
    raise Failed(f"worse than {path} at both looks: {'; '.join(sorted(map(_named, worse)))}")


def _passed(baseline: Results, found: Gated) -> int:
    _print(baseline, found)
    if not found.judged:
        raise UsageError("nothing could be judged: no cell has figures of several runs on both sides")
    click.echo("\nnothing got worse beyond noise")
    return 0


def gated(baseline: Results, now: Results, tolerance: float) -> Gated:
    """Compare one measurement (`now`) with the baseline. `tolerance`: changes by a smaller share than this (0.05: 5 %)
    are ignored.
    """
    half = 1 - (1 - LEVEL) / 2  # both comparisons together keep their intervals in 95 of 100 gates
    return Gated(
        now,
        compare(baseline, now, STEADY, tolerance, BELIEVED | {"noisy"}, half, SPREADS),
        compare(baseline, now, OTHERS, tolerance, BELIEVED, half, SPREADS),
    )


def _baseline(path: Path) -> Results:
    try:
        baseline = results.read(path / results.NAME if path.is_dir() else path)
    except Failed as failure:
        raise UsageError(f"--gate: {failure}") from None
    counts: dict[Any, int] = {}
    for record in baseline["runs"]:
        counts[run_of(record).cell] = counts.get(run_of(record).cell, 0) + 1
    if baseline["experiment"].get("for_s"):
        raise UsageError(f"--gate: {path} was measured with --for; a baseline is measured with --repeats 5")
    if min(counts.values(), default=0) < 2:
        raise UsageError(
            f"--gate: {path} has a cell that ran only once, which tells nothing of noise: take --repeats 5"
        )
    return baseline


def _again(baseline: Results, out: Path, seed: int) -> Experiment:
    """Return the experiment of the baseline, to be measured again: with this Python, with `seed` for the order of the
    runs, and with its results in `out`. Raises UsageError if it cannot be repeated here.
    """
    try:
        experiment = Experiment.from_values(baseline["experiment"])
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"--gate: its experiment cannot be repeated ({error!r})") from None
    usable = os.sched_getaffinity(0)
    if missing := [cpu for cpus in experiment.pinned for cpu in cpus if cpu not in usable]:
        raise UsageError(f"--gate: the baseline used CPU {missing[0]}, which is not usable here: measure one here")
    return replace(experiment, out=out, seed=seed, server=(sys.executable, "-m", "septet", "serve"))


def _measured(experiment: Experiment, measure: Measure) -> Results:
    recorded = results.begin(experiment, ["septet", *sys.argv[1:]])
    measure(experiment, recorded)
    if recorded["finished"] is None:
        raise click.Abort
    return recorded


def _print(baseline: Results, found: Gated) -> None:
    """Print the comparison of the STEADY figures (CPU time and memory) as `septet compare` does, and below it that of
    the other figures.
    """
    head = comparison_text.heading(baseline, found.now)
    click.echo(comparison_text.text(found.steady, head, differences(baseline, found.now)))
    click.echo("\n" + "\n\n".join(comparison_text.blocks(found.others)))


def _named(worse: tuple[str, int | None, str | None]) -> str:
    label, users, metric = worse
    where = f"{label}, {'all' if users is None else format(users, ',')} users"
    return f"{where}: {metric or 'it fails, or has errors'}"
