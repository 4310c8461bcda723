"""A bounded cache of parsed values; keys are the bytes as received. Clients repeat whole heads, and many clients send
some field lines in the same bytes."""

from collections.abc import Hashable
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

MAX_REFUSALS = 64
"""A full cache is cleared after it has refused MAX_REFUSALS * capacity new values."""


class BoundedCache(dict[Key, Value]):
    """A dict of at most `capacity` values. When it is full, `add` stores nothing; after MAX_REFUSALS * `capacity`
    refusals it clears the cache.

    Keys that come often are back soon after it was cleared. Keys that never come again (a request id, a cookie) cost
    next to nothing: evicting an old key for every new one would take longer than making the value again. Several
    threads may share a cache without a lock; then it may exceed `capacity` by a few values.
    """

    __slots__ = ("_capacity", "_refused")

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self._capacity = capacity
        self._refused = 0

    def add(self, key: Key, value: Value) -> bool:
        """Add a value whose key was not found, if there is room; else count the refusal. Returns True if it was
        added."""
        if len(self) < self._capacity:
            self[key] = value
            return True
        self._refused += 1
        if self._refused >= MAX_REFUSALS * self._capacity:
            self._refused = 0
            self.clear()
        return False


shared_texts: BoundedCache[bytes, str] = BoundedCache(1024)
"""Values that many requests have in the same bytes, as text: to decode one takes three times as long."""
