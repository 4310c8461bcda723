"""Measures how busy a loop is, as libuv's uv_metrics_t does, by timing each wait of the poller. The measuring starts
when `ReadinessLoop.metrics` or `ReadinessLoop.lap` is first called.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from septet.pollers import Ready

Wait = Callable[[float | None], Ready]


@dataclass(frozen=True)
class Metrics:
    """The activity of a loop since `ReadinessLoop.metrics` was first called, or since the last call of
    `ReadinessLoop.lap`.
    """

    iterations: int = 0
    """Turns (iterations) of the loop. A turn is one wait of the poller and the callbacks that run after it."""
    events: int = 0
    """Ready descriptors or completions that the poller has reported."""
    idle_s: float = 0.0
    """Seconds in which the loop waited."""
    busy_s: float = 0.0
    """Seconds in which the loop ran callbacks. busy_s / (busy_s + idle_s) is the loop's load, from 0 to 1."""
    longest_turn_s: float = 0.0
    """The longest time between two waits, in seconds: the longest that an event may have waited for its callback."""

    @property
    def mean_latency_s(self) -> float:
        """Mean time between two waits of the loop, in seconds. An event that arrives in such a time waits for its
        callback until the time is over, at the longest.
        """
        return self.busy_s / self.iterations if self.iterations else 0.0


class Meter:
    """Counts and times the calls of a poller's wait."""

    def __init__(self) -> None:
        self.iterations = self.events = 0
        self.idle_s = self.busy_s = self.longest_turn_s = 0.0
        self._longest_of_lap_s = 0.0
        self._lap = Metrics()
        """The counts as they were at the last call of `lap`; the next call returns the difference."""
        self._since = monotonic()

    def around(self, wait: Wait) -> Wait:
        """Return a function that calls `wait`, and counts here how often, how long each call took, and how many events
        it returned.
        """

        def counted(timeout_s: float | None) -> Ready:
            before = monotonic()
            events = wait(timeout_s)
            now = monotonic()
            self._count(before - self._since, now - before, len(events))
            self._since = now
            return events

        return counted

    def _count(self, turn_s: float, waited_s: float, events: int) -> None:
        self.iterations += 1
        self.events += events
        self.idle_s += waited_s
        self.busy_s += turn_s
        if turn_s > self._longest_of_lap_s:
            self._longest_of_lap_s = turn_s
            if turn_s > self.longest_turn_s:
                self.longest_turn_s = turn_s

    def start_turn(self) -> None:
        """Called when the loop starts to run. The time from its last stop until now counts neither as idle nor as
        busy.
        """
        self._since = monotonic()

    def read(self) -> Metrics:
        """Return the counts from when this meter was made until the loop's last wait."""
        return Metrics(self.iterations, self.events, self.idle_s, self.busy_s, self.longest_turn_s)

    def lap(self) -> Metrics:
        """Return the counts since the last call of `lap`, or since this meter was made."""
        was, now = self._lap, self.read()
        longest_s, self._longest_of_lap_s = self._longest_of_lap_s, 0.0
        self._lap = now
        return Metrics(
            now.iterations - was.iterations,
            now.events - was.events,
            now.idle_s - was.idle_s,
            now.busy_s - was.busy_s,
            longest_s,
        )
