"""The urgency of a request: the field `priority` and the frame PRIORITY_UPDATE (RFC 9218).

Of the two parameters the urgency (`u`) is used. The other, `i` (incremental), is ignored, because answers of one
urgency take turns in any case.
"""

import re
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")

USUAL = 3
"""The urgency of a request that does not say one (RFC 9218 section 4.1). 0 is the most urgent, 7 the least."""

_urgency = re.compile(rb"(?:^|,)[ \t]*u=([0-7])[ \t]*(?=[,;]|$)").search

PRIORITY_UPDATE = 0x10
"""Type of the frame PRIORITY_UPDATE (RFC 9218 section 7.1). It is sent on stream 0, and its content begins with the
number of the stream that it concerns.
"""


def urgency_of(value: bytes) -> int:
    """Return the urgency that a value of `priority` asks for; USUAL if there is none, or what is there is malformed:
    the field is advice, and no reason to refuse a request (RFC 9218 section 4)."""
    matched = _urgency(value)
    return int(matched[1]) if matched else USUAL


def read_update(payload: bytes) -> tuple[int, int]:
    """Return the stream that a PRIORITY_UPDATE concerns, and its new urgency; (0, USUAL) if `payload`, the content of
    the frame, is too short.
    """
    if len(payload) < 4:
        return 0, USUAL
    return int.from_bytes(payload[:4]) & 0x7FFFFFFF, urgency_of(payload[4:])


class ByUrgency(Generic[Item]):
    """A queue whose most urgent item comes first; those of one urgency keep their order."""

    __slots__ = ("_count", "_queues")

    def __init__(self) -> None:
        self._queues: list[deque[Item]] = [deque() for _ in range(8)]
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, urgency: int, item: Item) -> None:
        self._queues[urgency].append(item)
        self._count += 1

    @property
    def first(self) -> Item:
        """The item that `pop` would return. There must be one."""
        return next(queue[0] for queue in self._queues if queue)

    def pop(self) -> Item:
        """Remove and return the first item. There must be one."""
        self._count -= 1
        for queue in self._queues:
            if queue:
                return queue.popleft()
        raise AssertionError("the caller has looked")

    def clear(self) -> None:
        for queue in self._queues:
            queue.clear()
        self._count = 0
