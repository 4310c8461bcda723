"""The answer: which candidate, what it carries, what limits it, and what the runner-up would cost instead.

Of those that carry the same, within what was measured, the simplest: whoever advises more owes a reason.
"""

from __future__ import annotations

from dataclasses import dataclass

from septet.lab.advise import queueing
from septet.lab.advise.bottleneck import Bottleneck, bottleneck
from septet.lab.advise.candidate import POOL, PROCESSES, Candidate
from septet.lab.advise.findings import Finding, Search
from septet.lab.advise.ranking import first_two
from septet.lab.advise.usl import Usl, fit


@dataclass(frozen=True, slots=True)
class Scale:
    """How throughput grows with one number of a model, as measured: (number, requests/s when saturated)."""

    model: str
    by: str  # "threads" or "workers"
    points: tuple[tuple[int, float], ...]
    law: Usl | None


@dataclass(frozen=True, slots=True)
class Advice:
    """Times in seconds, rates in requests per second."""

    target_s: float
    chosen: Finding
    limit: Bottleneck
    runner_up: Finding | None
    runner_up_limit: Bottleneck | None
    at_random: float | None  # the capacity for requests that come at random, computed; None: nothing to compute it from
    scales: tuple[Scale, ...]

    @property
    def law_of_workers(self) -> Usl | None:
        """Gunther's law over workers of the chosen model, where that was measured."""
        laws = (each.law for each in self.scales if each.by == "workers" and each.model == self.chosen.candidate.model)
        return next(laws, None)


def decide(search: Search, target_s: float) -> Advice | None:
    """None: nothing held the target at any rate."""
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
    )


def service(finding: Finding, search: Search) -> queueing.Service:
    """The candidate as a queue. What it was seen to carry counts for more than the CPU time that was charged to it."""
    situation = search.situation
    nature = situation.nature
    slots = finding.candidate.at_once(nature.asynchronous, situation.users)
    cpus = min(situation.cpus, finding.candidate.processes)
    most = max(finding.most, finding.capacity)
    cpu_s = max(finding.cpu_s, 1e-7)
    if bottleneck(finding, situation).what in ("CPU", "GIL"):
        cpu_s = cpus / most
    elif slots < situation.users:
        cpu_s = min(cpu_s, cpus / most)
    return queueing.Service(cpu_s, nature.wait_s if nature.waits else 0.0, cpus, slots)


def _at_random(finding: Finding, search: Search, target_s: float) -> float | None:
    found = queueing.capacity(service(finding, search), target_s)
    return min(found, finding.capacity) or None


def scales(search: Search) -> tuple[Scale, ...]:
    """Every ladder of threads or workers that has more than one rung, with Gunther's law through it."""
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
    "epoll": "one loop for all: a request that blocks holds up everybody in its process",
    "poll": "the kernel reads the whole list of clients each time: many idle ones cost time",
    "io_uring": "the kernel must permit io_uring, which many containers do not",
    POOL: "a client that is slow, or keeps its connection, holds a thread",
    "threaded": "nothing bounds the number of threads: a crowd of clients is a crowd of threads",
    PROCESSES: "each process has its own memory and its own database connections",
    "forking": "a fork for each connection",
    "iterative": "one client at a time: a slow one keeps everybody waiting",
}


def price(candidate: Candidate) -> str:
    """What is to be known about a model before it is chosen, in a clause; "" for one that nothing is known of."""
    if candidate.model != POOL and candidate.threads:
        return "two numbers to understand: a loop for the clients, threads for the application"
    return PRICES.get(candidate.model, "")
