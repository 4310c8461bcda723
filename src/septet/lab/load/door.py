"""How many connections may be opened at once."""

from __future__ import annotations

from .limits import Way
from .listener import queue_of

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
