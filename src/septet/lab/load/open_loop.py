"""The open loop: requests are due at fixed instants, whatever became of those before.

A latency counts from the instant at which the request was due, so that a server which stalls cannot hide it by keeping
its users from asking (Tene's coordinated omission). Beside it stands the service time, from when a user was free to
send the request. A request that finds all users busy waits for one, and is counted.
"""

from __future__ import annotations

import contextlib
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

COARSE_NS = 2_000_000  # epoll_wait(2) counts milliseconds, and Python rounds up to the next one
NEVER_NS = 1 << 62
clock = time.monotonic_ns


class OpenLoop(Loop):
    """Requests at a fixed rate, sent by whoever of the users is free; who has been free longest comes first."""

    def __init__(self, plan: Plan, route: Route, notify: Notify) -> None:
        super().__init__(plan, route, notify)
        assert plan.rate is not None, "a plan without a rate is for the closed loop"
        self._interval_ns = 1e9 / plan.rate
        self._first_ns = clock()
        self._sent = 0  # requests that have become due
        self._last_ns = NEVER_NS  # after which none becomes due
        self._idle = deque(self.users)
        self._late: deque[int] = deque()  # due instants of requests that wait for a user
        self._begun_ns = 0  # of the measured window
        _keep_time_exactly()

    def align(self, first_ns: int) -> None:
        """Take this instant for the first request that is to come: processes that share a rate take turns."""
        self._first_ns, self._sent = first_ns, 0

    def _events(self, now: int, until_ns: int) -> list[tuple[int, int]]:
        wait_ns = min(self._send_due(now), until_ns) - now
        if wait_ns >= COARSE_NS:
            return self._epoll.poll((wait_ns - 1_000_000) // 1_000_000 / 1e3)
        if wait_ns > 0:
            select.select([self._epoll], [], [], wait_ns / 1e9)  # an epoll is itself a file that can be waited for
        return self._epoll.poll(0)

    def _send_due(self, now: int) -> int:
        """Send what has become due by now; returns the instant of the next one.

        Not what becomes due meanwhile: at a rate that nobody can keep that would have no end.
        """
        until_ns = now
        while (due_ns := self._first_ns + int(self._sent * self._interval_ns)) <= until_ns:
            if due_ns >= self._last_ns:
                return NEVER_NS
            self._sent += 1
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
        """A request belongs to the time in which it was due, whenever it ends."""
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
        return True  # they come when they are needed

    def measure(self) -> None:
        super().measure()
        self._begun_ns = self.tally.begun_ns

    def end(self) -> None:
        """Nothing becomes due any more; what was due in the window is waited for, for as long as a time-out."""
        super().end()
        self._last_ns = min(self._ended_ns, self._begun_ns + int(self._plan.duration_s * 1e9))
        self.run_until(clock() + int(self._plan.timeout_s * 1e9), self._all_answered)

    def _under_way(self) -> list[int]:
        return [*super()._under_way(), *self._late]

    def _never_answered(self) -> int:
        return 0  # whoever is not needed is not asked

    def _all_answered(self) -> bool:
        return not self._late and len(self._idle) + len(self._resting) == len(self.users)


def _keep_time_exactly() -> None:
    """Have the kernel wake this process when it shall, not up to 50 µs later (PR_SET_TIMERSLACK, proc(5))."""
    with contextlib.suppress(OSError):  # hidden in some containers; then requests are sent that much late, as is shown
        Path("/proc/self/timerslack_ns").write_text("1")
