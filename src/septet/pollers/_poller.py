"""The event bits and the interface `Poller`, common to all pollers that report readiness.

On Linux poll(2), epoll(7) and the poll requests of io_uring use the same numbers, so the bits go to the kernel as they
are. `ERROR`, `HANGUP` and `INVALID` are reported whether asked for or not.
"""

from collections.abc import Callable
from typing import Protocol

READABLE = 0x001
"""POLLIN: recv, accept or read would not block; also at the end of the stream."""

WRITABLE = 0x004
"""POLLOUT: send or write would not block; a connect has finished."""

ERROR = 0x008
"""POLLERR: the socket has an error, which the next call on it raises; or the reader of a pipe has closed it."""

HANGUP = 0x010
"""POLLHUP: both directions are shut down."""

RDHUP = 0x2000
"""POLLRDHUP: the peer sends no more."""

INVALID = 0x020
"""POLLNVAL: the descriptor is not open. `Epoll` never reports this, because a closed descriptor leaves its
list.
"""

EXCLUSIVE = 1 << 28
"""EPOLLEXCLUSIVE: of several processes that wait for one listener, wake one instead of all."""

Ready = list[tuple[int, int]]
"""Pairs of a descriptor and the bits that are set for it, as the kernel reported them."""


class Poller(Protocol):
    """Level-triggered readiness: a descriptor is reported as long as its condition holds.

    A poller belongs to one thread, and to the process that made it.
    """

    @property
    def wait(self) -> Callable[[float | None], Ready]:
        """`wait(timeout_s)` returns the ready descriptors, after at most `timeout_s` seconds (None: no limit).

        With 0 it does not block; the list is empty if none is ready in time. Signal handlers run while it waits
        (PEP 475). If a handler does not raise, the wait continues, or ends early with an empty list.
        """

    def add(self, fd: int, mask: int) -> None:
        """From now on report the descriptor when one of the events in `mask` (READABLE, WRITABLE, ...) has occurred."""

    def modify(self, fd: int, mask: int) -> None:
        """Replace the events of interest of a descriptor that was added."""

    def remove(self, fd: int) -> None:
        """Stop reporting a descriptor. No error if it has been closed already, as often happens during clean-up."""

    def close(self) -> None:
        """Release the poller's own resources; the added descriptors stay open."""

    def close_in_child(self) -> None:
        """Called in a forked child process: close the child's copy of the poller, without changing the kernel's list
        of descriptors, which the parent still uses.
        """
