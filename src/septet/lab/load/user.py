"""One user of the load generator, and the names of what can go wrong on his connection."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from .aim import Aim
from .answer import Answer
from .cookies import Jar
from .requests import Requests
from .tally import Series

KINDS = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.ETIMEDOUT: "time-out",
    errno.ENOENT: "refused",  # no such unix socket
    errno.EAGAIN: "queue full",  # of a unix socket's listener: unix(7)
    errno.EMFILE: "no descriptor",
    errno.ENFILE: "no descriptor",
    errno.EADDRNOTAVAIL: "no local port",
}


class User:
    """One user, his present request, and his present connection."""

    # fmt: off
    __slots__ = (
        "aim", "answer", "arrived", "connect_ns", "cookies", "due_ns", "fd", "first_ns", "left", "number", "recv",
        "requests", "retrying", "reused", "send", "series", "socket", "started_ns", "unsent", "watched",
    )
    # fmt: on

    def __init__(self, number: int, requests: Requests, aim: Aim) -> None:
        self.number = number
        self.requests = requests
        self.cookies: Jar | None = None
        self.arrived = False  # has had a first answer
        # The present request:
        self.aim = aim
        self.series: Series  # into which its latency goes
        self.due_ns = 0  # 0: there is none, the user has nothing to do
        self.started_ns = 0  # it was given a connection, or began to open one
        self.unsent = b""  # of it; not empty also while connecting
        self.retrying = False  # it was sent before, on a connection that the server had given up
        self.answer: Answer | None = None  # to it, when it does not come whole, or is not known
        self.first_ns = 0  # when the first byte of such an answer came
        # The present connection:
        self.socket: socket.socket | None = None
        self.send: Callable[[bytes], int]  # bound once
        self.recv: Callable[[int], bytes]
        self.fd = -1
        self.watched = 0  # what epoll watches
        self.connect_ns = 0  # when it was begun; 0 when it is established
        self.left = 0  # requests that it may still carry
        self.reused = False  # it has carried an answer before


def kind_of(code: int | None) -> str:
    """The name of an error number in the figures: a word where we have one, else the constant's name."""
    return KINDS.get(code or 0) or errno.errorcode.get(code or 0, "error")
