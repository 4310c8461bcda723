"""What the readiness pollers have in common: the event bits and the verbs.

poll(2) and epoll(7) number their events alike on Linux, and so does a poll request of io_uring; the
bits go to the kernel as they are. `ERROR`, `HANGUP` and `INVALID` are reported whether asked for or not.
"""

from collections.abc import Callable
from typing import Protocol

READABLE = 0x001  # POLLIN: recv, accept or read would not block (end of stream included)
WRITABLE = 0x004  # POLLOUT: send or write would not block; a connect has finished
ERROR = 0x008  # POLLERR
HANGUP = 0x010  # POLLHUP: both directions are shut
RDHUP = 0x2000  # POLLRDHUP: the peer sends no more
INVALID = 0x020  # POLLNVAL, from Poll alone: the descriptor is not open (epoll forgets a closed one)
EXCLUSIVE = 1 << 28  # EPOLLEXCLUSIVE: of several processes that wait on one listener, wake one and not all

Ready = list[tuple[int, int]]
"""Descriptors and the bits that are set for each, as the kernel told them."""


class Poller(Protocol):
    """Level-triggered readiness: a descriptor is reported as long as its condition holds.

    A poller belongs to one thread, and to the process that made it.
    """

    @property
    def wait(self) -> Callable[[float | None], Ready]:
        """`wait(timeout_s)`: what is ready, after at most so long (None: until something is, 0: do not block).

        A signal's Python handler runs while waiting (PEP 475); if it does not raise, waiting goes on or
        an empty list comes back early.
        """

    def add(self, fd: int, mask: int) -> None:
        """Start to report a descriptor that is not reported yet."""

    def modify(self, fd: int, mask: int) -> None:
        """Report other events of a descriptor that was added."""

    def remove(self, fd: int) -> None:
        """Report it no more. Quiet if it has been closed already, as cleaning up often comes in that order."""

    def close(self) -> None:
        """Give back what the kernel holds; the descriptors stay open."""

    def forsake(self) -> None:
        """In a forked child: close its copy, without a word to the kernel's list, which is the parent's."""
