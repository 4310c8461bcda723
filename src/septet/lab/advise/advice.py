"""The result of the search: the candidate to run, its capacity, its bottleneck, and the disadvantages of the runner-up.

Among candidates with the same capacity, within the accuracy of the measurement, the simplest is advised: more to
configure needs a reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from septet.lab.advise import extrapolation
from septet.lab.advise.bottleneck import Bottleneck, bottleneck, cpus_of_loops
from septet.lab.advise.candidates import LOOPS, POOL, PROCESSES, Candidate, Finding, Search, Situation, Step
from septet.lab.advise.choice import ALIKE, DEARER, PROBABLE, first_two
from septet.lab.advise.search import next_step
from septet.lab.advise.usl import Usl, fit


@dataclass(frozen=True, slots=True)
class Scale:
    """The measured throughput of a model over its number of threads, workers or loops."""

    model: str
    by: str
    """What the throughput was measured over: the number of "threads", of "workers" or of "loops"."""
    points: tuple[tuple[int, float], ...]
    """(number of threads, workers or loops, requests/s under as much load as they can serve), in ascending order of the
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
    instead: Finding | None = None
    """On a Python without a GIL: the chosen model with loops in one process in place of workers, or the other way
    round, as it was measured; None if the chosen candidate has neither, or no other was measured.
    """

    @property
    def law_of_cpus(self) -> Usl | None:
        """Gunther's law (the Universal Scalability Law) fitted to the throughput of the chosen model over its number of
        loops, if it is advised with several in one process, else over that of workers; None: too few numbers were
        measured for a fit.
        """
        model, by = self.chosen.candidate.model, "loops" if self.chosen.candidate.loops else "workers"
        laws = (each.law for each in self.scales if each.by == by and each.model == model)
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
        instead=_instead(chosen.candidate, search),
    )


def _instead(candidate: Candidate, search: Search) -> Finding | None:
    """Return the finding with the highest saturated rate among the candidates that have loops of one process where
    `candidate` has workers, or workers where it has loops; None if there is none.
    """
    if candidate.processes == 1 and candidate.loops is None:
        return None
    by = "workers" if candidate.loops else "loops"
    rungs = search.ladder(candidate.model, by, replace(candidate, workers=None, loops=None))
    others = [finding for number, finding in rungs if number > 1 and finding.most]
    return max(others, key=lambda finding: finding.most, default=None)


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
    cpus = finding.candidate.cpus_at_most(situation)
    most = max(finding.most, finding.capacity)
    cpu_s = max(finding.cpu_s, 1e-7)
    limit = bottleneck(finding, situation).what
    if limit in ("loop", "processes"):
        cpus = cpus_of_loops(finding.candidate, situation)
        cpu_s = cpus / most
    elif limit in ("CPU", "GIL"):
        cpu_s = cpus / most
    elif slots < situation.users:
        cpu_s = min(cpu_s, cpus / most)
    return extrapolation.Service(cpu_s, profile.wait_s if profile.waits else 0.0, cpus, slots)


def memory_of_cores(finding: Finding, search: Search) -> extrapolation.Memory | None:
    """Return the memory that the measured candidate would take with more CPUs; None if it is not known.

    A process more takes as much as all processes of the candidate, which is a bound. A loop more in the same process
    takes what the measured ones take more than a single one, or nothing if that is not known; a pool of threads on a
    Python without a GIL uses more CPUs as it is.
    """
    candidate, total = finding.candidate, finding.memory_bytes
    if total is None:
        return None
    if candidate.loops:
        one = search.findings.get(replace(candidate, loops=None))
        least = one.memory_bytes if one is not None else None
        own = max(0, total - least) // max(1, candidate.loops - 1) if least is not None else 0
        return extrapolation.Memory(max(0, total - own * candidate.loops), own)
    if shares_cores(candidate, search.situation):
        return extrapolation.Memory(total, 0)
    return extrapolation.Memory(0, total)


def shares_cores(candidate: Candidate, situation: Situation) -> bool:
    """True if one process of the candidate has a loop or threads for each CPU; False if it takes more processes to use
    more CPUs.
    """
    threads = candidate.model in (POOL, "threaded") and candidate.processes == 1
    return not situation.has_gil and (bool(candidate.loops) or (threads and not situation.profile.asynchronous))


def _at_random(finding: Finding, search: Search, target_s: float) -> float | None:
    found = extrapolation.capacity(service(finding, search), target_s)
    return min(found, finding.capacity) or None


def scales(search: Search) -> tuple[Scale, ...]:
    """Return the throughput over the number of threads, of workers and of loops, of each model that was measured with
    more than one such number.
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
    ladders = [("workers", Candidate(model, threads=threads)) for threads in several if model != PROCESSES]
    several = {each.threads for each in search.findings if each.model == model and each.loops}
    ladders += [("loops", Candidate(model, threads=threads)) for threads in several]
    return [*([("threads", None)] if model == search.pool else []), *ladders]


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
    if candidate.loops:
        return "code that is safe in threads, coroutines too: they run at the same time; a crash ends all loops"
    if candidate.model in LOOPS and candidate.threads:
        return "a number of threads to choose, and code that is safe in threads"
    return PRICES.get(candidate.model, "")
