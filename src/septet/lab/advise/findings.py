"""What is known while the search goes on: of each candidate, and of the application and the machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from septet.lab.advise.candidate import LOOPS, POOL, Candidate
from septet.lab.advise.knee import Bracket
from septet.lab.advise.nature import Nature
from septet.lab.advise.trial import Trial

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
