"""Finds what limits a candidate: the resource that was used up when it no longer met the latency target."""

from __future__ import annotations

from dataclasses import dataclass

from septet.lab.advise.candidates import LOOPS, Candidate, Finding, Situation
from septet.lab.advise.search import MEMORY_SHARE
from septet.lab.advise.trial import Trial, milliseconds

BUSY = 0.85
"""The CPU counts as the bottleneck if the server used or waited for at least this share of its CPUs. It is below 1,
because a part of the kernel's work for the server is not charged to it.
"""
TAKEN_TOLD = 0.02
"""If other programs and the hypervisor took at least this share of the server's CPUs, the advice says so."""
BUSY_IF_NOISY = 0.5
"""If other programs took a part of the CPUs, the CPU counts as the bottleneck when the server used or waited for more
than this share of its CPUs; otherwise the share is BUSY.
"""
GIL_SHARE = 0.2
"""The GIL is named as the bottleneck if threads that want to run wait for it for more than this share of the time."""

_GIL_WAIT = "of the time in which its threads want to run, they wait {:.0%} for the GIL"


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """What limits the capacity of a candidate.

    `what` is one of CPU, GIL, loop, processes, backend, threads, memory, backlog, load generator, latency, unknown.
    """

    what: str
    sentence: str


def bottleneck(finding: Finding, situation: Situation) -> Bottleneck:
    """Find what limits the candidate: the first cause that explains its trials at the highest rate that met the target,
    at the lowest rate that did not, and at saturation.
    """
    known = (finding.lowest_failed, finding.highest_held, finding.saturation)
    trials = [each for each in known if each is not None and not each.failure]
    if not trials:
        return Bottleneck("unknown", "no trial came to an end")
    for cause in (_memory, _backlog, _threads, _cpu, _gil if situation.has_gil else _loops, _generator):
        if (found := cause(finding, trials, situation)) is not None:
            return found
    return _backend(trials, situation)


def _memory(finding: Finding, trials: list[Trial], situation: Situation) -> Bottleneck | None:
    most = max(each.memory_bytes or 0 for each in trials)
    if most < MEMORY_SHARE * situation.memory_bytes:
        return None
    return Bottleneck("memory", f"it takes {most / 1e6:,.0f} MB of the {situation.memory_bytes / 1e6:,.0f} it may use")


def _backlog(finding: Finding, trials: list[Trial], situation: Situation) -> Bottleneck | None:
    """Return the queue of the listener as the bottleneck if it overflowed at the highest rate that met the target, else
    None. (Far above that rate every queue overflows.)
    """
    highest_held = finding.highest_held
    if highest_held is None or not highest_held.queue_overflows:
        return None
    return Bottleneck("backlog", "connections found the listener's queue full: raise --backlog and net.core.somaxconn")


def _threads(finding: Finding, trials: list[Trial], situation: Situation) -> Bottleneck | None:
    """Return the threads as the bottleneck if all of them were held by requests that wait (for a backend, say), else
    None.
    """
    profile = situation.profile
    slots = finding.candidate.at_once(profile.asynchronous, situation.users, situation.cpus)
    if not profile.waits or slots >= situation.users or _share(trials) > BUSY * min(situation.cpus, slots):
        return None
    if finding.most < BUSY * slots / profile.wall_s:
        return None
    where = "on the loop" if finding.candidate.is_loop_alone else "in each thread"
    where = where if slots > 1 or "loop" in where else "in its one thread"
    sentence = f"{slots} at a time, each for {milliseconds(profile.wall_s)}, most of which it waits {where}"
    return Bottleneck("threads", sentence)


def _cpu(finding: Finding, trials: list[Trial], situation: Situation) -> Bottleneck | None:
    share, cpus = _share(trials), situation.cpus
    noisy = any(each.is_disturbed for each in trials)
    if share < BUSY * cpus and not (noisy and share > BUSY_IF_NOISY * cpus):
        return None
    used = max(each.used for each in trials)
    gil = max((each.gil_share or 0.0 for each in trials), default=0.0)
    waits = f"; {_GIL_WAIT.format(gil)}" if gil > GIL_SHARE else ""
    of = "its CPU" if cpus == 1 else f"its {cpus} CPUs"
    if used >= BUSY * cpus:
        return Bottleneck("CPU", f"it uses {min(1.0, used / cpus):.0%} of {of}{waits}")
    return Bottleneck("CPU", f"it used {used / cpus:.0%} of {of} and wanted more, {_taken(trials, cpus)}{waits}")


def _taken(trials: list[Trial], cpus: int) -> str:
    """Return a part of a sentence that says what share of the server's CPUs other programs and the hypervisor had; it
    names only those whose share was TAKEN_TOLD or more, or "others" if none was.
    """
    shares = {
        "other programs": max(each.others_share for each in trials) / cpus,
        "the hypervisor": max(each.stolen_share for each in trials) / cpus,
    }
    told = [f"{who} ({min(1.0, share):.0%})" for who, share in shares.items() if share >= TAKEN_TOLD]
    return f"which {' and '.join(told) or 'others'} had"


def cpus_of_loops(candidate: Candidate, situation: Situation) -> int:
    """Return how many of the server's CPUs the candidate's event loops can use, one each; if it has none, how many its
    Python code can use.
    """
    if candidate.model not in LOOPS:
        return candidate.cpus_at_most(situation)
    return min(situation.cpus, candidate.processes * (candidate.loops or 1))


def _loops(finding: Finding, trials: list[Trial], situation: Situation) -> Bottleneck | None:
    """Return the event loops, or the processes, as the bottleneck if they are fewer than the CPUs and used as many as
    they are, else None. For a Python without a GIL.
    """
    number, cpus = cpus_of_loops(finding.candidate, situation), situation.cpus
    if number >= cpus or _share(trials) <= BUSY * number:
        return None
    at_a_time = f"on {number} of {cpus} CPUs at a time"
    one = number == 1
    if situation.profile.asynchronous:
        what = "one event loop computes" if one else f"{number} event loops compute"
        return Bottleneck("loop", f"{what} {at_a_time}")
    if finding.candidate.model in LOOPS:
        what = "one event loop moves" if one else f"{number} event loops move"
        return Bottleneck("loop", f"{what} the bytes of all clients, and quick answers are made there, {at_a_time}")
    return Bottleneck("processes", f"{'one process computes' if one else f'{number} processes compute'} {at_a_time}")


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
    if finding.lowest_failed is None:
        return Bottleneck("unknown", "nothing is used up: the search was over before it found the limit")
    return Bottleneck("load generator", "nothing of the server is used up: the load generator could not ask for more")


def _backend(trials: list[Trial], situation: Situation) -> Bottleneck:
    p50 = max((each.p50_s or 0.0 for each in trials[:2]), default=0.0)
    if situation.profile.waits and p50 > 1.2 * situation.profile.wall_s:
        alone = milliseconds(situation.profile.wall_s)
        sentence = f"neither CPU nor threads are used up; what it waits for takes {milliseconds(p50)}, alone {alone}"
        return Bottleneck("backend", sentence)
    return Bottleneck("latency", "nothing is used up: single requests take longer than the target allows")


def _share(trials: list[Trial]) -> float:
    return max(each.server_share for each in trials)
