"""Reports during a run what was counted in each second, by the event "second"; for a plan with `seconds`.

A piece is what one report covers: a second of the monotonic clock, which all processes of a machine share, or the part
of a second that belongs to one phase: "arrival" of the users, "warm-up", "measured", and "after" it, while answers are
awaited. So pieces of several processes can be added, and those of the phases "measured" and "after" have exactly the
latencies of the run's figures.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from .histogram import Histogram
from .tally import Tally, packed, unpacked

PHASES = ("arrival", "warm-up", "measured", "after")
SECOND_NS = 1_000_000_000
clock = time.monotonic_ns

Piece = dict[str, Any]


class Counted(Protocol):
    """The attributes of the load generator's loop that `Seconds` reads to report what was counted in each second."""

    tally: Tally
    warmup: Tally

    def under_way(self) -> int: ...


class Seconds:
    """Reports what one process counts, second by second (see the module). The loop calls `look` many times a second,
    and `begin` at each phase.
    """

    def __init__(self, loop: Counted, tell: Callable[[Piece], None]) -> None:
        self._loop = loop
        self._tell = tell
        self._phase = PHASES[0]
        self._begun_ns = clock()
        self._counted = self._count()
        self.next_ns = _next_second(self._begun_ns)
        """When `look` will make the next report, in ns of the monotonic clock."""

    def look(self, now: int) -> None:
        if now >= self.next_ns:
            self._end(now)

    def begin(self, phase: str, reset: Callable[[], None] = lambda: None) -> None:
        """Report what was counted since the last report, and begin to count for another phase of the run. Between the
        two `reset` is called, which may set the counts of the loop to zero.
        """
        self._end(clock())
        reset()
        self._phase = phase
        self._counted = self._count()

    def end(self) -> None:
        """Report what was counted since the last report; called at the end of the run."""
        self._end(clock())

    def _end(self, now: int) -> None:
        before, counted = self._counted, self._count()
        if now > self._begun_ns:
            self._tell(
                {
                    "number": self._begun_ns // SECOND_NS,
                    "phase": self._phase,
                    "begun_ns": self._begun_ns,
                    "ended_ns": now,
                    "under_way": self._loop.under_way(),
                    **counted.since(before),
                }
            )
        self._begun_ns, self._counted = now, counted
        self.next_ns = _next_second(now)

    def _count(self) -> _Counts:
        tallies = {id(tally): tally for tally in (self._loop.warmup, self._loop.tally)}.values()
        return _Counts(
            {name: sum(tally.counts[name] for tally in tallies) for name in ("due", "no_free_connection")},
            sum(tally.answers for tally in tallies),
            sum((tally.errors for tally in tallies), Counter()),
            self._loop.tally.latencies(),
        )


class _Counts:
    """The counts of a process from its beginning up to an instant; `since` subtracts earlier ones."""

    def __init__(self, counts: dict[str, int], answers: int, errors: Counter[str], latencies: Histogram) -> None:
        self._counts, self._answers, self._errors, self._latencies = counts, answers, errors, latencies

    def since(self, before: _Counts) -> dict[str, Any]:
        counts = {name: count - before._counts[name] for name, count in self._counts.items()}
        latencies = self._latencies.since(before._latencies)
        errors = dict(self._errors - before._errors)
        return {**counts, "answers": self._answers - before._answers, "errors": errors, "latency": packed(latencies)}


def _next_second(now: int) -> int:
    return (now // SECOND_NS + 1) * SECOND_NS


def merged(pieces: Sequence[Piece]) -> Piece:
    """Return the sum of the reports of several processes about the same second and phase."""
    added = {
        name: sum(piece[name] for piece in pieces) for name in ("due", "no_free_connection", "answers", "under_way")
    }
    return {
        "number": pieces[0]["number"],
        "phase": pieces[0]["phase"],
        "begun_ns": min(piece["begun_ns"] for piece in pieces),
        "ended_ns": max(piece["ended_ns"] for piece in pieces),
        **added,
        "errors": dict(sum((Counter(piece["errors"]) for piece in pieces), Counter())),
        "latency": packed(unpacked(*(piece["latency"] for piece in pieces))),
        "processes": len(pieces),
    }


class Merger:
    """Adds up the reports of several processes about the same second and phase, and passes on the sum when no process
    can add to it any more.
    """

    def __init__(self, processes: int, tell: Callable[[Piece], None]) -> None:
        self._tell = tell
        self._waiting: dict[tuple[int, int], list[Piece]] = {}
        self._reached = dict.fromkeys(range(processes), (-1, 0))
        """For each process that will report more, by its number: the second and the phase of its last report, as
        (number of the second, index in PHASES).
        """

    def receive(self, process: int, piece: Piece) -> None:
        key = (piece["number"], PHASES.index(piece["phase"]))
        self._waiting.setdefault(key, []).append(piece)
        self._reached[process] = key
        self._tell_complete()

    def finish(self, process: int) -> None:
        """Note that the process with this number will report no more, and pass on the sums that only waited for its
        reports.
        """
        self._reached.pop(process, None)
        self._tell_complete()

    def _tell_complete(self) -> None:
        complete = min(self._reached.values(), default=None)
        for key in sorted(self._waiting):
            if complete is None or key <= complete:
                self._tell(merged(self._waiting.pop(key)))
