"""What the connections remember: each user with the present request and connection, each target with the last right
answer to it, and connections that wait for the server to close them.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any

from .answer import Answer, Framing
from .plan import ANY_LENGTH, PLACE, Target
from .requests import Jar, Requests
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


LONGEST_KNOWN = 65536  # bytes; longer ones do not come in one piece


class Aim:
    """One target of the plan, the last right answer to it, and what the next one must be like."""

    __slots__ = (
        "_first_body",
        "_seen",
        "closes",
        "expected_length",
        "framing",
        "index",
        "known",
        "known_bytes",
        "series",
        "target",
    )

    def __init__(self, index: int, target: Target, closes: bool = False) -> None:
        self.index = index
        self.closes = closes  # its request says that the connection ends with it
        self._seen = 0  # right answers that were looked at, as long as two have not been
        self.target = target
        self.expected_length = target.expect_length
        self.series: Series  # where the latencies of requests go that begin now
        self.known: bytes | None = None  # a right answer, whole; one that equals it needs no second look
        self.known_bytes = 0  # of its body
        self.framing: Framing  # its
        self._first_body: bytes | None = None

    def path_of(self, user: int) -> bytes:
        """What this user asks for."""
        return self.target.path.replace(PLACE, str(user)).encode("ascii")

    def new_answer(self) -> Answer:
        target = self.target
        return Answer(bodiless=target.method == "HEAD", keeps_body=bool(target.expect_text) or target.same_body)

    def objection(self, answer: Answer) -> str | None:
        """The kind of error that a complete answer is, or None when nothing is wrong with it."""
        assert answer.framing is not None, "a complete answer has a head"
        status, target = answer.framing.status, self.target
        if status != target.status if target.status else not 200 <= status < 400:
            return f"status {status}"
        self._learn_length(answer.body_bytes)
        if self.expected_length not in (answer.body_bytes, ANY_LENGTH):
            return "length"
        if answer.keeps_body:
            return self._objection_to_body(bytes(answer.body))
        return None

    def _learn_length(self, length: int) -> None:
        """As in the first right answer; a page whose second one has another is a page whose length varies."""
        if self._seen < 2 and self.target.expect_length is None:
            varies = self._seen and length != self.expected_length
            self.expected_length = ANY_LENGTH if varies else length
        self._seen += 1

    def _objection_to_body(self, body: bytes) -> str | None:
        if self.target.expect_text and self.target.expect_text.encode() not in body:
            return "body"
        if self.target.same_body:
            if self._first_body is None:
                self._first_body = body
            return None if body == self._first_body else "body"
        return None

    def remember(self, data: bytes, framing: Framing, body_bytes: int) -> None:
        """Know this right answer again; `data` is all of it."""
        if len(data) < LONGEST_KNOWN and self._seen > 1:
            self.known, self.framing, self.known_bytes = data, framing, body_bytes


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
