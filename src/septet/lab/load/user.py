"""One user of the load generator, and the names of what can go wrong on his connection."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from .answer import Answer

KINDS = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.ETIMEDOUT: "time-out",
    errno.EMFILE: "no descriptor",
    errno.ENFILE: "no descriptor",
    errno.EADDRNOTAVAIL: "no local port",
}


class User:
    """One user and his present connection."""

    # fmt: off
    __slots__ = (
        "answer", "arrived", "fd", "recv", "retrying", "reused", "send", "socket", "started_ns", "unsent",
        "watched",
    )
    # fmt: on

    def __init__(self) -> None:
        self.arrived = False  # has had a first answer
        self.started_ns = 0  # the present request
        self.unsent = b""  # of it; not empty also while connecting
        self.retrying = False  # it was sent before, on a connection that the server had given up
        self.answer: Answer | None = None  # to it, when it does not come in one piece
        self.reused = False  # the present connection has carried an answer before
        self.socket: socket.socket | None = None
        self.send: Callable[[bytes], int]  # of the present socket, bound once
        self.recv: Callable[[int], bytes]
        self.fd = -1
        self.watched = 0  # what epoll watches


def kind_of(code: int | None) -> str:
    """The name of an error number in the figures: a word where we have one, else the constant's name."""
    return KINDS.get(code or 0) or errno.errorcode.get(code or 0, "error")
