"""The members of the chat whom one process serves, and the lines that each of them has yet to get."""

import asyncio
from collections import deque

LINES_WAITING = 100
"""For one member. One who reads so slowly that more are waiting misses the oldest: the others do not wait for that."""

LINES_KEPT = 20
"""What one who comes gets to read first."""


class Member:
    """One open page."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=LINES_WAITING)
        self._some = asyncio.Event()

    def put(self, line: str) -> None:
        self._lines.append(line)
        self._some.set()

    async def next(self) -> str:
        """The next line; waits for one."""
        while not self._lines:
            self._some.clear()
            await self._some.wait()
        return self._lines.popleft()


class Room:
    """For the thread of one event loop."""

    def __init__(self) -> None:
        self._members: set[Member] = set()
        self._latest: deque[str] = deque(maxlen=LINES_KEPT)

    def enter(self) -> Member:
        member = Member()
        for line in self._latest:
            member.put(line)
        self._members.add(member)
        return member

    def leave(self, member: Member) -> None:
        self._members.discard(member)

    @property
    def empty(self) -> bool:
        return not self._members

    def tell(self, line: str) -> None:
        """Give a line to all members."""
        self._latest.append(line)
        for member in self._members:
            member.put(line)
