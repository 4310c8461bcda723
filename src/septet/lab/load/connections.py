"""The users' connections, in one thread over epoll(7): the base class of the closed and the open loop.

A request on a kept connection costs one recv, one send and a share of one epoll_wait. An answer that equals the last
right one is not parsed. All other cases (answers in pieces, new heads, errors) may take longer.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from abc import ABC, abstractmethod
from collections import deque
from itertools import cycle
from typing import Any

from .answer import Framing, Malformed, first_line
from .limits import Route, spare_descriptors
from .plan import NoListener, Plan, split
from .requests import Encoder, Jar, target_order
from .state import AnyAnswer, ClosingConnections, TargetState, User, kind_of
from .tally import Tally
from .tls import AwaitsServer, Dialer
from .websocket import HandshakeFailed, MessageEncoder, WebSocketDialer

RECEIVE_BYTES = 65536
"""Bytes to receive at a time. More would cost time in the allocator: glibc maps larger blocks anew each time
(M_MMAP_THRESHOLD in mallopt(3))."""
BACK_OFF_NS = 100_000_000
"""Nanoseconds that a user waits after an error before the next request, so that a dead server does not make a busy
loop."""
UNLIMITED = 1 << 62
IP_BIND_ADDRESS_NO_PORT = 24  # ip(7): choose the port at connect(2), when the address of the peer is known
READABLE = select.EPOLLIN | select.EPOLLRDHUP
clock = time.monotonic_ns


class Connections(ABC):
    """N users, each with at most one connection in use. A subclass decides, by its method `_free`, what a user does
    next.
    """

    def __init__(self, plan: Plan, route: Route) -> None:
        self._plan = plan
        self._route = route
        self._dialer: Dialer | WebSocketDialer | None = None
        self._encoder: Encoder | MessageEncoder = Encoder(plan)
        if split(plan.url)[0].scheme in ("https", "wss"):
            self._dialer = Dialer(plan)
        if plan.websocket:
            self._dialer = WebSocketDialer(plan, self._dialer)
            self._encoder = MessageEncoder(plan)
        self._targets = [
            TargetState(index, target, plan.closes(target)) for index, target in enumerate(plan.all_targets())
        ]
        self._next_target = cycle(
            self._targets[index] for index in target_order([target.definition.weight for target in self._targets])
        ).__next__
        self._limit = plan.limit_per_connection
        self._epoll = select.epoll()
        self._by_fd: dict[int, Any] = {}
        """For the descriptor of each connection, its user. Over HTTP/2, where users share a connection, it is the
        object for the connection.
        """
        self._closing = ClosingConnections(spare_descriptors(plan.connections + plan.slow))
        self._resting: deque[tuple[int, User]] = deque()
        """Users who rest after an error, each with the instant in ns (monotonic clock) at which the rest ends. They are
        in order of these instants, as all rest for the same time.
        """
        self._met = False
        """True once the server has accepted a connection, or answered. Until then a refused connection raises
        NoListener; afterwards it is counted as an error.
        """
        self.error_text: dict[str, str] | None = None
        """What the first error with a short text says: its `kind`, and the first `line` of the text."""
        self.users = [self._user(plan.first_user + number) for number in range(plan.users)]
        self.tally = self.warmup = self._new_tally()

    def _user(self, number: int) -> User:
        return User(number, self._encoder.requests_of(number), self._targets[0])

    def _new_tally(self) -> Tally:
        """Return a new, empty tally. From now on, a request that begins has its latency recorded in this tally."""
        tally = Tally(len(self._targets))
        for target, series in zip(self._targets, tally.series, strict=True):
            target.series = series
        return tally

    @abstractmethod
    def _free(self, user: User, now: int, /) -> None:
        """Decide what the user does next. Called when it has no request under way: after an answer, or after the rest
        that follows an error. `now`: the present time, in ns of the monotonic clock.
        """

    def _arrived(self, user: User) -> None:
        """Note that the user has had its first answer, right or wrong."""
        user.arrived = True

    # A request, from when it is due to its answer.

    def _begin(self, user: User, now: int, due_ns: int = 0) -> None:
        """Begin the user's next request at `now`: send it on the open connection, or on a new one. It was due at
        `due_ns` (0: at `now`); both are in ns of the monotonic clock.

        This is one long function because it runs for every request.
        """
        target = user.target = self._next_target()
        user.series = target.series
        user.due_ns = due_ns or now
        user.started_ns = now
        if user.watched != READABLE:
            self._transmit(user)
            return
        user.remaining -= 1
        request = (user.requests.keep if user.remaining else user.requests.last)[target.index]
        try:
            sent = user.send(request)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._broken(user, error)
            return
        if sent != len(request):
            user.unsent = request[sent:]
            self._watch(user, select.EPOLLOUT)

    def _transmit(self, user: User) -> None:
        """Open a connection for the user, and send the present request on it."""
        if not self._open(user):
            return
        user.remaining -= 1
        user.unsent = (user.requests.keep if user.remaining else user.requests.last)[user.target.index]
        self._send(user)

    def _send(self, user: User, /) -> None:
        """Send the part of the user's request that is not sent yet. On loopback the connection is established by now;
        elsewhere the socket may report EAGAIN, and epoll then says when to go on.
        """
        try:
            user.unsent = user.unsent[user.send(user.unsent) :]
        except AwaitsServer:
            self._watch(user, READABLE)
            return
        except BlockingIOError:
            pass
        except OSError as error:
            self._broken(user, error)
            return
        if user.connect_ns and not user.unsent:
            self._established(user)
        self._watch(user, select.EPOLLOUT if user.unsent else READABLE)

    def _watch(self, user: Any, events: int) -> None:
        if events != user.watched:
            (self._epoll.modify if user.watched else self._epoll.register)(user.fd, events)
            user.watched = events

    def _receive(self, user: User, events: int, /) -> None:
        try:
            data = user.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._broken(user, error)
            return
        target = user.target
        if data == target.known and user.answer is None and user.due_ns:
            now = clock()
            user.series.whole.append(now - user.started_ns)
            self._complete(user, target.framing, target.known_bytes, now, events)
        else:
            self._receive_unknown(user, data, events)

    def _receive_unknown(self, user: User, data: bytes, events: int) -> None:
        """Handle received bytes that have to be parsed. Only a whole answer that is equal, byte by byte, to the last
        right answer of the same target is not handled here. `events`: what epoll reported for the connection.
        """
        now = clock()
        if not user.due_ns:
            self._idle_ended(user, data)
            return
        whole = b""
        if user.answer is None:
            if not data:
                self._closed_early(user, getattr(user.socket, "ending", "closed early"))
                return
            user.answer, user.first_ns, whole = user.target.new_answer(), now, data
        try:
            user.answer.feed(data)
        except Malformed:
            self._fail(user, "malformed")
            return
        if user.answer.complete:
            self._judge(user, user.answer, bool(whole), now, events if data else select.EPOLLRDHUP, whole)
        elif not data:
            self._fail(user, "short body")

    def _judge(
        self, user: User, answer: AnyAnswer, in_one_piece: bool, now: int, events: int, known: bytes = b""
    ) -> None:
        """Check a complete answer that had to be parsed, and count it as right or as an error. `in_one_piece`: True if
        all of it was received at once. `now`: when its end came, in ns of the monotonic clock. `events`: what epoll
        reported for the connection.

        `known`: the bytes of the answer, which are remembered (unless the user keeps cookies from it), so that a later
        answer with the same bytes is known to be right and need not be parsed; b"" if it came in pieces.
        """
        framing = answer.framing
        assert framing is not None, "a complete answer has a head"
        if user.target.closes:
            framing = framing._replace(keep=False)
        kind = user.target.objection(answer)
        if kind is not None:
            self._fail(user, kind, answer.body)
            return
        series = user.series
        if in_one_piece:
            series.whole.append(now - user.started_ns)
        else:
            series.pieces.append(now - user.started_ns)
            series.firsts.append(user.first_ns - user.started_ns)
        if self._plan.cookies and framing.cookies:
            user.cookies = user.cookies or Jar()
            user.cookies.take(framing.cookies, user.target.path_of(user.number), time.time())
            user.requests = self._encoder.requests_of(user.number, user.cookies)
        elif known:
            user.target.remember(known, framing, answer.body_bytes)
        self._complete(user, framing, answer.body_bytes, now, events)

    def _complete(self, user: User, framing: Framing, body_bytes: int, now: int, events: int) -> None:
        """Count a right answer, whose latency has been recorded, and make the user free for the next request. The
        connection is kept only if `framing` and the user's limit of requests for each connection allow it, and if
        `events`, which epoll reported, do not show its end.
        """
        self.tally.body_bytes += body_bytes
        self.tally.statuses[framing.status] += 1
        if not user.arrived:
            self._met = True
            self._arrived(user)
        user.answer = None
        user.retrying = False
        user.due_ns = 0
        if framing.keep and user.remaining and events == select.EPOLLIN:
            user.reused = True
        else:
            self._leave(user, closed=bool(events & select.EPOLLRDHUP))
        self._free(user, now)

    # A connection, from its opening to its end.

    def _open(self, user: User) -> bool:
        """Open a non-blocking socket for the user and begin to connect it. Returns False if connecting failed at once;
        in this case the error has been counted.
        """
        user.answer, user.reused = None, False
        user.remaining = self._limit or UNLIMITED
        try:
            new = self._new_socket(user.number)
            over: Any = new if self._dialer is None else self._dialer.over(new)
            user.socket, user.fd, user.send, user.recv = over, new.fileno(), over.send, over.recv
            self._by_fd[user.fd] = user
            user.connect_ns = clock()
            self._connect(new)
        except OSError as error:
            self._fail(user, kind_of(error.errno or errno.EIO))
            return False
        return True

    def _new_socket(self, number: int) -> Any:
        """Return a socket that does not block, with the source address of the user of this number. Raises OSError."""
        # The C type: the class `socket.socket` around it costs a microsecond and adds nothing that is needed here.
        new: Any = socket.SocketType(self._route.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        if sources := self._route.sources:
            try:
                new.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
                new.bind((sources[number % len(sources)], 0))
            except OSError:
                new.close()
                raise
        return new

    def _connect(self, sock: Any) -> None:
        """Begin to connect to the server. Raises OSError where that fails at once."""
        code = sock.connect_ex(self._route.address)
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, "connect")

    def _established(self, user: Any) -> None:
        self.tally.connects.append(clock() - user.connect_ns)
        user.connect_ns = 0
        self._met = True

    def _leave(self, user: User, closed: bool) -> None:
        """Stop using the user's connection after a complete answer, because no further request may be sent on it.

        `closed`: True if the server has closed its side; then the connection is closed at once. Otherwise it is kept
        open until the server closes it (see `ClosingConnections`).
        """
        if user.remaining and not user.target.closes:
            self.tally.counts["reconnects"] += 1
        if user.socket is not None and not closed:
            self._closing.keep(user.fd, user.socket)
            user.socket = None
        self._close(user)

    def _idle_ended(self, user: User, data: bytes) -> None:
        """Handle what happens on a connection while its user has no request under way. If the server has closed the
        connection, we close it too. If bytes have come, we close it as well, and count an error; but on a WebSocket
        bytes are ignored, because a server may send messages at any time.
        """
        if data:
            if self._plan.websocket:  # a server may send messages that answer nothing
                return
            self.tally.errors["malformed"] += 1
        self._close(user)

    def _broken(self, user: User, error: OSError) -> None:
        if not user.due_ns:
            self._close(user)
        elif isinstance(error, HandshakeFailed):
            self._fail(user, error.kind, error.body)
        elif user.answer is None:
            self._closed_early(user, kind_of(error.errno))
        else:
            self._fail(user, kind_of(error.errno))

    def _closed_early(self, user: User, kind: str) -> None:
        """Handle the end of a connection before the first byte of an answer: send the request once more, or count an
        error of this `kind`.

        If the connection had been used before, the server may have closed it just as the request was sent. An
        idempotent request is then repeated once, on a new connection (RFC 9112 section 9.3.1).
        """
        if user.reused and not user.retrying and user.target.definition.idempotent:
            self.tally.counts["retries"] += 1
            user.retrying = True
            self._close(user)
            self._transmit(user)
        else:
            self._fail(user, kind)

    def _fail(self, user: User, kind: str, body: bytes | bytearray | None = None) -> None:
        """Count an error of this `kind`, and let the user rest. `body`: that of a complete answer, which is wrong."""
        if kind == "refused" and not self._met:
            raise NoListener(f"nothing listens at {self._plan.url}: the connection was refused")
        if (user.answer is not None or body is not None) and not user.arrived:
            self._met = True
            self._arrived(user)  # a wrong answer is an answer
        if body and self.error_text is None and (line := first_line(bytes(body))):
            self.error_text = {"kind": kind, "line": line}
        user.series.errors[kind] += 1
        user.retrying = False
        user.due_ns = 0
        self._close(user)
        self._resting.append((clock() + BACK_OFF_NS, user))

    def _close(self, user: User) -> None:
        self._by_fd.pop(user.fd, None)
        user.fd, user.watched, user.unsent, user.connect_ns, user.answer = -1, 0, b"", 0, None
        if user.socket is not None:
            user.socket.close()
            user.socket = None

    def _rested(self, now: int) -> None:
        while self._resting and self._resting[0][0] <= now:
            self._free(self._resting.popleft()[1], now)

    def _expire(self, now: int) -> None:
        oldest = now - int(self._plan.timeout_s * 1e9)
        for user in [user for user in self.users if 0 < user.due_ns < oldest]:
            self._fail(user, "time-out")
        for user in self.users if self._plan.cookies else ():
            if user.cookies and user.cookies.drop_ended(time.time()):
                user.requests = self._encoder.requests_of(user.number, user.cookies)

    def close(self) -> None:
        for user in list(self._by_fd.values()):
            self._close(user)
        self._closing.close_all()
        self._epoll.close()
