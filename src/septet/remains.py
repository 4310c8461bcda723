"""Files that a process must not leave behind, however it ends: those of its unix sockets, and its pid file.

A process that ends in order removes them where it has made them. One that ends by os._exit, at a second signal or
because the time for a graceful stop is up, calls `remove`. (A process that is killed leaves them; the next server
replaces them.)
"""

import os
from typing import Any, Protocol
from weakref import WeakSet


class Remains(Protocol):
    """Something with a file that this process has made."""

    def remove_file(self) -> None:
        """Remove the file, if that was not done before. Does not raise; does nothing in a forked child."""


_registered: WeakSet[Any] = WeakSet()
_pid = 0
"""The process that has registered something; its children have nothing to remove."""


def register(thing: Remains) -> None:
    """Have `thing.remove_file()` called by `remove`. Holds a weak reference only."""
    global _pid
    _pid = os.getpid()
    _registered.add(thing)


def remove() -> None:
    """Remove all files that are left. May be called in a signal handler, and in any thread."""
    if _pid and os.getpid() == _pid:
        for thing in list(_registered):
            thing.remove_file()
