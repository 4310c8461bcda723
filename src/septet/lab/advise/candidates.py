"""Candidates (a process model with its workers and threads), and what is known of each while the search goes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from septet.lab.advise.capacity_search import Bracket
from septet.lab.advise.trial import Trial
from septet.lab.advise.workload_profile import Nature

LOOPS = ("poll", "epoll", "io_uring")  # one thread for all clients
POOL = "prethreaded"
PROCESSES = "preforked"
TAKES_THREADS = (*LOOPS, POOL)

# The simpler, the fewer numbers there are to choose and the fewer things can go wrong. Of two candidates that carry
# the same, the simpler one is advised.
_EFFORT = {"epoll": 0, "poll": 1, "io_uring": 1, POOL: 2, "threaded": 3, PROCESSES: 3, "iterative": 4, "forking": 5}
_EFFORT_OF_A_SECOND_POOL = 3  # threads beside a loop
_EFFORT_OF_WORKERS = 2
_UNKNOWN_EFFORT = 4


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model with its workers and threads; None where `septet serve` is not told a number."""

    model: str
    workers: int | None = None
    threads: int | None = None

    @property
    def label(self) -> str:
        """As a person would say it: "epoll, 2 workers, 16 threads"."""
        numbers = [("worker", self.workers), ("thread", self.threads)]
        return ", ".join([self.model, *(f"{n} {word}{'s' * (n != 1)}" for word, n in numbers if n is not None)])

    @property
    def setting(self) -> tuple[tuple[str, str], ...]:
        """The options of `septet serve` beside --model, by name."""
        numbers = (("workers", self.workers), ("threads", self.threads))
        return tuple((name, str(number)) for name, number in numbers if number is not None)

    @property
    def options(self) -> list[str]:
        """The words of the command line."""
        return ["--model", self.model, *(word for name, number in self.setting for word in (f"--{name}", number))]

    @property
    def processes(self) -> int:
        return self.workers or 1

    @property
    def effort(self) -> int:
        """How much there is to choose and to watch; see above."""
        effort = _EFFORT.get(self.model, _UNKNOWN_EFFORT)
        if self.model in LOOPS and self.threads:
            effort += _EFFORT_OF_A_SECOND_POOL
        if self.model != PROCESSES and self.processes > 1:
            effort += _EFFORT_OF_WORKERS
        return effort

    def at_once(self, asynchronous: bool, users: int) -> int:
        """How many of so many users' requests the application is in at the same time, at most."""
        if (asynchronous and self.model in LOOPS) or self.model in ("threaded", "forking"):
            return users
        own = self.threads if self.model in TAKES_THREADS and self.threads else 1
        return max(1, min(users, own * self.processes))


PROMISING = 0.85  # of the best capacity so far: a gauge that shows less ends the matter


class Look(Enum):
    GAUGE = "gauge"
    KNEE = "knee"
    CHECK = "check"  # the knee's result, once more, longer, on a fresh server


@dataclass(frozen=True, slots=True)
class Step:
    candidate: Candidate
    look: Look
    reason: str


@dataclass(slots=True)
class Finding:
    """What is known of a candidate."""

    candidate: Candidate
    gauge: Trial | None = None
    bracket: Bracket | None = None
    edge: Trial | None = None  # the trial at the bracket's low end
    beyond: Trial | None = None  # the one that was not held above it
    checked: bool = False

    @property
    def most(self) -> float:
        """Requests per second when it is saturated; 0 when it does not work."""
        return self.gauge.answered_per_s if self.gauge is not None and not self.gauge.answered_nothing else 0.0

    @property
    def capacity(self) -> float:
        """Requests per second within the target; 0 when unknown, or none."""
        return self.bracket.low if self.bracket is not None else 0.0

    @property
    def cpu_s(self) -> float:
        """Of the server for a request; 0 when unknown. The smaller one: noise only adds."""
        trials = [each for each in (self.edge, self.gauge) if each is not None and each.answers]
        return min((each.cpu_s for each in trials), default=0.0)

    @property
    def memory_bytes(self) -> int | None:
        """At the edge of the bracket, else when it was saturated."""
        trial = self.edge or self.gauge
        return trial.memory_bytes if trial is not None else None


@dataclass(frozen=True, slots=True)
class Situation:
    """What does not change during a search."""

    nature: Nature
    cpus: int
    users: int
    memory_bytes: int
    models: tuple[str, ...]  # that may be advised, in the order in which they were named
    named: bool = False  # by the user: each of them is looked at


@dataclass(slots=True)
class Search:
    """All findings so far, in the order in which they were made."""

    situation: Situation
    findings: dict[Candidate, Finding] = field(default_factory=dict)

    def of(self, candidate: Candidate) -> Finding:
        return self.findings.setdefault(candidate, Finding(candidate))

    @property
    def best(self) -> Finding | None:
        """The finding of the highest capacity."""
        known = [finding for finding in self.findings.values() if finding.capacity]
        return max(known, key=lambda finding: finding.capacity, default=None)

    @property
    def knows_a_knee(self) -> bool:
        return any(finding.bracket is not None for finding in self.findings.values())

    @property
    def pool(self) -> str:
        """The model whose number of threads is varied: one that has nothing else, or a loop with threads beside it."""
        models = self.situation.models
        return next((name for name in (POOL, *LOOPS[1:], LOOPS[0]) if name in models), POOL)

    def ladder(self, model: str, by: str, like: Candidate | None = None) -> list[tuple[int, Finding]]:
        """Findings that differ in `by` ("threads" or "workers") alone, in its order."""
        found = []
        for finding in self.findings.values():
            each = finding.candidate
            rest = "threads" if by == "workers" else "workers"
            same = getattr(each, rest) == (getattr(like, rest) if like is not None else None)
            number = getattr(each, by) or (1 if by == "workers" and like is not None else None)
            if each.model == model and same and number is not None and finding.gauge is not None:
                found.append((number, finding))
        return sorted(found, key=lambda pair: pair[0])

    def promises(self, candidate: Candidate) -> bool:
        """Whether its knee may come near the best."""
        finding, best = self.findings.get(candidate), self.best
        return finding is not None and (best is None or finding.most >= PROMISING * best.capacity)
