"""The event loop under the closed and the open loop: waits for events, handles time-outs and back-offs, reports
progress.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from .connections import Connections
from .limits import Route
from .plan import Plan
from .seconds import Seconds
from .slow import SlowClients

Notify = Callable[[str, dict[str, Any]], None]

CHORES_NS = 50_000_000
"""Nanoseconds between two rounds of regular tasks: letting users who paused after an error go on, checking for
time-outs, reporting progress, and serving the slow clients.
"""
EXPIRY_NS = 250_000_000
"""Nanoseconds between two checks of all users for time-outs, or a tenth of the time-out if that is less. A check of
15,000 users takes a millisecond.
"""
PROGRESS_NS = 250_000_000
clock = time.monotonic_ns


def never() -> bool:
    return False


class Loop(Connections):
    """Runs all connections of a process: waits for their events, and does regular tasks such as time-outs. Subclasses
    decide when requests are sent.
    """

    def __init__(self, plan: Plan, route: Route, notify: Notify) -> None:
        super().__init__(plan, route)
        self._notify = notify
        self._expiry_ns = min(EXPIRY_NS, int(plan.timeout_s * 1e8))
        self._next_chores_ns = self._next_expiry_ns = self._next_progress_ns = 0
        self._completed_before = 0
        self._completed_at_end: int | None = None
        self._ended_ns = 0
        self._slow = SlowClients(plan, route) if plan.slow else None
        self._seconds = Seconds(self, lambda piece: notify("second", piece)) if plan.seconds else None

    @abstractmethod
    def _events(self, now: int, until_ns: int) -> list[tuple[int, int]]:
        """Send the requests that are due, then wait for events, at most until the instant `until_ns`, which is after
        `now`. Returns epoll's pairs (descriptor, events).
        """

    @abstractmethod
    def all_arrived(self) -> bool:
        """True when the warm-up may begin: every user has had a first answer, or none has come for so long that the
        loop waits for no more of them.
        """

    def release(self) -> None:
        """Let the users who wait for others to arrive (to get a first answer) send their next request. Called when the
        warm-up begins, and again when the measured window begins. A loop whose users never wait for each other does
        nothing.
        """

    def align(self, first_ns: int) -> None:
        """Make the next request due at `first_ns`, in ns of the monotonic clock. A loop without a rate does nothing,
        because its users send when they have an answer. Processes that share a rate get different instants, so that
        their requests alternate.
        """

    def run_until(self, end_ns: int, done: Callable[[], bool] = never, chores_ns: int = CHORES_NS) -> None:
        """Handle events until the instant `end_ns`, in ns of the monotonic clock, or until `done` returns True. `done`
        is called every `chores_ns` nanoseconds.
        """
        by_fd = self._by_fd
        self._next_chores_ns = 0
        while (now := clock()) < end_ns:
            if now >= self._next_chores_ns:
                self._next_chores_ns = now + chores_ns
                self._chores(now)
                if self._seconds is not None:
                    self._next_chores_ns = min(self._next_chores_ns, self._seconds.next_ns)
                if done():
                    return
            until_ns = self._next_chores_ns if self._next_chores_ns < end_ns else end_ns
            for fd, events in self._events(now, until_ns):
                user = by_fd.get(fd)
                if user is None:
                    self._closing.close(fd)
                elif user.unsent:
                    self._send(user)
                else:
                    self._receive(user, events)

    def _chores(self, now: int) -> None:
        self._rested(now)
        if now >= self._next_expiry_ns:
            self._next_expiry_ns = now + self._expiry_ns
            self._expire(now)
        if now >= self._next_progress_ns:
            self._next_progress_ns = now + PROGRESS_NS
            self._notify(
                "progress", {"answers": self.completed}
            )  # counting settles the histograms, which is cheaper the more is settled at once
        if self._slow is not None:
            self._slow.turn()
        if self._seconds is not None:
            self._seconds.look(now)

    def begin_phase(self, phase: str) -> None:
        """Report what was counted in the phase that ends, and count for `phase`, one of `seconds.PHASES`, from now on.
        This does nothing unless `Plan.seconds` asks for reports once a second.
        """
        if self._seconds is not None:
            self._seconds.begin(phase)

    def end_phases(self) -> None:
        """Report the counts of the last, incomplete second of the run, if `Plan.seconds` asks for reports once a
        second. Called at the end of the run: what comes later is in no report.
        """
        if self._seconds is not None:
            self._seconds.end()

    @property
    def completed(self) -> int:
        """Number of right answers that came in the measured window, or, before it, since the run began. Answers to
        requests that were due before the window count too.
        """
        if self._completed_at_end is not None:
            return self._completed_at_end
        total = self.tally.answers + (self.warmup.answers if self.warmup is not self.tally else 0)
        return total - self._completed_before

    def measure(self) -> None:
        """Begin the measured window: answers and errors are counted anew, apart from those of the warm-up."""
        self._completed_before = self.completed
        if self._slow is not None:
            self._slow.reset()
        if self._seconds is not None:
            self._seconds.begin("measured", self._renew)
        else:
            self._renew()

    def _renew(self) -> None:
        self.tally = self._new_tally()

    def end(self) -> None:
        """End the measured window: answers that come later do not count towards the rate (`completed`), nor does CPU
        time that this process uses later.
        """
        self._completed_at_end = self.completed
        self._ended_ns = clock()
        self.tally.stop()
        self.begin_phase("after")

    def _under_way(self) -> list[int]:
        """Return, for each request that has no answer yet, the instant at which it was due, in ns of the monotonic
        clock.
        """
        return [user.due_ns for user in self.users if user.due_ns]

    def under_way(self) -> int:
        """Return how many requests have no answer yet."""
        return len(self._under_way())

    def _never_answered(self) -> int:
        return sum(not user.arrived for user in self.users)

    def raw(self) -> dict[str, Any]:
        """Return all counts of the run, as values for JSON; `tally.figures` computes the figures from them."""
        now = clock()
        ended_ns = self._ended_ns or now
        unanswered = [now - since_ns for since_ns in self._under_way()]
        return {
            **self.tally.raw(),
            "begun_ns": self.tally.begun_ns,
            "window_s": (ended_ns - self.tally.begun_ns) / 1e9,
            "completed": self.completed,
            # Requests under way at the end are in no percentile: without these a stalled server would look fast.
            "unanswered": len(unanswered),
            "longest_unanswered_us": max(unanswered, default=0) // 1000,
            "users_never_answered": self._never_answered(),
            "expected_lengths": [target.expected_length for target in self._targets],
            "warmup": {"answers": self.warmup.answers, "errors": dict(self.warmup.errors)},
            "error_text": self.error_text,
            "slow": None if self._slow is None else self._slow.raw(),
        }

    def close(self) -> None:
        super().close()
        if self._slow is not None:
            self._slow.close()
