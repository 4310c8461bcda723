"""The members of the chat whom one process serves, and the lines that wait to be sent to each."""

import asyncio
from collections import deque

LINES_WAITING = 100
"""Most lines that wait for one member. If a member reads more slowly than lines come, its oldest are dropped, and the
other members do not wait for it.
"""

LINES_KEPT = 20
"""Number of the latest lines that are kept, for a new member to see first."""


class Member:
    """One open page, and the lines that wait to be sent to it."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=LINES_WAITING)
        self._some = asyncio.Event()

    def put(self, line: str) -> None:
        self._lines.append(line)
        self._some.set()

    async def next(self) -> str:
        """Return the next line; wait until there is one."""
        while not self._lines:
            self._some.clear()
            await self._some.wait()
        return self._lines.popleft()


class Room:
    """The members of the chat that one process serves. Only the thread of its event loop may use it."""

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
