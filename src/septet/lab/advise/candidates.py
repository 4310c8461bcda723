"""Candidates (a process model with its workers, loops and threads), and what the search has measured of each so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from septet.lab.advise.capacity_search import Bracket
from septet.lab.advise.trial import Trial
from septet.lab.advise.workload_profile import WorkloadProfile
from septet.lab.pool import THREADS_PER_CPU

LOOPS = ("poll", "epoll", "io_uring")
"""Models with one event loop for all clients. They run a WSGI application in a pool of threads, one of which runs the
loop at any time.
"""
POOL = "prethreaded"
PROCESSES = "preforked"
TAKES_THREADS = (*LOOPS, POOL)

# Effort: how many numbers there are to choose, and how many things can go wrong. Of two candidates that carry the same,
# the one with the least effort is advised.
_EFFORT = {"epoll": 0, "poll": 1, "io_uring": 1, POOL: 2, "threaded": 3, PROCESSES: 3, "iterative": 4, "forking": 5}
_EFFORT_OF_A_NUMBER = 1
"""Added to `Candidate.effort` for a candidate with an event loop whose number of threads is given: that number has to
be chosen.
"""
_EFFORT_OF_WORKERS = 2
_EFFORT_OF_LOOPS = 3
"""Added for a candidate with several event loops in a process: more than workers, because other requests run at the
same time wherever the application's code is, coroutines included, and because one crash ends all of them.
"""
_UNKNOWN_EFFORT = 4


@dataclass(frozen=True, slots=True)
class Candidate:
    """A process model with numbers of workers, threads and loops; None where the option is not given and `septet serve`
    chooses.
    """

    model: str
    workers: int | None = None
    threads: int | None = None
    loops: int | None = None
    """Event loops in each process (--loops), for models in LOOPS on a Python without a global lock (the GIL).
    `threads` is a number for each of them.
    """

    @property
    def label(self) -> str:
        """The candidate as text: "epoll, 2 workers, 16 threads"."""
        numbers = [("worker", self.workers), ("loop", self.loops), ("thread", self.threads)]
        told = [f"{n} {word}{'s' * (n != 1)}" for word, n in numbers if n is not None]
        each = " each" if self.loops and self.threads is not None else ""
        return ", ".join([self.model, *told]) + each

    @property
    def setting(self) -> tuple[tuple[str, str], ...]:
        """(name without --, value) of each option of `septet serve` for this candidate, except --model."""
        numbers = (("workers", self.workers), ("loops", self.loops), ("threads", self.threads))
        return tuple((name, str(number)) for name, number in numbers if number is not None)

    @property
    def options(self) -> list[str]:
        """The options of `septet serve` for this candidate, as words of the command line."""
        return ["--model", self.model, *(word for name, number in self.setting for word in (f"--{name}", number))]

    @property
    def processes(self) -> int:
        return self.workers or 1

    @property
    def is_loop_alone(self) -> bool:
        """True for an event loop that calls a WSGI application itself (--threads 0). It is measured only to say what
        threads cost, and never advised, since one call that waits holds up all clients.
        """
        return self.model in LOOPS and self.threads == 0

    @property
    def effort(self) -> int:
        """How much there is to configure and to watch in production, as a number to compare candidates by: 0 is the
        least."""
        effort = _EFFORT.get(self.model, _UNKNOWN_EFFORT)
        if self.model in LOOPS and self.threads:
            effort += _EFFORT_OF_A_NUMBER
        if self.model != PROCESSES and self.processes > 1:
            effort += _EFFORT_OF_WORKERS
        if (self.loops or 1) > 1:
            effort += _EFFORT_OF_LOOPS
        return effort

    def at_once(self, asynchronous: bool, users: int, cpus: int = 1) -> int:
        """Return the largest number of requests that the application handles at the same time while `users` clients
        send requests.

        `asynchronous`: True for an ASGI application. `cpus`: the number of the server's CPUs, by which `septet serve`
        chooses the number of threads if none is given.
        """
        if (asynchronous and self.model in LOOPS) or self.model in ("threaded", "forking"):
            return users
        own = 1
        if self.model in TAKES_THREADS:
            own = THREADS_PER_CPU * cpus if self.threads is None else max(1, self.threads) * (self.loops or 1)
        return max(1, min(users, own * self.processes))

    def cpus_at_most(self, situation: Situation) -> int:
        """Return the largest number of the server's CPUs that the candidate's Python code can use at the same time.

        With a GIL that is one for each process. Without, each thread can use one. An ASGI application runs on loops
        alone, one in each process unless there are more.
        """
        own = 1
        if not situation.has_gil and situation.profile.asynchronous:
            own = self.loops or 1
        elif not situation.has_gil and self.model in (*TAKES_THREADS, "threaded"):
            own = max(self.loops or 1, self.at_once(False, situation.users, situation.cpus) // self.processes)
        return max(1, min(situation.cpus, own * self.processes))


PROMISING = 0.85
"""A candidate gets no capacity search if its rate in the saturation run (under as much load as it can serve) is less
than this share of the best capacity so far.
"""


SEARCHES_MIN = 2
"""Least number of capacity searches before the advice says that no candidate meets the target, even if the
time is up.
"""


class Look(Enum):
    """The ways to measure a candidate in one step of the search."""

    SATURATION = "saturation"
    """Load by as many users as the candidate can serve, who send the next request when they have an answer: shows the
    highest rate.
    """
    CAPACITY = "capacity"
    """A series of trials at given rates: finds the highest rate at which the latency target is met."""
    CHECK = "check"
    """Another trial at the rate that the capacity search has found, for longer, on a fresh server."""


@dataclass(frozen=True, slots=True)
class Step:
    candidate: Candidate
    look: Look
    reason: str


@dataclass(slots=True)
class Finding:
    """What has been measured of a candidate. Fields are None until the trials that set them are made."""

    candidate: Candidate
    saturation: Trial | None = None
    """The trial that shows the highest rate, without regard to latency."""
    bracket: Bracket | None = None
    """The result of the capacity search: two rates, between which the capacity lies."""
    highest_held: Trial | None = None
    """The trial at the highest rate that met the target."""
    lowest_failed: Trial | None = None
    """The trial at the lowest rate, above that of `highest_held`, that did not meet the target."""
    checked: bool = False
    """True once the result of the capacity search has been checked on a fresh server."""

    @property
    def most(self) -> float:
        """Requests per second in the saturation run (under as much load as the candidate can serve); 0 if that was not
        made, failed, or had no answer.
        """
        run = self.saturation
        return run.answered_per_s if run is not None and not run.answered_nothing else 0.0

    @property
    def capacity(self) -> float:
        """The capacity: the highest rate in requests per second that met the target. 0 when it is unknown, or when no
        rate did.
        """
        return self.bracket.low if self.bracket is not None else 0.0

    @property
    def cpu_s(self) -> float:
        """CPU seconds of the server for a request; 0 if unknown.

        It is the lower one of the values in `highest_held` and `saturation`, because noise only adds CPU time.
        """
        trials = [each for each in (self.highest_held, self.saturation) if each is not None and each.answers]
        return min((each.cpu_s for each in trials), default=0.0)

    @property
    def memory_bytes(self) -> int | None:
        """Peak memory of all server processes, in bytes (PSS, or RSS where PSS is unknown).

        Measured in the trial at the highest rate that met the target; without such a trial, in the saturation run. None
        if neither was made, or that trial has no value.
        """
        trial = self.highest_held or self.saturation
        return trial.memory_bytes if trial is not None else None


@dataclass(frozen=True, slots=True)
class Situation:
    """The facts that do not change during a search."""

    profile: WorkloadProfile
    cpus: int
    """Number of CPUs that the server may use."""
    users: int
    """Simultaneous connections of the load generator."""
    memory_bytes: int
    """Memory that the server may use, in bytes."""
    models: tuple[str, ...]
    """Models that may be advised, in the order in which --models names them, or else in that of `septet models`."""
    named: bool = False
    """True if --models named the models: then each of them is measured."""
    has_gil: bool = True
    """False if threads of the server run at the same time: its Python is a free-threaded build, and no extension module
    of the application has turned the global lock (the GIL) on.
    """
    gil_turned_on_by: str | None = None
    """The extension module that has turned the GIL on in a free-threaded build; None: none has."""


@dataclass(slots=True)
class Search:
    """The state of a search: all findings so far, in the order in which they were made."""

    situation: Situation
    findings: dict[Candidate, Finding] = field(default_factory=dict)

    def of(self, candidate: Candidate) -> Finding:
        return self.findings.setdefault(candidate, Finding(candidate))

    @property
    def best(self) -> Finding | None:
        """The finding with the highest capacity; None if no candidate has one."""
        known = [finding for finding in self.findings.values() if finding.capacity]
        return max(known, key=lambda finding: finding.capacity, default=None)

    @property
    def knows_a_capacity(self) -> bool:
        """True if the search may end when its time is up: a candidate has met the target at some rate, or SEARCHES_MIN
        capacity searches have found no such rate.
        """
        searched = sum(finding.bracket is not None for finding in self.findings.values())
        return self.best is not None or searched >= SEARCHES_MIN

    @property
    def pool(self) -> str:
        """The model that is used to find the number of threads: prethreaded, or, if that may not be advised, one with
        an event loop.
        """
        models = self.situation.models
        return next((name for name in (POOL, *LOOPS[1:], LOOPS[0]) if name in models), POOL)

    def ladder(self, model: str, by: str, like: Candidate | None = None) -> list[tuple[int, Finding]]:
        """Return (number, finding) of those candidates of `model` that have had a saturation run and differ from each
        other in one number only: that of `by`, "threads", "workers" or "loops". The pairs are sorted by that number.

        Their other numbers are equal to those of the candidate `like`; without `like` they are None, which means that
        `septet serve` chooses them.
        """
        found = []
        rest = [name for name in ("workers", "threads", "loops") if name != by]
        for finding in self.findings.values():
            each = finding.candidate
            same = all(getattr(each, name) == (getattr(like, name) if like is not None else None) for name in rest)
            number = getattr(each, by) or (1 if by != "threads" and like is not None else None)
            if each.model == model and same and number is not None and finding.saturation is not None:
                found.append((number, finding))
        return sorted(found, key=lambda pair: pair[0])

    def promises(self, candidate: Candidate) -> bool:
        """True if the candidate is worth a capacity search: its rate in the saturation run (under as much load as it
        can serve) is at least PROMISING times the best capacity so far, or no capacity is known yet.
        """
        finding, best = self.findings.get(candidate), self.best
        return finding is not None and (best is None or finding.most >= PROMISING * best.capacity)
