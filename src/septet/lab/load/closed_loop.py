"""The closed loop: each user sends the next request when the answer to the last one has come.

It measures the rate and the latency that N simultaneous users get. It does not show what happens to users who keep
coming while the server stalls, because a stalled server stalls the loop too: its highest percentiles are too low then.
The open loop (a plan with a rate) shows that.
"""

from __future__ import annotations

import heapq
import random
import time

from .limits import Route
from .listen_queue import listen_queue
from .loop import Loop, Notify
from .plan import Plan
from .state import User

ARRIVING_NS = 1_000_000
"""As long as some users have not connected, the length of the listen queue is read again after this many nanoseconds,
to see how many more may connect.
"""
QUEUE_ELSEWHERE = 128
"""Backlog assumed for a listener on another machine: somaxconn before Linux 5.4, and the default of many servers."""
clock = time.monotonic_ns


class ListenQueueGate:
    """Limits how many users connect at once, so that the listener's queue stays at most half full.

    A SYN that finds the queue full is sent again after 1 s, then after 3 s: users who connect too fast would measure
    those delays.
    """

    def __init__(self, route: Route, processes: int = 1) -> None:
        self._route = route
        self._processes = processes
        """Number of processes of the load generator that connect to the listener."""
        self.entering = 0
        """Number of users who have begun to connect and have no answer yet."""

    def admissible(self) -> int:
        """Return how many more users of this process may begin to connect now, so that the listen queue stays at most
        half full.
        """
        queue = self._route.queue
        if queue is None:
            return max(0, QUEUE_ELSEWHERE // 2 // self._processes - self.entering)
        present = listen_queue(self._route.family, str(self._route.address[0]), self._route.address[1])
        if present is None:
            return 1  # the listener has gone: one connection is enough to find that out
        return max(0, ((present.backlog + 1) // 2 - present.depth + self._processes - 1) // self._processes)


class ClosedLoop(Loop):
    """A closed loop of N users: once all of them have arrived, each always has a request under way.

    Until then, users who keep their connections send a single request, again if it ends without an answer, and wait for
    the others to arrive. If the first users went on at once, they would keep the server so busy that it accepts the
    rest slowly, and the arrival of thousands of users would take minutes.
    """

    def __init__(self, plan: Plan, route: Route, notify: Notify) -> None:
        super().__init__(plan, route, notify)
        self._absent = self.users[::-1]
        self._gate = ListenQueueGate(route, plan.processes)
        self._waiting: list[User] | None = None if self._limit or plan.ramp_s else []
        """Users who have had a first answer and wait until the others have one too; None if users do not wait for each
        other.
        """
        self._last_arrival_ns = self._begun_ns = clock()
        self._ramp_ns = int(plan.ramp_s * 1e9)

    def _free(self, user: User, now: int, /) -> None:
        if self._waiting is None or not user.arrived:
            self._begin(user, now)
        else:
            self._waiting.append(user)

    def _events(self, now: int, until_ns: int) -> list[tuple[int, int]]:
        if self._absent:
            self._admit()
            until_ns = min(until_ns, now + ARRIVING_NS)
        return self._epoll.poll((until_ns - now) / 1e9)

    def _admit(self) -> None:
        """Let users begin to connect who have not done so yet: as many as the listen queue has room for. During a ramp
        (`Plan.ramp_s`), in which the number of users grows evenly, the number of those who have begun does not exceed
        what the ramp allows at this time.
        """
        number = len(self._absent)
        if self._ramp_ns:
            passed = min(1.0, (clock() - self._begun_ns) / self._ramp_ns)
            number -= len(self.users) - round(len(self.users) * passed)
        for _ in range(min(self._gate.admissible(), number)):
            user = self._absent.pop()
            self._gate.entering += 1
            self._begin(user, clock())

    def _arrived(self, user: User) -> None:
        super()._arrived(user)
        self._gate.entering -= 1
        self._last_arrival_ns = clock()

    def all_arrived(self) -> bool:
        """True when every user has had a first answer. It is also True when no further user has had one for as long as
        a request may take (`Plan.timeout_s`), so that a server that does not answer is not waited for without end.

        If users do not wait for each other, it is enough that all of them have begun to connect.
        """
        since_ns = max(self._last_arrival_ns, self._begun_ns + self._ramp_ns)
        if clock() - since_ns > self._plan.timeout_s * 1e9:
            return True
        return not self._absent and (self._waiting is None or not self._gate.entering)

    def release(self) -> None:
        """Let the users who have waited for the others to arrive send their next request. Called when the warm-up
        begins, and again when the measured window begins.
        """
        waiting, self._waiting = self._waiting or [], None
        for user in waiting:
            self._begin(user, clock())

    def measure(self) -> None:
        super().measure()
        for user in self.users:  # an answer counts in the window in which it comes
            if user.due_ns:
                user.series = user.target.series


class ThinkingLoop(ClosedLoop):
    """A closed loop whose users wait for their think time between an answer and the next request.

    A request may be sent up to 1 ms after the end of the think time, because epoll_wait(2) counts in milliseconds. Its
    latency counts from when it is sent.
    """

    def __init__(self, plan: Plan, route: Route, notify: Notify) -> None:
        super().__init__(plan, route, notify)
        self._thinking: list[tuple[int, int, User]] = []
        """A heap of (instant in ns at which the think time ends, number of the user, user)."""
        self._exponential = plan.think_times == "exponential"

    def _free(self, user: User, now: int, /) -> None:
        if self._waiting is not None:
            super()._free(user, now)
            return
        think_s = self._plan.think_s
        if self._exponential:
            think_s = random.expovariate(1 / think_s)
        heapq.heappush(self._thinking, (now + int(think_s * 1e9), user.number, user))

    def _events(self, now: int, until_ns: int) -> list[tuple[int, int]]:
        thinking = self._thinking
        while thinking and thinking[0][0] <= now:
            self._begin(heapq.heappop(thinking)[2], clock())
        if thinking:
            until_ns = min(until_ns, thinking[0][0])
        now = clock()
        return super()._events(now, max(until_ns, now))

    def release(self) -> None:
        """Let the waiting users send their next request, each at a random time within the mean think time from now, so
        that they do not all send at once.
        """
        waiting, self._waiting = self._waiting or [], None
        now = clock()
        for user in waiting:
            wait_s = random.random() * self._plan.think_s
            heapq.heappush(self._thinking, (now + int(wait_s * 1e9), user.number, user))
