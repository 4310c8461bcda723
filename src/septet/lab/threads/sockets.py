"""Finds what the file descriptors of a server's process are (a listener, a client, a backend, ...), from /proc
(proc(5)). That tells what a thread which is blocked on them waits for.

A socket is classified by its local port: at a port where the server listens it is the listener or one of its clients;
any other socket is a connection of the application to a backend, such as a database. The server is not asked.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from enum import Enum, auto
from itertools import chain
from pathlib import Path

from septet.lab.threads.states import State

_LISTENING = "0A"  # TCP_LISTEN in /proc/net/tcp
# linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h
_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY = 4, 20
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NETLINK_HEADER = struct.Struct("=IHHII")
_DIAG_REQUEST = struct.Struct("=BBBxI48s")  # struct inet_diag_req_v2, its ports and addresses left empty
_TCP_TIME_WAIT, _TCP_LISTEN = 6, 10
_STATES = 0xFFF & ~(1 << _TCP_TIME_WAIT)
_PAUSE = 9
"""After all sockets of a process were read, they are not read again for this many times as long as the reading took."""
_FRESH_NS = 20_000_000
"""Nanoseconds for which the kind of a descriptor is remembered. It is not remembered longer, because the process may
have closed the descriptor, and its number may then belong to another file.
"""
_SOCKET = re.compile(r"socket:\[(\d+)\]")


class Kind(Enum):
    """Kinds of descriptors. BACKEND is any socket that is not at a port where the server listens."""

    LISTENER = auto()
    CLIENT = auto()
    BACKEND = auto()
    FILE = auto()
    PROCESS = auto()  # a pidfd
    INTERNAL = auto()
    """An eventfd, a pipe, an epoll descriptor and the like: things within a process."""


_NAMED = {"anon_inode:[pidfd]": Kind.PROCESS}


class Descriptors:
    """The descriptors of a server that listens on these TCP ports. The kind of each one (a listener, a client, a
    backend, ...) is remembered for a moment (_FRESH_NS).
    """

    def __init__(self, ports: frozenset[int]) -> None:
        self._ports = ports
        self._sockets: dict[str, Kind] = {}  # by inode
        self._known: dict[tuple[int, int], tuple[int, Kind | None]] = {}
        self._read_again_ns = 0

    def kind(self, pid: int, descriptor: int) -> Kind | None:
        """Return the kind of a descriptor of process `pid`. None if it has been closed, or if it is a socket so new
        that it is not in the list of sockets, which is read from time to time.
        """
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
        found = _SOCKET.fullmatch(target)
        if found is None:
            return _NAMED.get(target, Kind.INTERNAL if ":" in target else Kind.FILE)
        if found[1] not in self._sockets:
            self._read(pid)
        return self._sockets.get(found[1])

    def _read(self, pid: int) -> None:
        """Read the list of all sockets in the network namespace of process `pid`, and add their kinds to those that are
        known. This is left out as often as necessary for all such reads to take no more than a tenth of the time.

        A read takes up to 0.2 s when the kernel remembers many connections, and new ones come all the time. With a read
        for each new connection it took ten minutes to record one second of a server's work.
        """
        begun_ns = time.monotonic_ns()
        if begun_ns >= self._read_again_ns:
            self._sockets |= read_sockets(pid, self._ports)
            now = time.monotonic_ns()
            self._read_again_ns = now + (now - begun_ns) * _PAUSE


def read_sockets(pid: int, ports: frozenset[int]) -> dict[str, Kind]:
    """Return the kinds (listener, client, or backend for all others) of the TCP and unix sockets in the network
    namespace of process `pid`, by inode. `ports` are those on which the server listens.
    """
    found = {}
    for inode, port, listening in _tcp_sockets(pid):
        found[inode] = (Kind.LISTENER if listening else Kind.CLIENT) if port in ports else Kind.BACKEND
    for line in _lines(f"/proc/{pid}/net/unix"):
        found[line.split()[6]] = Kind.BACKEND  # a socket pair looks the same, see `waits`
    return found


def _tcp_sockets(pid: int) -> Iterator[tuple[str, int, bool]]:
    """Yield (inode, local port, True if it listens) of each TCP socket in the network namespace of process `pid`."""
    if os.stat("/proc/self/ns/net").st_ino == _network_of(pid):
        with contextlib.suppress(OSError):  # some containers have no sock_diag
            yield from list(chain.from_iterable(map(_dumped, (socket.AF_INET, socket.AF_INET6))))
            return
    for name in ("tcp", "tcp6"):
        for line in _lines(f"/proc/{pid}/net/{name}"):
            _, local, _, state, *rest = line.split()
            yield rest[5], int(local.rpartition(":")[2], 16), state == _LISTENING


def _network_of(pid: int) -> int | None:
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino
    except OSError:
        return None


def _dumped(family: int) -> Iterator[tuple[str, int, bool]]:
    """Yield (inode, local port, True if it listens) of each TCP socket of this address family in our own network
    namespace, by sock_diag(7), without those in TIME_WAIT. Raises OSError if the kernel refuses.

    /proc/net/tcp has those in TIME_WAIT too, and takes several times as long after ten thousand short connections.
    """
    request = _DIAG_REQUEST.pack(family, socket.IPPROTO_TCP, 0, _STATES, bytes(48))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(1.0)
        header = _NETLINK_HEADER.pack(
            _NETLINK_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST | _NLM_F_DUMP, 1, 0
        )
        netlink.send(header + request)
        while True:
            data = netlink.recv(1 << 16)
            while data:
                length, kind, *_ = _NETLINK_HEADER.unpack_from(data)
                if kind == _NLMSG_DONE:
                    return
                if kind == _NLMSG_ERROR:
                    raise OSError("sock_diag was refused")
                _, state = struct.unpack_from("BB", data, _NETLINK_HEADER.size)
                (port,) = struct.unpack_from("!H", data, _NETLINK_HEADER.size + 4)
                (inode,) = struct.unpack_from("I", data, _NETLINK_HEADER.size + 68)
                yield str(inode), port, state == _TCP_LISTEN
                data = data[(length + 3) & ~3 :]


def _lines(path: str) -> list[str]:
    """Return the lines of a file in /proc without the first line, which has the names of the columns; [] if it cannot
    be read.
    """
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
    """Return the state of a thread that waits for descriptors of these kinds (a client, a backend, ...): what it waits
    for. None if no kind is known.

    `several` is returned when the thread waits for more than one thing, or for INTERNAL descriptors alone.
    """
    known = set(kinds) - {None}
    present = [_WAITS[kind] for kind in known if kind in _WAITS]
    if len(present) == 1:
        return present[0]
    return several if known else None
