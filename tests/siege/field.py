"""What an attack is given: the server, how much to do and how long, and a place for what it has done and found."""

import resource
import socket
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from time import monotonic

from siege.beside import Regular
from support.processes import tree
from support.server import Server
from support.waiting import becomes_true

DEADLINE_S = 2.0
"""The server's time-outs for heads, bodies and answers."""

DEADLINES = [
    *("--header-timeout", str(DEADLINE_S), "--body-timeout", str(DEADLINE_S), "--write-timeout", str(DEADLINE_S)),
    *("--keep-alive-timeout", "30", "--graceful-timeout", "10"),
]

RESET = struct.pack("ii", 1, 0)
"""struct linger: on, 0 s. close(2) then resets the connection."""


@dataclass
class Field:
    """One attack on one server."""

    server: Server
    regulars: list[Regular]
    model: str
    interface: str
    random: Random
    scale: float
    """Of all numbers of clients and requests."""
    end: float
    """By time.monotonic; an attack that counts its clients ends by then, too."""
    stops: Callable[[], None]
    """Ends the server and notes how long that takes."""
    takes_all: bool
    """The attack takes all that the model has for clients: others wait meanwhile."""
    did: str = ""
    failures: list[str] = field(default_factory=list)
    may_lose: int = 0
    """Requests of well-behaved clients."""

    @property
    def address(self) -> tuple[str, int]:
        address = self.server.address
        assert not isinstance(address, str)
        return address

    def count(self, full: int) -> int:
        return max(1, round(full * self.scale))

    @property
    def over(self) -> bool:
        return monotonic() >= self.end

    def counted(self, full: int, what: str) -> Iterable[int]:
        """Up to the scaled number, as far as the time allows."""
        number = 0
        while number < self.count(full) and not self.over:
            yield number
            number += 1
        self.did = f"{number:,} {what}"

    def expect(self, condition: bool, sentence: str) -> None:
        if not condition:
            self.failures.append(sentence)

    def expect_soon(self, condition: object, sentence: str, timeout_s: float = 20.0) -> None:
        assert callable(condition)
        self.expect(becomes_true(condition, timeout_s), sentence)

    def limit(self, what: int, value: int) -> None:
        """A resource limit, see prlimit(2), of each process of the server and of those that come."""
        for process in tree(self.server.pid):
            with suppress(ProcessLookupError):
                resource.prlimit(process.pid, what, (value, resource.prlimit(process.pid, what)[1]))


def connect(address: tuple[str, int], source: str = "", receive_buffer: int = 0) -> socket.socket:
    """A bare socket: attacks that need thousands of clients have no time for more."""
    sock = socket.socket()
    try:
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            sock.setsockopt(socket.SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((source, 0))
        sock.settimeout(20)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


IP_BIND_ADDRESS_NO_PORT = 24
"""ip(7): choose the port at connect(2), so that each pair of addresses has all ports."""


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()
