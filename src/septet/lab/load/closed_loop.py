"""The closed loop: each user sends his next request when the answer to his last one has come.

It says what N users at a time get. It cannot say what happens to users who keep coming while the server stalls, for a
stalled server stalls the loop too: read its highest percentiles with that in mind, or set a rate.
"""

from __future__ import annotations

import time

from .door import Door
from .limits import Way
from .loop import Loop, Notify
from .plan import Plan
from .user import User

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
