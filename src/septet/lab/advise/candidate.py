"""One way to run the application: a process model and its numbers."""

from __future__ import annotations

from dataclasses import dataclass

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
