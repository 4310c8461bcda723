"""The content of a guestbook, and the interface of the stores that keep it.

A view must be cheap and must be counted exactly, whichever process serves it. So a store answers a view with two
numbers only: how many views there were, and the *edition* of the book, which grows with every remark. The rendered
remarks are kept by each process and read again only when the edition has changed (`page.Press`).
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

# More than a page ever shows, and a bound on what visitors can make the store hold: about 4 MB of text.
REMARKS_KEPT = 1000


class StoreUnavailable(Exception):
    """An operation of the store failed; the message is one sentence for the log. Visitors get a 503."""


class Visit(NamedTuple):
    """The state of the guestbook that a view gets from the store. It is a tuple, because one is made for every view."""

    views: int
    """Number of views of the page that were counted so far."""
    edition: int
    """A number that grows with every remark."""


@dataclass(frozen=True, slots=True)
class Remark:
    """The entry of one visitor; `time_s` is in seconds since 1970, UTC."""

    name: str
    text: str
    time_s: int


class Store(Protocol):
    """A store for applications that block. Every method may be called by any thread of any process, also after a fork,
    and raises StoreUnavailable if the operation fails.
    """

    def count_view(self) -> Visit:
        """Count one more view and return the state after it."""

    def peek(self) -> Visit:
        """Return the state without counting a view."""

    def latest(self, number: int) -> list[Remark]:
        """Return the latest remarks, at most `number`, newest first."""

    def add(self, remark: Remark) -> None:
        """Store a remark and increase the edition, a number by which readers of the book see that it has changed. If
        there are more than REMARKS_KEPT remarks, the oldest are deleted.
        """

    def close(self) -> None:
        """Close the connections of this process. A later call of another method opens them again."""


class AsyncStore(Protocol):
    """A `Store` for applications on an event loop: its methods are coroutines. `close` closes the connections of the
    running loop.
    """

    async def count_view(self) -> Visit: ...

    async def peek(self) -> Visit: ...

    async def latest(self, number: int) -> list[Remark]: ...

    async def add(self, remark: Remark) -> None: ...

    async def close(self) -> None: ...
