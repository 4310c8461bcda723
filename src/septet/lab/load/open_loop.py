"""The open loop: requests are due at fixed instants, even if earlier ones have no answer yet.

A latency counts from the instant at which the request was due, so that a server that stalls cannot hide it by keeping
its users from sending requests (Tene's coordinated omission). The service time counts from when a user was free to send
the request. A request that finds all users busy waits until one is free; the number of such requests is reported.
"""

from __future__ import annotations

import contextlib
import math
import random
import select
import time
from collections import deque
from pathlib import Path

from .answer import Framing
from .limits import Route
from .loop import Loop, Notify
from .plan import Plan
from .state import User
from .tally import Tally

COARSE_NS = 2_000_000
"""Nanoseconds. A wait for the next request that is shorter uses select(2), because epoll_wait(2) counts in
milliseconds, to which Python rounds up.
"""
NEVER_NS = 1 << 62
clock = time.monotonic_ns


class Schedule:
    """The instants at which the requests of a rate are due.

    Each request has a mark, and is due when the integral of the rate over time (the number of requests expected so far)
    reaches it. Marks are 0, 1, 2, ... for uniform arrivals; for a Poisson process the distances between them are
    exponential with a mean of 1. So both kinds of arrivals follow a ramp, in which the rate grows evenly from nothing.
    """

    def __init__(self, plan: Plan) -> None:
        assert plan.rate is not None, "a plan without a rate is for the closed loop"
        self._rate = plan.rate
        self._ramp_s = plan.ramp_s
        self._poisson = plan.arrivals == "poisson"
        self._mark = 0.0
        self._first_ns = self.due_ns = clock()
        """`_first_ns` is when the schedule begins, `due_ns` when the next request is due; both in ns of the monotonic
        clock.
        """

    def begin(self, first_ns: int) -> None:
        """Start the schedule at `first_ns`, in ns of the monotonic clock. With uniform arrivals the first request is
        due at that instant, with random ones a random time later.
        """
        self._first_ns = first_ns
        self._mark = random.expovariate(1.0) if self._poisson else 0.0
        self.due_ns = first_ns + self._offset_ns()

    def advance(self) -> None:
        """Move to the next request: the one that was due has been sent."""
        self._mark += random.expovariate(1.0) if self._poisson else 1.0
        self.due_ns = self._first_ns + self._offset_ns()

    def _offset_ns(self) -> int:
        """Return how many ns after the beginning the integral of the rate reaches the mark of the next request. In a
        ramp of T seconds up to the rate R the integral is R t² / 2T.
        """
        in_ramp = self._rate * self._ramp_s / 2
        if self._mark < in_ramp:
            return int(math.sqrt(2 * self._mark * self._ramp_s / self._rate) * 1e9)
        return int((self._ramp_s + (self._mark - in_ramp) / self._rate) * 1e9)


class OpenLoop(Loop):
    """Sends requests at a fixed rate, each by the user who has been free longest. A request for which no user is free
    waits, and its latency counts from when it was due."""

    def __init__(self, plan: Plan, route: Route, notify: Notify) -> None:
        super().__init__(plan, route, notify)
        self._schedule = Schedule(plan)
        self._last_ns = NEVER_NS
        """Instant from which on no request becomes due, in ns of the monotonic clock."""
        self._idle = deque(self.users)
        self._late: deque[int] = deque()
        """When each request that waits for a free user was due, in ns of the monotonic clock; the oldest first."""
        self._begun_ns = 0
        """When the measured window began, in ns of the monotonic clock."""
        _keep_time_exactly()

    def align(self, first_ns: int) -> None:
        """Start the schedule of the requests at the instant `first_ns`, in ns of the monotonic clock."""
        self._schedule.begin(first_ns)

    def _events(self, now: int, until_ns: int) -> list[tuple[int, int]]:
        wait_ns = min(self._send_due(now), until_ns) - now
        if wait_ns >= COARSE_NS:
            return self._epoll.poll((wait_ns - 1_000_000) // 1_000_000 / 1e3)
        if wait_ns > 0:
            select.select([self._epoll], [], [], wait_ns / 1e9)  # select(2) can wait for an epoll descriptor
        return self._epoll.poll(0)

    def _send_due(self, now: int) -> int:
        """Send the requests that are due at `now`; returns the instant at which the next one is due.

        Requests that become due meanwhile are left for the next call; otherwise, at too high a rate, a call would never
        end.
        """
        until_ns, schedule = now, self._schedule
        while (due_ns := schedule.due_ns) <= until_ns:
            if due_ns >= self._last_ns:
                return NEVER_NS
            schedule.advance()
            tally = self._tally_of(due_ns)
            tally.counts["due"] += 1
            if self._idle:
                tally.late.append(now - due_ns)
                self._begin(self._idle.popleft(), now, due_ns)
            else:
                tally.counts["no_free_connection"] += 1
                self._late.append(due_ns)
            now = clock()
        return due_ns

    def _tally_of(self, due_ns: int) -> Tally:
        """Return the tally (the counts) to which a request belongs that was due at `due_ns`: that of the measured
        window if this instant is in it, else that of the warm-up, even if the answer comes in the window.
        """
        return self.tally if due_ns >= self._begun_ns else self.warmup

    def _free(self, user: User, now: int, /) -> None:
        if self._late:
            self._begin(user, now, self._late.popleft())
        else:
            self._idle.append(user)

    def _begin(self, user: User, now: int, due_ns: int = 0) -> None:
        super()._begin(user, now, due_ns)
        user.series = self._tally_of(due_ns).series[user.target.index]

    def _complete(self, user: User, framing: Framing, body_bytes: int, now: int, events: int) -> None:
        user.series.due.append(now - user.due_ns)
        super()._complete(user, framing, body_bytes, now, events)

    def _expire(self, now: int) -> None:
        super()._expire(now)
        oldest = now - int(self._plan.timeout_s * 1e9)
        while self._late and self._late[0] < oldest:
            self._tally_of(self._late.popleft()).errors["no free connection"] += 1

    def all_arrived(self) -> bool:
        return True  # users connect when they are needed

    def measure(self) -> None:
        super().measure()
        self._begun_ns = self.tally.begun_ns

    def end(self) -> None:
        """End the measured window: no more requests become due. The method then waits, for at most `Plan.timeout_s`
        seconds, until the requests that were due in the window have their answers.
        """
        super().end()
        self._last_ns = min(self._ended_ns, self._begun_ns + int(self._plan.duration_s * 1e9))
        self._send_due(clock())  # what was due, and was not sent because this process did not run
        self.run_until(clock() + int(self._plan.timeout_s * 1e9), self._all_answered)

    def _under_way(self) -> list[int]:
        return [*super()._under_way(), *self._late]

    def _never_answered(self) -> int:
        return 0  # users who were not needed do not count

    def _all_answered(self) -> bool:
        return not self._late and len(self._idle) + len(self._resting) == len(self.users)


def _keep_time_exactly() -> None:
    """Set this process's timer slack to 1 ns, so that the kernel does not wake it up to 50 µs late (timerslack_ns,
    proc(5))."""
    with contextlib.suppress(
        OSError
    ):  # hidden in some containers; requests are then sent that much late, which the figures show
        Path("/proc/self/timerslack_ns").write_text("1")
