"""The users of a drill: some keep their connection, the others open one for each request. All of them together send
requests at a fixed rate.

One thread serves all of them over epoll(7). A user begins a request when it is due; if the answer to the last one has
not come by then, as soon as it comes.
"""

from __future__ import annotations

import errno
import heapq
import random
import select
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from septet.lab.load.answer import Answer, Malformed

TIMEOUT_S = 15.0
"""Seconds after which a request without an answer is lost."""
LATE_CHECK_S = 0.5
RECEIVE_BYTES = 65536


@dataclass(slots=True, eq=False)
class User:
    keeps: bool
    """True if the user keeps the connection until the server closes it; False if the user opens one for each request.
    """
    sock: socket.socket | None = None
    answer: Answer | None = None
    """The answer that the user waits for; None if no request is in flight."""
    sent: bool = False
    began_at: float = 0.0
    due_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Loss:
    """One lost request. Times are on the clock of `time.monotonic`."""

    began_at: float
    lost_at: float
    reason: str
    keeps: bool


@dataclass(slots=True)
class Tally:
    answered: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    losses: list[Loss] = field(default_factory=list)
    closed_idle: int = 0
    """Number of kept connections that the server has closed while they were idle."""
    told: int = 0
    """Number of kept connections of which the server announced the end, by `Connection: close` in an answer."""
    slowest_s: float = 0.0


class Users:
    """The users of a drill: `keepers` keep their connections, `newcomers` connect for each request. Together they begin
    `rate` requests per second at `address`.
    """

    def __init__(
        self, address: tuple[str, int], path: str, keepers: int, newcomers: int, rate: float, seed: int = 0
    ) -> None:
        self._address = address
        self._family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        head = f"GET {path} HTTP/1.1\r\nHost: {host}:{address[1]}\r\nUser-Agent: septet-drill\r\nAccept: */*\r\n"
        self._keep = f"{head}\r\n".encode("ascii")
        self._close = f"{head}Connection: close\r\n\r\n".encode("ascii")
        self._users = [User(True) for _ in range(keepers)] + [User(False) for _ in range(newcomers)]
        self._interval_s = len(self._users) / rate
        self._chance = random.Random(seed)
        self._epoll = select.epoll()
        self._by_fd: dict[int, User] = {}
        self._due: list[tuple[float, int]] = []
        self._until = float("inf")
        """The time, in seconds of `time.monotonic`, from which on no request is begun."""
        self.tally = Tally()

    def run(self, duration_s: float, events: list[tuple[float, Callable[[], None]]]) -> Tally:
        """Load the server for `duration_s` seconds, then wait for the requests in flight, and return what was counted.
        `events`: functions to call meanwhile, each with its time in seconds from the beginning.
        """
        begun = time.monotonic()
        self._until = begun + duration_s
        pending = sorted(((begun + at, call) for at, call in events), key=lambda each: each[0])
        for number, user in enumerate(self._users):
            user.due_at = begun + self._chance.random() * self._interval_s
            self._due.append((user.due_at, number))
        heapq.heapify(self._due)
        looked_at = begun
        while (now := time.monotonic()) < self._until or pending or any(user.answer for user in self._users):
            while pending and pending[0][0] <= now:
                pending.pop(0)[1]()
            while now < self._until and self._due and self._due[0][0] <= now:
                self._begin(self._users[heapq.heappop(self._due)[1]])
            next_at = min([self._due[0][0] if self._due else now + 1, pending[0][0] if pending else now + 1])
            for descriptor, events_found in self._epoll.poll(max(0.0, min(next_at - now, 0.1))):
                if (found := self._by_fd.get(descriptor)) is not None:
                    self._go_on(found, events_found)
            if now - looked_at > LATE_CHECK_S:
                looked_at = now
                self._drop_late(now)
        self.close()
        return self.tally

    def begin_no_more(self) -> None:
        """Begin no further request; those in flight are still awaited."""
        self._until = float("-inf")

    @staticmethod
    def now() -> float:
        """Return the present time in seconds of `time.monotonic`, as in `Loss`."""
        return time.monotonic()

    def close(self) -> None:
        for user in self._users:
            self._leave(user)
        self._epoll.close()

    # A request

    def _begin(self, user: User) -> None:
        user.began_at, user.sent = time.monotonic(), False
        user.answer = Answer()
        if user.sock is not None and self._has_ended(user.sock):
            self.tally.closed_idle += 1
            self._leave(user)
        if user.sock is not None:
            self._send(user)
            return
        user.sock = socket.socket(self._family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        failed = user.sock.connect_ex(self._address)
        if failed not in (0, errno.EINPROGRESS):
            self._lose(user, f"connecting: {errno.errorcode.get(failed, failed)}")
            return
        self._by_fd[user.sock.fileno()] = user
        self._epoll.register(user.sock.fileno(), select.EPOLLOUT)

    @staticmethod
    def _has_ended(sock: socket.socket) -> bool:
        try:
            return sock.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _send(self, user: User) -> None:
        assert user.sock is not None
        try:
            user.sock.send(self._keep if user.keeps else self._close)
        except OSError as error:
            self._lose(user, f"sending: {_name(error)}")
            return
        user.sent = True
        self._epoll.modify(user.sock.fileno(), select.EPOLLIN)

    def _go_on(self, user: User, events: int) -> None:
        assert user.sock is not None
        if not user.sent and user.answer is not None:
            failed = user.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if failed:
                self._lose(user, f"connecting: {errno.errorcode.get(failed, failed)}")
            else:
                self._send(user)
            return
        try:
            data = user.sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(user, f"receiving: {_name(error)}") if user.answer else self._ended_idle(user)
            return
        if user.answer is None:
            self._ended_idle(user)
        else:
            self._take(user, user.answer, data)

    def _take(self, user: User, answer: Answer, data: bytes) -> None:
        try:
            complete = answer.feed(data)
        except Malformed as error:
            self._lose(user, f"malformed: {error}")
            return
        if not complete:
            if not data:
                begun = "within the answer" if answer.framing or answer.body_bytes else "without an answer"
                self._lose(user, f"closed {begun}")
            return
        framing = answer.framing
        assert framing is not None
        if framing.status >= 500:
            self._lose(user, f"status {framing.status}")
            return
        tally = self.tally
        tally.answered += 1
        tally.statuses[framing.status] += 1
        tally.slowest_s = max(tally.slowest_s, time.monotonic() - user.began_at)
        if user.keeps and framing.keep:
            self._finish(user)
            return
        tally.told += user.keeps
        self._leave(user)
        self._finish(user)

    def _finish(self, user: User) -> None:
        """Make the user's next request due. Called when a request is over, by its answer or because it was lost."""
        user.answer = None
        user.due_at = max(time.monotonic(), user.due_at + self._interval_s * (0.5 + self._chance.random()))
        heapq.heappush(self._due, (user.due_at, self._users.index(user)))

    def _ended_idle(self, user: User) -> None:
        self.tally.closed_idle += 1
        self._leave(user)

    def _lose(self, user: User, reason: str) -> None:
        self.tally.losses.append(Loss(user.began_at, time.monotonic(), reason, user.keeps))
        self._leave(user)
        self._finish(user)
        user.due_at += 0.05

    def _leave(self, user: User) -> None:
        if user.sock is not None:
            self._by_fd.pop(user.sock.fileno(), None)
            user.sock.close()
            user.sock = None

    def _drop_late(self, now: float) -> None:
        for user in self._users:
            if user.answer is not None and now - user.began_at > TIMEOUT_S:
                self._lose(user, f"no answer in {TIMEOUT_S:g} s")


def _name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error))
