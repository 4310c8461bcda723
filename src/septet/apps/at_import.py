"""Log messages about what an application makes at import and cannot use later, because the processes that serve are
forked from the one that has imported it: connections, which they would share, and threads, which fork(2) does not copy.

Both go wrong late and without a word. On a connection that several processes use, each reads what was sent to another,
such as the rows of another client's query; and what is handed to a thread that is not there is never done.

An application that is given to the server as an object was imported before, and nothing is known of it.
"""

import logging
import os
import socket
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from threading import enumerate as running_threads

log = logging.getLogger("septet")

MAX_SHOWN = 8
"""Most connections, and threads, that a message names: a pool may have a hundred."""


class MadeAtImport:
    """Made just before an application is loaded, in the process that loads it."""

    def __init__(self) -> None:
        self._connections = {inode for inode, _ in _connections()}
        self._threads = set(running_threads())

    def report(self) -> None:
        """Log the connections and threads that were not there when this object was made. For a process that is about to
        fork those that serve.
        """
        peers = [peer for inode, peer in _connections() if inode not in self._connections]
        if peers:
            log.warning(
                "SEP181 the application has opened connections at import, and the processes that serve share them, so "
                "that their bytes get mixed up: %s",
                _listed(peers),
            )
        threads = [each.name for each in running_threads() if each not in self._threads]
        if threads:
            # No warning: some libraries start theirs anew in a process that was forked.
            log.info(
                "threads that the application has started at import do not run in the processes that serve: %s",
                _listed(threads),
            )


def _listed(names: Iterable[str]) -> str:
    counted = Counter(names)
    shown = [name if count == 1 else f"{name} ({count})" for name, count in counted.most_common(MAX_SHOWN)]
    left = len(counted) - len(shown)
    return ", ".join(shown) + (f", and {left} more" if left else "")


def _connections() -> Iterator[tuple[int, str]]:
    """Yield the inode number and the peer's address of each connection that this process has open, over TCP or to the
    path of a unix socket. One whose peer has no address, as in a pair of sockets, is the process's own affair.
    """
    seen = set()
    for descriptor in _descriptors():
        with suppress(OSError):  # closed meanwhile by another thread, or not connected
            status = os.fstat(descriptor)
            if stat.S_ISSOCK(status.st_mode) and status.st_ino not in seen:
                seen.add(status.st_ino)
                peer = _peer(descriptor)
                if peer:
                    yield status.st_ino, peer


def _descriptors() -> list[int]:
    try:
        return sorted(map(int, os.listdir("/proc/self/fd")))
    except OSError:  # there is no /proc
        return []


def _peer(descriptor: int) -> str:
    """Return the address to which a socket is connected; "" if it has none. Raises OSError if it is not connected."""
    connection = socket.socket(fileno=descriptor)
    try:
        if connection.type != socket.SOCK_STREAM:
            return ""  # datagrams of several processes do not mix
        family, peer = connection.family, connection.getpeername()
    finally:
        connection.detach()
    if family == socket.AF_UNIX:
        return peer if isinstance(peer, str) else "@" + os.fsdecode(peer[1:])
    if family == socket.AF_INET6:
        return f"[{peer[0]}]:{peer[1]}"
    return f"{peer[0]}:{peer[1]}" if family == socket.AF_INET else ""
