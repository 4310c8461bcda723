"""What is in a guestbook, and what the application asks of a store that keeps one.

A view must be cheap and must be counted exactly, whichever process serves it. So a store answers a view with two
numbers only: how many views there were, and the *edition* of the book, which grows with every remark. The rendered
remarks are kept by each process and read again only when the edition has changed (`page.Press`).
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

# More than a page ever shows, and a bound on what visitors can make the store hold: about 4 MB of text.
REMARKS_KEPT = 1000


class StoreUnavailable(Exception):
    """The store did not do what was asked; the message is one sentence for the log. Visitors get a 503."""


class Visit(NamedTuple):
    """The state of the book at one view; a tuple, because one is made for every view."""

    views: int
    edition: int


@dataclass(frozen=True, slots=True)
class Remark:
    """What one visitor left; `time_s` is in seconds since the epoch, UTC."""

    name: str
    text: str
    time_s: int


class Store(Protocol):
    """A store for applications that block. Every method may be called by any thread of any process, also after a
    fork, and raises StoreUnavailable."""

    def count_view(self) -> Visit:
        """Count one more view and tell the state after it."""

    def peek(self) -> Visit:
        """Tell the state without counting."""

    def latest(self, number: int) -> list[Remark]:
        """The latest remarks, newest first."""

    def add(self, remark: Remark) -> None:
        """Keep a remark and begin a new edition."""

    def close(self) -> None:
        """Close what this process has open. A later call opens it again."""


class AsyncStore(Protocol):
    """A store for applications on an event loop. `close` closes what the running loop has open."""

    async def count_view(self) -> Visit: ...

    async def peek(self) -> Visit: ...

    async def latest(self, number: int) -> list[Remark]: ...

    async def add(self, remark: Remark) -> None: ...

    async def close(self) -> None: ...
