"""Decides when a process that serves is replaced by a fresh one: after a number of requests, at an amount of memory, or
at an age.

Each process draws its limits at random, so that processes that started together are not replaced together. A process
counts its requests itself; its parent checks memory and age from time to time.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from time import monotonic
from typing import Any

from septet.metrics.proc import proportional_bytes

JITTER = 0.1
"""The limits of age and memory are increased at random by up to this share of the limit (0.1 is a tenth), for
each process anew, so that processes are not all replaced at the same time.
"""

SAMPLE_S = 5.0
"""Seconds between two looks at a process's memory. A look takes the kernel about a millisecond for each 100 MB."""


@dataclass(frozen=True, slots=True)
class Recycling:
    """The configured limits (number of requests, memory, age) at which a process that serves is replaced by a fresh
    one; 0 means that there is no such limit.
    """

    requests: int = 0
    jitter: int = 0
    """The number of requests after which a process is replaced is increased at random by up to this number."""
    memory: int = 0
    """Limit in bytes of a process's proportional set size (Pss in proc(5)): its own memory, and its share of the memory
    that it has in common with others. A process above the limit is replaced by a fresh one; 0: no limit.
    """
    age_s: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.requests or self.memory or self.age_s)

    def begin(self, pid: int) -> "Life":
        """Return the limits of memory and age for the process `pid`, which starts now. They are the configured ones,
        increased at random by up to the share JITTER, so that processes that started together are not replaced
        together.
        """
        chance = 1.0 + random.random() * JITTER
        return Life(pid, self.memory * chance, monotonic() + self.age_s * chance if self.age_s else float("inf"))


@dataclass(slots=True)
class Life:
    """The limits of memory and age of one process, at which it is replaced by a fresh one. The parent of that process
    keeps this object and checks the limits from time to time.
    """

    pid: int
    memory: float
    """Limit of the process's memory in bytes; 0: no limit."""
    until: float
    """The time at which the process has reached its greatest age and is replaced, in seconds on the clock of
    `time.monotonic`; infinite: no limit.
    """
    asked: str = ""
    """Why the process itself has asked to be replaced; empty if it has not."""
    sampled_at: float = 0.0

    def why_over(self, now: float) -> str:
        """Return why the process is to be replaced, as text; "" if it is not. `now`: on `time.monotonic`'s clock."""
        if self.asked:
            return self.asked
        if now >= self.until:
            return "it has reached its age (--max-worker-age)"
        if self.memory and now - self.sampled_at >= SAMPLE_S:
            self.sampled_at = now
            used = proportional_bytes(self.pid) or 0
            if used > self.memory:
                limit = f"{self.memory / (1 << 20):.1f} MB (--max-worker-memory, and at random up to {JITTER:.0%} more)"
                return f"it uses {used / (1 << 20):.1f} MB, and its limit is {limit}"
        return ""

    @property
    def reason(self) -> str:
        """The reason for which the process is replaced, as the metrics name it: "request timeout" if one of its
        requests has exceeded `--request-timeout` and keeps its thread, else "recycled".
        """
        return "request timeout" if self.asked == TIMED_OUT else "recycled"


class RequestCount:
    """Counts the requests that this process has answered, in any of its threads, and reports when `--max-requests` is
    reached. It is a `rules.Observer`: sessions tell it when an answer has ended.
    """

    def __init__(self, limit: int, jitter: int) -> None:
        self._limit = limit
        self._jitter = jitter
        self._over: Callable[[], None] | None = None
        self.begin(None)

    def begin(self, over: Callable[[], None] | None) -> None:
        """Start counting from 0 in this process. `over`: called once, in the thread that answers the request with which
        the limit is reached; None: nothing is called.
        """
        self._over = over
        self._count = count(1).__next__  # atomic, other than an addition
        self._last = self._limit + random.randint(0, self._jitter)

    def began(self, exchange: Any) -> None:
        pass

    def closed(self, exchange: Any) -> None:
        pass

    def ended(self, exchange: Any) -> None:
        if self._count() == self._last and self._over is not None:
            self._over()


TIMED_OUT = "a request that exceeds --request-timeout keeps its thread"

SPREAD = "it is busy while others are not, and its clients are to connect anew, to all of them (--workers)"

ANSWERED = "it has answered its number of requests (--max-requests)"
