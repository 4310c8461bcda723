"""Connections on which nothing more is asked, until the server has closed them.

Who closes first has the connection in TIME_WAIT for a minute; were it us, and not on loopback, our ports would run out
at 500 connections a second. So what the server has announced to close is kept, in a limited number, until it has.
"""

from __future__ import annotations

from typing import Any

LEFT_MAX = 1000


class Left:
    """The oldest first. Their descriptors are still watched; whatever happens on one is its end."""

    def __init__(self, spare_descriptors: int) -> None:
        self._sockets: dict[int, Any] = {}
        self._max = min(LEFT_MAX, spare_descriptors)

    def keep(self, fd: int, sock: Any) -> None:
        """Keep one more; the oldest is closed when that are too many."""
        self._sockets[fd] = sock
        if len(self._sockets) > self._max:
            self.close(next(iter(self._sockets)))

    def close(self, fd: int) -> None:
        """The end of one, if it is one: the server closed it, or sent what is nobody's answer."""
        sock = self._sockets.pop(fd, None)
        if sock is not None:
            sock.close()

    def close_all(self) -> None:
        for fd in list(self._sockets):
            self.close(fd)
