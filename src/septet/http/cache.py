"""A bounded cache of what was parsed, by its bytes: requests repeat their heads, and share field lines with others."""

from collections.abc import Hashable
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

MAX_REFUSALS = 64
"""A full cache is cleared after it has refused this many times its capacity."""


class BoundedCache(dict[Key, Value]):
    """At most `capacity` values. A full cache adds nothing, and is cleared after a while.

    Keys that come often are back soon after it was cleared. Keys that never come again (a request id, a cookie) cost
    next to nothing: evicting an old key for every new one would take longer than making the value again. Several
    threads may share a cache without a lock; then it may exceed `capacity` by a few values.
    """

    __slots__ = ("_capacity", "_refused")

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self._capacity = capacity
        self._refused = 0

    def add(self, key: Key, value: Value) -> None:
        """Add a value that was not found, if there is room."""
        if len(self) < self._capacity:
            self[key] = value
            return
        self._refused += 1
        if self._refused >= MAX_REFUSALS * self._capacity:
            self._refused = 0
            self.clear()
