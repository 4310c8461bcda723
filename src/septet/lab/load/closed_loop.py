"""The closed loop: each user sends the next request when the answer to the last one has come.

It shows what N users at a time get. It does not show what happens to users who keep coming while the server stalls,
because a stalled server stalls the loop too: read its highest percentiles with that in mind, or set a rate.
"""

from __future__ import annotations

import time

from .limits import Way
from .listen_queue import queue_of
from .loop import Loop, Notify
from .plan import Plan
from .state import User

QUEUE_ELSEWHERE = 128  # somaxconn before Linux 5.4, and what most servers ask for


class Door:
    """The listener's queue, kept at most half full.

    A SYN that finds it full is repeated after 1 s, then after 3 s: users who arrive too fast measure that.
    """

    def __init__(self, way: Way, doors: int = 1) -> None:
        self._way = way
        self._doors = doors  # to the same queue, one in each process
        self.entering = 0  # users who have begun to connect and were not answered yet

    def room(self) -> int:
        """How many more may come now."""
        queue = self._way.queue
        if queue is None:
            return max(0, QUEUE_ELSEWHERE // 2 // self._doors - self.entering)
        present = queue_of(self._way.family, str(self._way.address[0]), self._way.address[1])
        if present is None:
            return 1  # it has gone: one connection is enough to be told so
        return max(0, ((present.backlog + 1) // 2 - present.depth + self._doors - 1) // self._doors)


ARRIVING_NS = 1_000_000  # how often the door is looked at while users are to come
clock = time.monotonic_ns


class ClosedLoop(Loop):
    """N users, of whom each always has a request under way, once all have come.

    Until then who keeps his connection asks once and waits: a server that is kept busy by the first thousands accepts
    the others so slowly that they would come for minutes.
    """

    def __init__(self, plan: Plan, way: Way, notify: Notify) -> None:
        super().__init__(plan, way, notify)
        self._absent = self.users[::-1]
        self._door = Door(way, plan.processes)
        self._waiting: list[User] | None = None if self._limit else []  # for the others; None: nobody waits

    def _free(self, user: User, now: int, /) -> None:
        if self._waiting is None:
            self._begin(user, now)
        else:
            self._waiting.append(user)

    def _events(self, now: int, until_ns: int) -> list[tuple[int, int]]:
        if self._absent:
            self._admit()
            until_ns = min(until_ns, now + ARRIVING_NS)
        return self._epoll.poll((until_ns - now) / 1e9)

    def _admit(self) -> None:
        """Let users come, but not more at once than the listener's queue takes."""
        for _ in range(min(self._door.room(), len(self._absent))):
            user = self._absent.pop()
            self._door.entering += 1
            self._begin(user, clock())

    def _arrived(self, user: User) -> None:
        super()._arrived(user)
        self._door.entering -= 1

    def everybody_came(self) -> bool:
        return not self._absent and (self._waiting is None or not self._door.entering)

    def go(self) -> None:
        """Whoever waits for the others waits no more."""
        waiting, self._waiting = self._waiting or [], None
        for user in waiting:
            self._begin(user, clock())

    def measure(self) -> None:
        super().measure()
        for user in self.users:  # what counts is when an answer came
            if user.due_ns:
                user.series = user.aim.series
