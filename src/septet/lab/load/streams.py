"""Users over HTTP/2: each is one stream at a time of a connection that it shares with others.

When a user sends a request, and what is counted, is the same as over HTTP/1.1 (the modules `connections`, `closed_loop`
and `open_loop`), so figures mean the same. This module has only what a shared connection changes: a request needs a
stream, an error may end one stream or all of a connection, and the requests that users send after answers which were
received together go out together.

Users 0 to N - 1 always share the first connection, the next N users the second one, and so on. When a connection has
ended, or takes no further requests (GOAWAY), the next of its users who has a request to send opens another connection
in its place.
"""

from __future__ import annotations

import errno
import select
import time
from collections import deque
from typing import Any

from .answer import Malformed, StreamAnswer
from .closed_loop import ClosedLoop, ThinkingLoop
from .connections import READABLE, RECEIVE_BYTES, UNLIMITED, Connections
from .http2 import Http2Codec, Outcome
from .limits import Route
from .loop import Loop
from .open_loop import OpenLoop
from .plan import LoadError, Plan, split
from .state import User, kind_of
from .tls import AwaitsServer

WRITABLE = READABLE | select.EPOLLOUT
clock = time.monotonic_ns


class SharedConnection:
    """One connection, its streams, and their users."""

    # fmt: off
    __slots__ = (
        "codec", "connect_ns", "fd", "lost", "place", "recv", "remaining", "retired", "reused",
        "send", "socket", "unsent", "users", "waiting", "watched",
    )
    # fmt: on

    def __init__(self, place: int, scheme: str, sock: Any, fd: int, remaining: int) -> None:
        self.place = place
        self.codec = Http2Codec(scheme)
        self.socket, self.send, self.recv = sock, sock.send, sock.recv
        self.fd = fd
        self.unsent = b""
        self.watched = 0
        self.connect_ns = clock()
        """When connecting began, in ns of the monotonic clock; 0 once it is established."""
        self.remaining = remaining
        """Number of further requests that the connection may carry."""
        self.users: dict[int, User] = {}
        """The users whose requests are under way, by stream."""
        self.waiting: deque[User] = deque()
        """Users whose requests wait for a stream, because the server allows no more of them now. Before the server has
        said on any connection how many streams it allows, each connection sends one request at a time, and the other
        users wait.
        """
        self.reused = False
        """True once the connection has carried an answer."""
        self.retired = False
        """True if the connection takes no further requests, because it has carried as many as it may, the server has
        said so (GOAWAY), or answers have stopped coming.
        """
        self.lost = False
        """True once the connection has ended, or is kept only until the server closes it."""

    @property
    def leaving(self) -> bool:
        return self.retired or self.codec.gone_away is not None


class StreamUsers(Connections):
    """The base class of the loops over HTTP/2. In place of a connection for each user, which `Connections` has, users
    send their requests on streams of shared connections.
    """

    def __init__(self, plan: Plan, route: Route, *more: Any) -> None:
        super().__init__(plan, route, *more)
        self._scheme = split(plan.url)[0].scheme
        self._shared: list[SharedConnection | None] = [None] * plan.connections
        self._receiving: SharedConnection | None = None
        """The connection whose input is being handled, or None. What is to be sent on this connection is sent only when
        all of its input has been handled.
        """
        self._spoken = False
        """True once a server has begun to speak HTTP/2. Before that each connection has at most one request under way,
        and if the server closes one, LoadError is raised, because it may not speak HTTP/2.
        """

    # A request

    def _transmit(self, user: User) -> None:
        """Send the user's present request on a stream of its connection. If the connection has ended, or takes no
        further requests, a new one is opened first.
        """
        place = (user.number - self._plan.first_user) // self._plan.streams
        connection = self._shared[place]
        if connection is None or connection.leaving:
            try:
                connection = self._shared[place] = self._open_shared(place)
            except OSError as error:
                self._fail(user, kind_of(error.errno or errno.EIO))
                return
        self._ask(connection, user)
        if connection is not self._receiving:
            self._settle(connection)

    def _open_shared(self, place: int) -> SharedConnection:
        """Begin to open the connection number `place`, and return it. Raises OSError where that fails at once."""
        new = self._new_socket(self._plan.first_user + place)
        over = new if self._dialer is None else self._dialer.over(new)
        connection = SharedConnection(place, self._scheme, over, new.fileno(), self._limit or UNLIMITED)
        try:
            self._connect(new)
        except OSError:
            new.close()
            raise
        self._by_fd[connection.fd] = connection
        return connection

    def _ask(self, connection: SharedConnection, user: User) -> None:
        """Send the user's request on a stream of the connection, or let the user wait for a stream (`waiting`)."""
        target = user.target
        answer = StreamAnswer(target.bodiless, target.keeps_body)
        user.connection, user.reused = connection, connection.reused
        user.stream = 0
        if self._spoken or not connection.users:
            user.stream = connection.codec.ask(user.requests.keep[target.index], answer)
        if not user.stream:
            connection.waiting.append(user)
            return
        connection.users[user.stream] = user
        connection.remaining -= 1
        connection.retired = connection.retired or not connection.remaining

    def _again(self, user: User, kind: str) -> None:
        """Send a request again that the server has not processed (RFC 9113 section 8.7); if it was sent again before,
        count an error of this `kind`.
        """
        if user.retrying:
            self._fail(user, kind)
            return
        self.tally.counts["retries"] += 1
        user.retrying = True
        self._transmit(user)

    def _close(self, user: User) -> None:
        """Cancel the user's present request: its stream is reset, or, if it still waits for a stream, the request is
        never sent. The connection stays open for its other users.
        """
        connection, user.connection, user.answer = user.connection, None, None
        if connection is None or connection.lost:
            return
        if user.stream:
            del connection.users[user.stream]
            connection.codec.cancel(user.stream)
        else:
            connection.waiting.remove(user)
        if connection is not self._receiving:
            self._settle(connection)

    # A connection

    def _settle(self, connection: SharedConnection) -> None:
        """Called after a change of the connection or its streams. Users who wait for a stream get the free ones; a
        connection that takes no further requests is closed after its last answer; what is to be sent is sent.
        """
        for _ in range(len(connection.waiting)):
            if connection.lost:
                break
            user = connection.waiting.popleft()
            self._take_off(user)
            if connection.leaving:
                self._transmit(user)
            else:
                self._ask(connection, user)
        if connection.leaving and not connection.users and not connection.lost:
            self._finish(connection)
        elif not connection.lost:
            self._flush(connection)

    @staticmethod
    def _take_off(user: User) -> None:
        user.connection, user.stream = None, 0

    def _finish(self, connection: SharedConnection) -> None:
        """Tell the server that the connection ends (GOAWAY), and keep it until the server has closed it. Called when
        the connection has no request under way.
        """
        connection.codec.say_goodbye()
        self._flush(connection)
        if not connection.lost:
            connecting = connection.connect_ns
            self._forget(connection, close=bool(connecting))
            if not connecting:
                self._closing.keep(connection.fd, connection.socket)

    def _forget(self, connection: SharedConnection, close: bool) -> None:
        connection.lost = True
        self._by_fd.pop(connection.fd, None)
        if self._shared[connection.place] is connection:
            self._shared[connection.place] = None
        if close:
            connection.socket.close()

    def _lose(self, connection: SharedConnection, kind: str) -> None:
        """Handle the end of a connection. Requests to which no part of an answer has come are sent again where that is
        permitted (see `_closed_early`); the other requests are counted as errors, of this `kind` if nothing more exact
        is known.
        """
        self._forget(connection, close=True)
        if connection.codec.gone_away not in (None, "NO_ERROR"):
            kind = f"GOAWAY: {connection.codec.gone_away}"
        answers = connection.codec.awaited
        for stream, user in list(connection.users.items()):
            if answers[stream].framing is None:
                self._take_off(user)
                self._closed_early(user, kind)
            else:
                user.answer = answers[stream]
                self._fail(user, "short body" if kind == "closed early" else kind)
        for user in connection.waiting:  # their requests were not sent
            self._take_off(user)
            if connection.connect_ns:
                self._fail(user, kind)
            else:
                self._transmit(user)

    def _send(self, connection: Any, /) -> None:
        """Called when epoll reports an event on a connection with unsent bytes: sends them. If some are left it also
        reads, because a server may read no more until we do.
        """
        self._flush(connection)
        if connection.unsent and not connection.connect_ns and not connection.lost:
            self._receive(connection, 0)

    def _flush(self, connection: SharedConnection) -> None:
        connection.unsent += connection.codec.output()
        try:
            while connection.unsent:
                connection.unsent = connection.unsent[connection.send(connection.unsent) :]
        except AwaitsServer:
            self._watch(connection, READABLE)
            return
        except BlockingIOError:
            pass
        except OSError as error:
            self._lose(connection, kind_of(error.errno))
            return
        if connection.connect_ns and not connection.unsent:
            self._established(connection)
        self._watch(connection, WRITABLE if connection.unsent else READABLE)

    def _receive(self, connection: Any, events: int, /) -> None:
        try:
            data = connection.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(connection, kind_of(error.errno))
            return
        if not data:
            if not self._spoken:
                raise LoadError(f"{self._plan.url} ended the connection instead of beginning HTTP/2{self._how}")
            self._lose(connection, "closed early")
            return
        now = clock()
        self._receiving = connection
        try:
            for outcome in connection.codec.receive(data, now):
                self._ended(connection, outcome, now)
        except Malformed:
            if not self._spoken and not connection.codec.begun:
                raise LoadError(
                    f"{self._plan.url} does not speak HTTP/2{self._how}: its answer begins with {data[:12]!r}"
                ) from None
            self._receiving = None
            self._lose(connection, "malformed")
            return
        finally:
            self._receiving = None
        if not self._spoken and connection.codec.begun:
            self._check_limit(connection.codec.limit)
        if connection.codec.gone_away is not None and not connection.retired:
            connection.retired = True
            self.tally.counts["reconnects"] += 1
        self._settle(connection)

    @property
    def _how(self) -> str:
        return "" if self._scheme == "https" else " in clear, by prior knowledge (septet serve needs --http2-cleartext)"

    def _check_limit(self, limit: int) -> None:
        """Raise LoadError if the server allows fewer streams than the plan has on a connection."""
        self._spoken = True
        if limit < min(self._plan.streams, self._plan.users):
            raise LoadError(
                f"{self._plan.url} allows {limit} streams on a connection: take --streams {limit}, or fewer"
            )

    def _ended(self, connection: SharedConnection, outcome: Outcome, now: int) -> None:
        """Handle the end of a stream: count its answer or its error, or send the request again if the server has not
        processed it.
        """
        user, answer = connection.users.pop(outcome.stream), outcome.answer
        self._take_off(user)
        if outcome.unprocessed:
            self._again(user, outcome.kind)
            return
        if answer.framing is not None:
            user.answer, user.first_ns = answer, answer.first_ns
        if outcome.kind:
            self._fail(user, outcome.kind)
            return
        connection.reused = True
        user.remaining = UNLIMITED
        self._judge(user, answer, answer.first_ns == now, now, select.EPOLLIN)

    def _expire(self, now: int) -> None:
        """Cancel requests that take too long. If no part of an answer has come on the connection since one of them was
        sent, the connection takes no further requests.
        """
        oldest = now - int(self._plan.timeout_s * 1e9)
        late = [user for user in self.users if 0 < user.due_ns < oldest and user.connection is not None]
        silent = {user.connection for user in late if user.connection.codec.heard_ns < user.started_ns}
        super()._expire(now)
        for connection in silent:
            if not connection.lost:
                connection.retired = True
                self._settle(connection)

    def close(self) -> None:
        for connection in list(self._by_fd.values()):
            self._forget(connection, close=True)
        super().close()


class Http2ClosedLoop(StreamUsers, ClosedLoop):
    pass


class Http2ThinkingLoop(StreamUsers, ThinkingLoop):
    pass


class Http2OpenLoop(StreamUsers, OpenLoop):
    pass


OVER_HTTP2: dict[type[Loop], type[Loop]] = {
    ClosedLoop: Http2ClosedLoop,
    ThinkingLoop: Http2ThinkingLoop,
    OpenLoop: Http2OpenLoop,
}
"""The loop over HTTP/2 for each loop over HTTP/1.1."""
