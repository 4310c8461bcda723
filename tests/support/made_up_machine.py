"""Servers that never were, for tests of what decides: each carries what its formula says."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from septet.lab.advise.candidates import Candidate, Look, Search, Situation, Step
from septet.lab.advise.capacity_search import Bracket, CapacitySearch, Outcome
from septet.lab.advise.search import next_step
from septet.lab.advise.trial import Trial
from septet.lab.advise.workload_profile import WorkloadProfile

TRIAL = Trial(
    rate=None,
    users=100,
    answered_per_s=1000.0,
    answers=1000,
    errors=0,
    p50_s=0.02,
    p99_s=0.03,
    due=1000,
    window_s=1.0,
    late_p99_s=0.0001,
    client_share=0.2,
    cpu_s=0.0003,
    delay_s=0.0,
    server_share=0.3,
    gil_share=None,
    memory_bytes=30_000_000,
    processes=1,
    threads=1,
    queue_overflows=0,
    verdict="valid",
    reason=None,
)


def trial(**values: Any) -> Trial:
    """A trial in which nothing went wrong, but for what `values` say."""
    return replace(TRIAL, **values)


def find(capacity_search: CapacitySearch, outcome: Callable[[float], Outcome]) -> tuple[Bracket, list[float]]:
    """The search's result, and the rates that it tried, on a server whose trials go as `outcome` says."""
    tried = []
    while (rate := capacity_search.next_rate()) is not None:
        tried.append(rate)
        capacity_search.record(rate, outcome(rate))
        assert len(tried) < 50, "it does not end"
    return capacity_search.result(), tried


def holding(capacity: float) -> Callable[[float], Outcome]:
    """A server that holds this rate and no higher one."""
    return lambda rate: Outcome.HELD if rate <= capacity else Outcome.BROKEN


@dataclass(frozen=True, slots=True)
class World:
    """What a candidate carries when saturated, and how much of that in time."""

    profile: WorkloadProfile
    carries: Callable[[Candidate], float]
    in_time: Callable[[Candidate], float] = lambda candidate: 0.95
    cpus: int = 1
    users: int = 200
    client_max: float = 1e9
    models: tuple[str, ...] = ("preforked", "threaded", "prethreaded", "epoll", "io_uring")

    def search(self, **values: Any) -> Search:
        situation = Situation(self.profile, self.cpus, self.users, 8_000_000_000, self.models)
        return Search(replace(situation, **values))

    def explore(self, search: Search) -> list[Step]:
        """Take every step that the search asks for."""
        steps: list[Step] = []
        while (step := next_step(search)) is not None:
            steps.append(step)
            self._take(search, step)
            assert len(steps) < 200, "it does not end"
        return steps

    def _take(self, search: Search, step: Step) -> None:
        finding, most = search.of(step.candidate), self.carries(step.candidate)
        cpu_s = self.cpus / max(1.0, self.carries(step.candidate))
        if step.look is Look.SATURATION:
            finding.saturation = trial(
                answered_per_s=min(most, self.client_max), cpu_s=cpu_s, server_share=most * cpu_s
            )
        elif step.look is Look.CAPACITY:
            capacity = self.in_time(step.candidate) * most
            limit = Outcome.LIMITED if capacity > self.client_max else Outcome.BROKEN
            held = min(capacity, self.client_max)
            start = min(most, self.client_max)
            finding.bracket, _ = find(CapacitySearch(start), lambda rate: Outcome.HELD if rate <= held else limit)
            finding.highest_held = trial(rate=finding.bracket.low, cpu_s=cpu_s, server_share=0.9)
        else:
            finding.checked = True
