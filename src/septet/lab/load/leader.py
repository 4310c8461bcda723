"""What leads several processes through one run: they begin the window at one instant, and their counts are added up.

How it hears of them and speaks to them is its subclasses' affair: by pipes on this machine, or over a network.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

from .loop import Notify
from .plan import Plan
from .warmup import Warmup


class Led(Protocol):
    """One process, as far as it has told of itself."""

    answers: int
    raw: dict[str, Any] | None


Member = TypeVar("Member", bound=Led)


class Leader(ABC, Generic[Member]):
    """What the members have told, and what is to be said next."""

    lead_ns: int  # from a cue to its instant, so that each process hears it in time

    def __init__(self, plan: Plan, notify: Notify) -> None:
        self._plan = plan
        self._notify = notify
        self._told: Counter[str] = Counter()
        self._warmup: Warmup | None = Warmup(plan.warmup_s, plan.warmup_max_s)
        self.members: list[Member] = []

    @abstractmethod
    def _tell(self, instants_ns: Sequence[int]) -> None:
        """Tell each member its instant of our clock."""

    def hear(self, member: Member, event: str, details: dict[str, Any]) -> None:
        """What a member said."""
        if event == "raw":
            member.raw = details
            return
        if event == "progress":
            member.answers = details["answers"]
            self._progress(sum(each.answers for each in self.members))
            return
        self._told[event] += 1
        if self._told[event] == len(self.members):
            if event == "ready":
                self._align()
            else:
                self._notify(event, {})

    def _progress(self, answers: int) -> None:
        self._notify("progress", {"answers": answers})
        came = self._told["ready"] == len(self.members)
        if came and self._warmup is not None and self._warmup.over(time.monotonic(), answers):
            self._warmup = None
            self._tell([time.monotonic_ns() + self.lead_ns] * len(self.members))

    def _align(self) -> None:
        """Spread what becomes due over the processes, in turns."""
        first_ns = time.monotonic_ns() + self.lead_ns
        interval_ns = 0 if self._plan.rate is None else 1e9 / self._plan.rate
        self._tell([first_ns + int(index * interval_ns) for index in range(len(self.members))])
