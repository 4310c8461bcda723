"""The result of the search: the candidate to run, its capacity, its bottleneck, and the disadvantages of the runner-up.

Among candidates with the same capacity, within the accuracy of the measurement, the simplest is advised: more to
configure needs a reason. The bottleneck is the resource that was used up when a candidate no longer met the latency
target.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from septet.lab.advise import extrapolation
from septet.lab.advise.candidates import LOOPS, POOL, PROCESSES, Candidate, Finding, Search, Situation, Step
from septet.lab.advise.search import ALIKE, DEARER, MEMORY_SHARE, PROBABLE, first_two, next_step
from septet.lab.advise.trial import Trial, milliseconds
from septet.lab.advise.usl import Usl, fit


@dataclass(frozen=True, slots=True)
class Scale:
    """The measured throughput of a model over its number of threads or workers."""

    model: str
    by: str
    """What the throughput was measured over: the number of "threads" or the number of "workers"."""
    points: tuple[tuple[int, float], ...]
    """(number of threads or workers, requests/s under as much load as they can serve), in ascending order of the
    number.
    """
    law: Usl | None


@dataclass(frozen=True, slots=True)
class Advice:
    """The candidate to run, and what is known about it. Times in seconds, rates in requests per second."""

    target_s: float
    chosen: Finding
    limit: Bottleneck
    runner_up: Finding | None
    runner_up_limit: Bottleneck | None
    at_random: float | None
    """Computed capacity, in requests/s, if requests come at random instants (a Poisson process) and not at even
    intervals; None: no rate would meet the target then."""
    scales: tuple[Scale, ...]
    loop_alone: LoopAlone | None = None
    """Compares an event-loop model with its threads and the same model with `--threads 0`, where the loop itself calls
    the application; None for an ASGI application, or if measurements for it are missing.
    """
    not_told_apart: tuple[Finding, ...] = ()
    """Candidates whose capacity may be as high as that of the chosen one, or higher: other programs used the CPUs, so
    that the search could not find out.
    """
    unfinished: Step | None = None
    """What the search would have measured next when its time was up; None when nothing was left to measure."""

    @property
    def law_of_workers(self) -> Usl | None:
        """Gunther's law (the Universal Scalability Law) fitted to the throughput of the chosen model over its number of
        workers; None: too few numbers of workers were measured for a fit.
        """
        laws = (each.law for each in self.scales if each.by == "workers" and each.model == self.chosen.candidate.model)
        return next(laws, None)


def decide(search: Search, target_s: float) -> Advice | None:
    """Return the advice: the candidate that meets the latency target at the highest rate, and what limits it. None if
    no candidate met the target at any rate. `target_s`: the latency target in seconds.
    """
    chosen, other = first_two(list(search.findings.values()))
    if chosen is None:
        return None
    return Advice(
        target_s=target_s,
        chosen=chosen,
        limit=bottleneck(chosen, search.situation),
        runner_up=other,
        runner_up_limit=bottleneck(other, search.situation) if other is not None else None,
        at_random=_at_random(chosen, search, target_s),
        scales=scales(search),
        loop_alone=loop_alone(search),
        not_told_apart=tuple(_not_told_apart(chosen, search)),
        unfinished=next_step(search),
    )


@dataclass(frozen=True, slots=True)
class LoopAlone:
    """An event loop that calls a WSGI application itself (`--threads 0`), compared with the same loop and a pool of
    threads.
    """

    model: str
    rate_max: float | None = None
    """Highest possible requests/s of one process with `--threads 0` if the application waits, such as for a backend: it
    answers one request after the other. None for an application that computes.
    """
    cpu_ratio: float | None = None
    """CPU time of a request with --threads 0, divided by that with threads; None where it was not measured."""
    rate_ratio: float | None = None
    """Requests per second with --threads 0, divided by that with threads, both in the saturation run (under as much
    load as the server can take); None if other programs disturbed the runs.
    """


def loop_alone(search: Search) -> LoopAlone | None:
    """Compare an event-loop model with its threads and the same model with --threads 0. Returns None for an ASGI
    application, which runs on the loop anyway, or if measurements for the comparison are missing.
    """
    profile = search.situation.profile
    usual = next((each for each in search.findings.values() if each.candidate.model in LOOPS), None)
    if usual is None or profile.asynchronous or not usual.most:
        return None
    model = usual.candidate.model
    if profile.waits:
        return LoopAlone(model, rate_max=1 / profile.wall_s)
    alone = search.findings.get(Candidate(model, threads=0))
    if alone is None or not alone.most or alone.saturation is None or usual.saturation is None:
        return None
    quiet = not (alone.saturation.is_disturbed or usual.saturation.is_disturbed)
    cost = alone.saturation.cpu_s / usual.saturation.cpu_s if usual.saturation.cpu_s else None
    return LoopAlone(model, cpu_ratio=cost, rate_ratio=alone.most / usual.most if quiet else None)


def _may_carry(finding: Finding, chosen: Finding, situation: Situation) -> bool:
    """True if a candidate may have as high a capacity as the chosen one, although other programs disturbed its
    saturation run (its run under the highest load). This is judged by the candidate's rate, by its CPU time for a
    request, which other programs change little, and by the number of requests that it can handle at a time.
    """
    profile = situation.profile
    places = finding.candidate.at_once(profile.asynchronous, situation.users, situation.cpus)
    if profile.waits and places / profile.wall_s < chosen.capacity:
        return False
    return finding.most >= PROBABLE * chosen.capacity or finding.cpu_s <= DEARER * chosen.cpu_s


def _not_told_apart(chosen: Finding, search: Search) -> Iterator[Finding]:
    """Yield the candidates, except `chosen`, of which it is not known whether their capacity is as high as that of
    `chosen`, because other programs disturbed their saturation run (the run under the highest load).

    If a capacity search was made for a candidate, its result must be only a lower bound, and its rate in the saturation
    run about as high as the capacity of `chosen`. If none was made, `_may_carry` decides.
    """
    for each in search.findings.values():
        if each is chosen or each.candidate.is_loop_alone or each.saturation is None or not each.most:
            continue
        if not each.saturation.is_disturbed or (each.bracket is not None and each.bracket.refuted):
            continue
        if each.bracket is None:
            open_still = _may_carry(each, chosen, search.situation)
        else:
            open_still = each.bracket.is_lower_bound and each.most >= ALIKE * chosen.capacity
        if open_still:
            yield each


def service(finding: Finding, search: Search) -> extrapolation.Service:
    """Return the measured candidate as a server in queueing theory (a service time, CPUs and slots), for
    `extrapolation`.

    Where the CPU was the bottleneck, the CPU time of a request is computed from the highest rate, because the time that
    the kernel charged to the server leaves out a part of the work.
    """
    situation = search.situation
    profile = situation.profile
    slots = finding.candidate.at_once(profile.asynchronous, situation.users, situation.cpus)
    cpus = min(situation.cpus, finding.candidate.processes)
    most = max(finding.most, finding.capacity)
    cpu_s = max(finding.cpu_s, 1e-7)
    if bottleneck(finding, situation).what in ("CPU", "GIL"):
        cpu_s = cpus / most
    elif slots < situation.users:
        cpu_s = min(cpu_s, cpus / most)
    return extrapolation.Service(cpu_s, profile.wait_s if profile.waits else 0.0, cpus, slots)


def _at_random(finding: Finding, search: Search, target_s: float) -> float | None:
    found = extrapolation.capacity(service(finding, search), target_s)
    return min(found, finding.capacity) or None


def scales(search: Search) -> tuple[Scale, ...]:
    """Return the throughput over the number of threads, and over the number of workers, of each model that was measured
    with more than one such number.
    """
    found = []
    models = dict.fromkeys(candidate.model for candidate in search.findings)
    for model in models:
        for by, like in _ladders(search, model):
            rungs = [(number, finding.most) for number, finding in search.ladder(model, by, like) if finding.most]
            if len(rungs) > 1:
                found.append(Scale(model, by, tuple(rungs), fit(rungs)))
    return tuple(found)


def _ladders(search: Search, model: str) -> list[tuple[str, Candidate | None]]:
    several = {each.threads for each in search.findings if each.model == model and each.processes > 1}
    workers = [("workers", Candidate(model, threads=threads)) for threads in several if model != PROCESSES]
    return [*([("threads", None)] if model == search.pool else []), *workers]


PRICES = {
    "epoll": "one loop for all clients: an ASGI application that blocks it holds up all others in its process",
    "poll": "the kernel reads the whole list of clients each time: many idle ones cost time",
    "io_uring": "the kernel must permit io_uring, which many containers do not",
    POOL: "a client that is slow, or keeps its connection, holds a thread",
    "threaded": "nothing bounds the number of threads: there are as many as clients",
    PROCESSES: "each process has its own memory and its own database connections",
    "forking": "a fork for each connection",
    "interpreters": "experimental, and each interpreter imports the application anew",
    "iterative": "one client at a time: a slow one keeps all others waiting",
}


def price(candidate: Candidate) -> str:
    """Return the disadvantage of a candidate's model as a part of a sentence, to be printed with the advice; "" if none
    is known.
    """
    if candidate.model in LOOPS and candidate.threads:
        return "a number of threads to choose, and code that is safe in threads"
    return PRICES.get(candidate.model, "")


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

    `what` is one of CPU, GIL, backend, threads, memory, backlog, load generator, latency, unknown.
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
    for cause in (_memory, _backlog, _threads, _cpu, _gil, _generator):
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
