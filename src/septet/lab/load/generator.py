"""The closed loop itself, in one thread over epoll(7).

The path of a request on a connection that is kept is one recv, one send and a share in one epoll_wait, with a head
that was parsed before recognized by its bytes. All else (pieces, new heads, errors) may take its time.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from .answer import Answer, Framing, Malformed
from .plan import ANY_LENGTH, Plan, prepare, spare_descriptors
from .tally import Tally
from .user import User, kind_of

Notify = Callable[[str, dict[str, Any]], None]

RECEIVE_BYTES = 65536  # more costs the allocator's time: glibc maps larger blocks anew each time (M_MMAP_THRESHOLD)
KNOWN_HEADS_MAX = 256  # heads of a server differ in their Date, once a second; those that differ more must not pile up
ARRIVING_MAX = 1000  # a quarter of a backlog of 4096: a SYN that finds it full is repeated after 1 s, then after 3 s
BACK_OFF_NS = 100_000_000  # after an error, so that a dead server does not make a busy loop
CLOSING_MAX = 1000  # connections whose answer is complete and which the server is to close
CHORES_NS = 50_000_000  # how often time-outs and back-offs are looked at
PROGRESS_NS = 250_000_000
READABLE = select.EPOLLIN | select.EPOLLRDHUP


def run(plan: Plan, notify: Notify = lambda event, details: None) -> dict[str, Any]:
    """Load the server as planned and return the figures of the time after the warm-up.

    `notify` hears of "progress" (four times a second), "measuring" and "measured". Ctrl-C ends the run early with the
    figures so far, marked `interrupted`. Raises LoadError, before anything is sent, when it cannot be done here.
    """
    generator = Generator(plan, notify)
    interrupted = False
    warmup = generator.tally
    try:
        generator.open_absent()
        generator.loop_for(plan.warmup_s)
        generator.measure()
        notify("measuring", {})
        generator.loop_for(plan.duration_s)
    except KeyboardInterrupt:
        interrupted = True
    notify("measured", {})
    figures = generator.figures()
    figures["warmup"] = {"answers": warmup.histogram.count, "errors": dict(warmup.errors)}
    figures["interrupted"] = interrupted
    generator.close()
    return figures


class Generator:
    """N users and the epoll they share."""

    def __init__(self, plan: Plan, notify: Notify) -> None:
        self._family, self._address, self._request = prepare(plan)
        self._plan = plan
        self._notify = notify
        self.tally = Tally()
        self._expected_length = plan.expect_length
        self._keep_alive = plan.mode == "keep-alive"
        self._known: dict[bytes, Framing] = {}
        self._epoll = select.epoll()
        self._by_fd: dict[int, User] = {}
        self._closing: dict[int, socket.socket] = {}  # the oldest first
        self._closing_max = min(CLOSING_MAX, spare_descriptors(plan.users))
        self._absent = [User() for _ in range(plan.users)]
        self._arriving = 0
        self._arriving_max = ARRIVING_MAX
        self._waiting: deque[tuple[int, User]] = deque()  # after an error; the same delay for all keeps it sorted

    def measure(self) -> None:
        """The warm-up is over: count anew. Who has not come yet comes now, so that arriving has a bound in time."""
        self._arriving_max = self._plan.users
        self.open_absent()
        self.tally = Tally()

    def loop_for(self, seconds: float) -> None:
        poll, by_fd, clock = self._epoll.poll, self._by_fd, time.monotonic_ns
        next_chores_ns = next_progress_ns = now = clock()
        end_ns = now + int(seconds * 1e9)
        while (now := clock()) < end_ns:
            if now >= next_chores_ns:
                next_chores_ns = now + CHORES_NS
                self._chores(now)
            if now >= next_progress_ns:
                next_progress_ns = now + PROGRESS_NS
                self._notify("progress", {"answers": self.tally.histogram.count})
            for fd, events in poll(min(CHORES_NS, end_ns - now) / 1e9):
                user = by_fd.get(fd)
                if user is None:
                    self._closed(fd)
                elif user.unsent:
                    self._send(user)
                else:
                    self._receive(user, events)

    def _chores(self, now: int) -> None:
        oldest = now - int(self._plan.timeout_s * 1e9)
        for user in [user for user in self._by_fd.values() if user.started_ns < oldest]:
            self._fail(user, "time-out")
        while self._waiting and self._waiting[0][0] <= now:
            self._open(self._waiting.popleft()[1], time.monotonic_ns())

    def figures(self) -> dict[str, Any]:
        figures = self.tally.figures(self._plan)
        now = time.monotonic_ns()
        unanswered = [now - user.started_ns for user in self._by_fd.values()]
        # Requests under way at the end are in no percentile: without these a server that stalls would look well.
        figures["unanswered"] = len(unanswered)
        figures["longest_unanswered_us"] = max(unanswered, default=0) // 1000
        figures["users_never_answered"] = len(self._absent) + self._arriving
        figures["expected_length"] = self._expected_length
        return figures

    def close(self) -> None:
        for user in list(self._by_fd.values()):
            self._close(user)
        for fd in list(self._closing):
            self._closed(fd)
        self._epoll.close()

    # A connection, from its opening to its end.

    def open_absent(self) -> None:
        """Let users arrive, but not more at once than a listener's backlog takes."""
        while self._absent and self._arriving < self._arriving_max:
            self._arriving += 1
            self._open(self._absent.pop(), time.monotonic_ns())

    def _open(self, user: User, started_ns: int) -> None:
        user.started_ns = started_ns
        user.answer, user.reused, user.watched = None, False, 0
        try:
            # The type in C: the class `socket.socket` around it costs a microsecond and adds nothing needed here.
            new: Any = socket.SocketType(self._family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            user.socket, user.fd, user.send, user.recv = new, new.fileno(), new.send, new.recv
            self._by_fd[user.fd] = user
            code = new.connect_ex(self._address)
        except OSError as error:
            code = error.errno or errno.EIO
        if code in (0, errno.EINPROGRESS):
            user.unsent = self._request
            self._send(user)  # on loopback the handshake is over by now; elsewhere EAGAIN makes us wait for it
        else:
            self._fail(user, kind_of(code))

    def _send(self, user: User) -> None:
        try:
            user.unsent = user.unsent[user.send(user.unsent) :]
        except BlockingIOError:
            pass
        except OSError as error:
            self._broken(user, error)
            return
        watched = select.EPOLLOUT if user.unsent else READABLE
        if watched != user.watched:
            (self._epoll.modify if user.watched else self._epoll.register)(user.fd, watched)
            user.watched = watched

    def _receive(self, user: User, events: int) -> None:
        try:
            data = user.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._broken(user, error)
            return
        if user.answer is None:
            head, _, body = data.partition(b"\r\n\r\n")
            framing = self._known.get(head)
            if framing is not None and framing.length == len(body):
                self._accept(user, framing, len(body), events)
                return
        self._receive_piece(user, data, events)

    def _receive_piece(self, user: User, data: bytes, events: int) -> None:
        if not data and user.answer is None:
            self._closed_early(user, "closed early")
            return
        answer = user.answer = user.answer or Answer()
        try:
            answer.feed(data)
        except Malformed:
            self._fail(user, "malformed")
            return
        if answer.complete and answer.framing is not None:
            framing = answer.framing._replace(keep=answer.framing.keep and self._keep_alive)
            kind = self._objection(framing.status, answer.body_bytes)
            if kind is not None:
                self._fail(user, kind)
                return
            self._remember(data, framing)
            self._accept(user, framing, answer.body_bytes, events if data else select.EPOLLRDHUP)
        elif not data:
            self._fail(user, "short body")

    def _remember(self, data: bytes, framing: Framing) -> None:
        """Know the head of an accepted answer again: the same bytes with as long a body need no second look."""
        head, end, body = data.partition(b"\r\n\r\n")
        if end and len(body) == framing.length:
            if len(self._known) >= KNOWN_HEADS_MAX:
                self._known.clear()
            self._known[head] = framing

    def _accept(self, user: User, framing: Framing, body_bytes: int, events: int) -> None:
        """A complete answer without fault has come: count it, and let the user go on."""
        now = time.monotonic_ns()
        tally = self.tally
        tally.record((now - user.started_ns) // 1000)
        tally.body_bytes += body_bytes
        if not user.arrived:
            self._arrived(user)
        user.answer = None
        user.retrying = False
        if framing.keep and not events & select.EPOLLRDHUP:
            user.reused = True
            user.started_ns = now
            user.unsent = self._request
            self._send(user)
        else:
            self._leave(user, now, closed=bool(events & select.EPOLLRDHUP))

    def _arrived(self, user: User) -> None:
        user.arrived = True
        self._arriving -= 1
        self.open_absent()

    def _objection(self, status: int, body_bytes: int) -> str | None:
        """The kind of error that a complete answer is, or None when nothing is wrong with it."""
        if not 200 <= status < 400:
            return f"status {status}"
        if body_bytes == self._expected_length or self._expected_length == ANY_LENGTH:
            return None
        if self._expected_length is None:
            self._expected_length = body_bytes
            return None
        return "length"

    def _leave(self, user: User, now: int, closed: bool) -> None:
        """The answer is complete and nothing may follow: the user goes on, on a new connection.

        The old one is kept until the server closes it, as it announced. Who closes first has the connection in
        TIME_WAIT for a minute; were it us, and not on loopback, our ports would run out at 500 connections a second.
        """
        if self._keep_alive:
            self.tally.reconnects += 1
        if user.socket is not None and not closed:
            self._closing[user.fd] = user.socket
            user.socket = None
        self._close(user)
        if len(self._closing) > self._closing_max:
            self._closed(next(iter(self._closing)))
        self._open(user, now)

    def _closed(self, fd: int) -> None:
        """The end of a connection that was left, or something else on it, which is nobody's answer."""
        old = self._closing.pop(fd, None)
        if old is not None:
            old.close()

    def _broken(self, user: User, error: OSError) -> None:
        if user.answer is None:
            self._closed_early(user, kind_of(error.errno))
        else:
            self._fail(user, kind_of(error.errno))

    def _closed_early(self, user: User, kind: str) -> None:
        """The connection ended before the first byte of an answer.

        On a connection used before, the server may have let go just as the request went out: a client repeats an
        idempotent request then, once, on a new connection (RFC 9112 section 9.3.1).
        """
        if user.reused and not user.retrying:
            self.tally.retries += 1
            user.retrying = True
            self._close(user)
            self._open(user, user.started_ns)
        else:
            self._fail(user, kind)

    def _fail(self, user: User, kind: str) -> None:
        self.tally.errors[kind] += 1
        user.retrying = False
        self._close(user)
        self._waiting.append((time.monotonic_ns() + BACK_OFF_NS, user))

    def _close(self, user: User) -> None:
        self._by_fd.pop(user.fd, None)
        user.fd, user.unsent = -1, b""
        if user.socket is not None:
            user.socket.close()
            user.socket = None
