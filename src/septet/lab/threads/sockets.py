"""What a descriptor of a server's process is, and what it means to wait for it; read from /proc (proc(5)).

A socket is classified by its local port: at a port where the server listens it is the listener or one of its clients;
any other socket is a connection of the application to a backend, such as a database. The server is not asked.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from enum import Enum, auto
from pathlib import Path

from septet.lab.threads.states import State

_LISTENING = "0A"  # TCP_LISTEN in /proc/net/tcp
_FRESH_NS = 20_000_000
"""How long a lookup is valid: descriptors are closed and their numbers used again."""
_SOCKET = re.compile(r"socket:\[(\d+)\]")


class Kind(Enum):
    LISTENER = auto()
    CLIENT = auto()
    BACKEND = auto()
    FILE = auto()
    PROCESS = auto()  # a pidfd
    INTERNAL = auto()
    """eventfd, pipe, epoll and the like, within a process."""


_NAMED = {"anon_inode:[pidfd]": Kind.PROCESS}


class Descriptors:
    """The descriptors of a server that listens on these TCP ports; every lookup is remembered for a moment."""

    def __init__(self, ports: frozenset[int]) -> None:
        self._ports = ports
        self._sockets: dict[str, Kind] = {}  # by inode
        self._known: dict[tuple[int, int], tuple[int, Kind | None]] = {}

    def kind(self, pid: int, descriptor: int) -> Kind | None:
        """The kind of a descriptor; None when it has been closed meanwhile, or is not known."""
        now = time.monotonic_ns()
        at, kind = self._known.get((pid, descriptor), (0, None))
        if now - at > _FRESH_NS:
            kind = self._look(pid, descriptor)
            self._known[pid, descriptor] = now, kind
        return kind

    def _look(self, pid: int, descriptor: int) -> Kind | None:
        try:
            target = os.readlink(f"/proc/{pid}/fd/{descriptor}")
        except OSError:
            return None
        socket = _SOCKET.fullmatch(target)
        if socket is None:
            return _NAMED.get(target, Kind.INTERNAL if ":" in target else Kind.FILE)
        if socket[1] not in self._sockets:
            self._sockets |= read_sockets(pid, self._ports)
        return self._sockets.get(socket[1])


def read_sockets(pid: int, ports: frozenset[int]) -> dict[str, Kind]:
    """The TCP and unix sockets in this process's network, by inode."""
    found = {}
    for name in ("tcp", "tcp6"):
        for line in _lines(f"/proc/{pid}/net/{name}"):
            _, local, _, state, *rest = line.split()
            ours = int(local.rpartition(":")[2], 16) in ports
            kind = (Kind.LISTENER if state == _LISTENING else Kind.CLIENT) if ours else Kind.BACKEND
            found[rest[5]] = kind
    for line in _lines(f"/proc/{pid}/net/unix"):
        found[line.split()[6]] = Kind.BACKEND  # a socket pair looks the same, see `waits`
    return found


def _lines(path: str) -> list[str]:
    """The lines of a file without the first, which has the names of the columns."""
    try:
        return Path(path).read_text(errors="replace").splitlines()[1:]
    except OSError:
        return []


_WAITS = {
    Kind.LISTENER: State.ACCEPT,
    Kind.CLIENT: State.CLIENT,
    Kind.BACKEND: State.BACKEND,
    Kind.FILE: State.DISK,
    Kind.PROCESS: State.CHILD,
}


def waits(kinds: Iterable[Kind | None], several: State) -> State | None:
    """What it means to wait for descriptors of these kinds; `several` where they are a mixture."""
    known = set(kinds) - {None}
    present = [_WAITS[kind] for kind in known if kind in _WAITS]
    if len(present) == 1:
        return present[0]
    return several if known else None
