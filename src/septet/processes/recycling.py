"""When a process that serves is replaced by a fresh one: after so many requests, with so much memory, at such an age.

The limits are drawn for each process anew, so that processes that started together are not replaced together. Requests
are counted by the process itself. Memory and age are looked at by its parent, now and then.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from time import monotonic
from typing import Any

from septet.metrics.proc import proportional_bytes

JITTER = 0.1
"""Age and memory: up to so much of the limit is added, at random."""

SAMPLE_S = 5.0
"""How often the memory of a process is looked at. A look takes the kernel about a millisecond for each 100 MB."""


@dataclass(frozen=True, slots=True)
class Recycling:
    """The limits; 0: none."""

    requests: int = 0
    jitter: int = 0
    """Up to so many are added to `requests`, at random."""
    memory: int = 0
    """Bytes of its proportional set size (Pss in proc(5)): its own memory, and its share of what it shares."""
    age_s: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.requests or self.memory or self.age_s)

    def begin(self, pid: int) -> "Life":
        """For a process that starts now."""
        chance = 1.0 + random.random() * JITTER
        return Life(pid, self.memory * chance, monotonic() + self.age_s * chance if self.age_s else float("inf"))


@dataclass(slots=True)
class Life:
    """One process, as its parent sees it."""

    pid: int
    memory: float
    """Bytes; 0: no limit."""
    until: float
    """On the clock of `monotonic`."""
    asked: str = ""
    """Why the process itself has asked to be replaced; empty: it has not."""
    sampled_at: float = 0.0

    def why_over(self, now: float) -> str:
        """Why it is to be replaced; empty if it is not. `now`: on the clock of `monotonic`."""
        if self.asked:
            return self.asked
        if now >= self.until:
            return "it has reached its age (--max-worker-age)"
        if self.memory and now - self.sampled_at >= SAMPLE_S:
            self.sampled_at = now
            used = proportional_bytes(self.pid) or 0
            if used > self.memory:
                return f"it uses {used >> 20} MB (--max-worker-memory)"
        return ""

    @property
    def reason(self) -> str:
        """Why it is replaced: one of `metrics.lanes.REASONS`."""
        return "request timeout" if self.asked == TIMED_OUT else "recycled"


class RequestCount:
    """An `Observer` that counts the requests which this process has answered, in any of its threads."""

    def __init__(self, limit: int, jitter: int) -> None:
        self._limit = limit
        self._jitter = jitter
        self._over: Callable[[], None] | None = None
        self.begin(None)

    def begin(self, over: Callable[[], None] | None) -> None:
        """Count from 1 in this process, and call `over` once, in any thread, when it is enough."""
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

ANSWERED = "it has answered its number of requests (--max-requests)"
