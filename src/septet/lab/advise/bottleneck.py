"""What keeps a candidate from carrying more: read from what was used up when the target was no longer held."""

from __future__ import annotations

from dataclasses import dataclass

from septet.lab.advise.candidate import LOOPS
from septet.lab.advise.findings import Finding, Situation
from septet.lab.advise.search import MEMORY_SHARE
from septet.lab.advise.trial import Trial, milliseconds

BUSY = 0.85  # of what there is: used up, for all that the kernel does beside it is charged to nobody
BUSY_IF_NOISY = 0.5  # the same when other programs took a part of it
GIL_SHARE = 0.2  # of the time in which threads wanted to run

_GIL_WAIT = "of the time in which its threads want to run, they wait {:.0%} for the GIL"


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """`what` is one of CPU, GIL, backend, threads, memory, backlog, load generator, latency, unknown."""

    what: str
    sentence: str


def bottleneck(finding: Finding, situation: Situation) -> Bottleneck:
    """The first of the usual suspects that the trials at the edge convict."""
    trials = [each for each in (finding.beyond, finding.edge, finding.gauge) if each is not None and not each.failure]
    if not trials:
        return Bottleneck("unknown", "no trial came to an end")
    for suspect in (_memory, _backlog, _threads, _cpu, _gil, _generator):
        if (found := suspect(finding, trials, situation)) is not None:
            return found
    return _backend(trials, situation)


def _memory(finding: Finding, trials: list[Trial], situation: Situation) -> Bottleneck | None:
    most = max(each.memory_bytes or 0 for each in trials)
    if most < MEMORY_SHARE * situation.memory_bytes:
        return None
    return Bottleneck("memory", f"it takes {most / 1e6:,.0f} MB of the {situation.memory_bytes / 1e6:,.0f} it may use")


def _backlog(finding: Finding, trials: list[Trial], situation: Situation) -> Bottleneck | None:
    """Only without errors of another kind below the edge: far above it every queue runs over."""
    edge = finding.edge
    if edge is None or not edge.queue_overflows:
        return None
    return Bottleneck("backlog", "connections found the listener's queue full: raise --backlog and net.core.somaxconn")


def _threads(finding: Finding, trials: list[Trial], situation: Situation) -> Bottleneck | None:
    """All places in the application are taken, and those who hold them wait."""
    nature = situation.nature
    places = finding.candidate.at_once(nature.asynchronous, situation.users)
    if not nature.waits or places >= situation.users or _share(trials) > BUSY * min(situation.cpus, places):
        return None
    if finding.most < BUSY * places / nature.wall_s:
        return None
    where = "on the loop" if finding.candidate.model in LOOPS and not finding.candidate.threads else "in each thread"
    where = where if places > 1 or "loop" in where else "in its one thread"
    sentence = f"{places} at a time, each for {milliseconds(nature.wall_s)}, most of which it waits {where}"
    return Bottleneck("threads", sentence)


def _cpu(finding: Finding, trials: list[Trial], situation: Situation) -> Bottleneck | None:
    share, cpus = _share(trials), situation.cpus
    noisy = any(each.verdict == "noisy" for each in trials)
    if share < BUSY * cpus and not (noisy and share > BUSY_IF_NOISY * cpus):
        return None
    doubt = "" if share >= BUSY * cpus else ", while other programs took the rest"
    gil = max((each.gil_share or 0.0 for each in trials), default=0.0)
    waits = f"; {_GIL_WAIT.format(gil)}" if gil > GIL_SHARE else ""
    of = "its CPU" if cpus == 1 else f"its {cpus} CPUs"
    return Bottleneck("CPU", f"it uses {min(1.0, share / cpus):.0%} of {of}{doubt}{waits}")


def _gil(finding: Finding, trials: list[Trial], situation: Situation) -> Bottleneck | None:
    processes = finding.candidate.processes
    share = _share(trials)
    gil = max((each.gil_share or 0.0 for each in trials), default=0.0)
    if processes < situation.cpus and share > BUSY * processes:
        one = "one process computes" if processes == 1 else f"{processes} processes compute"
        return Bottleneck("GIL", f"{one} on {processes} of {situation.cpus} CPUs at a time (the GIL)")
    if gil > GIL_SHARE:
        return Bottleneck("GIL", _GIL_WAIT.format(gil))
    return None


def _generator(finding: Finding, trials: list[Trial], situation: Situation) -> Bottleneck | None:
    if finding.bracket is None or not finding.bracket.at_least:
        return None
    if finding.beyond is None:
        return Bottleneck("unknown", "nothing is used up: the search was over before it found the limit")
    return Bottleneck("load generator", "nothing of the server is used up: the load generator could not ask for more")


def _backend(trials: list[Trial], situation: Situation) -> Bottleneck:
    p50 = max((each.p50_s or 0.0 for each in trials[:2]), default=0.0)
    if situation.nature.waits and p50 > 1.2 * situation.nature.wall_s:
        alone = milliseconds(situation.nature.wall_s)
        sentence = f"neither CPU nor threads are used up; what it waits for takes {milliseconds(p50)}, alone {alone}"
        return Bottleneck("backend", sentence)
    return Bottleneck("latency", "nothing is used up: single requests take longer than the target allows")


def _share(trials: list[Trial]) -> float:
    return max(each.server_share for each in trials)
