"""Pollers: thin wrappers of the system calls with which one thread waits for many descriptors.

`Poll` and `Epoll` report that a descriptor is *ready*, and implement `Poller`. `Ring` (`septet.pollers.ring`, imported
only where it is used, because it needs ctypes) is io_uring, which does an operation and reports that it is *complete*;
its interface is its own.
"""

from septet.pollers._poller import ERROR, EXCLUSIVE, HANGUP, INVALID, RDHUP, READABLE, WRITABLE, Poller, Ready
from septet.pollers.epoll import Epoll
from septet.pollers.poll import Poll

__all__ = [
    "ERROR",
    "EXCLUSIVE",
    "HANGUP",
    "INVALID",
    "RDHUP",
    "READABLE",
    "WRITABLE",
    "Epoll",
    "Poll",
    "Poller",
    "Ready",
]
