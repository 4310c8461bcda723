"""Pollers: thin wrappers of the system calls by which one thread waits for many descriptors.

`Poll` and `Epoll` tell when a descriptor is *ready* and share the verbs of `Poller`. `Ring`
(`septet.pollers.ring`, imported where it is used) is io_uring, which does the operation and tells when
it is *complete*: another thing, with an interface of its own.
"""

from septet.pollers._verbs import ERROR, EXCLUSIVE, HANGUP, INVALID, RDHUP, READABLE, WRITABLE, Poller, Ready
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
