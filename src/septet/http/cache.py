"""What was made of bytes, kept by those bytes: requests repeat their heads, and share field lines with others."""

from collections.abc import Hashable
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

MAX_REFUSALS = 64
"""How many times its capacity a full memory refuses before it begins anew."""


class BoundedCache(dict[Key, Value]):
    """At most `capacity` values. When it is full it adds nothing, and after a while it begins anew.

    What comes again and again is there soon after each beginning, and what never does (a request id, a cookie) costs
    next to nothing: to let every new key push out an old one takes longer than making the value again. Several threads
    may share a memory; the worst that can come of that is a few values more.
    """

    __slots__ = ("_capacity", "_refused")

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self._capacity = capacity
        self._refused = 0

    def add(self, key: Key, value: Value) -> None:
        """Keep a value that was not found, if there is room."""
        if len(self) < self._capacity:
            self[key] = value
            return
        self._refused += 1
        if self._refused >= MAX_REFUSALS * self._capacity:
            self._refused = 0
            self.clear()
