"""A session, its socket, and the loop that watches it.

The loop's poller calls `ready` when the socket has an event. That receives and sends as far as the socket
allows, and then has the loop watch for the event that the session waits for. Between two requests of a busy
connection that event does not change, so no system call is needed.
"""

import logging
from socket import socket

from septet.apps.asgi import Cycle
from septet.apps.asgi_websocket import WebSocketCycle
from septet.exchange import Want
from septet.loop import ReadinessLoop
from septet.models._drive import drive, expire, receive_into
from septet.pollers import ERROR, HANGUP, READABLE, WRITABLE
from septet.protocol import CLOSE, EITHER, READ, RUN, TURN, WRITE, ServerExchange, ServerProtocol

log = logging.getLogger("septet")

UNREAD_LIMIT = 65536
"""Most bytes that are received while the application runs and are kept until they are wanted; when there are
more, the server receives no further ones, and they stay in the kernel.
"""


class WatchedConnection:
    """A connection whose socket a loop watches. Used only in the thread that runs the loop. A subclass runs the
    application (`dispatch`), and closes the socket (`end`).
    """

    __slots__ = ("_descriptor", "_mask", "cycle", "loop", "session", "sock")

    def __init__(self, loop: ReadinessLoop, sock: socket, session: ServerProtocol) -> None:
        self.loop = loop
        self.sock = sock
        self.session = session
        self.cycle: Cycle | WebSocketCycle | None = None
        """The object that runs the ASGI application for the last request; None when that is answered."""
        self._descriptor = sock.fileno()
        """The socket's descriptor; -1 once the loop no longer watches it."""
        self._mask = 0
        """The events that the loop watches for (`septet.pollers`); 0: none."""

    def dispatch(self, exchange: ServerExchange) -> Want | None:
        """Run the application for `exchange`. Returns what the connection wants next; None if the application runs
        elsewhere and will call `drive`.
        """
        raise NotImplementedError

    def take_turns(self) -> None:
        """Called when the session wants TURN, that is, when some of its exchanges have to be begun or have news for
        their application: begin each of the first kind, and wake the application of each of the others.
        """
        raise NotImplementedError

    def end(self) -> None:
        """Close the session and the socket, which the loop no longer watches."""
        raise NotImplementedError

    def ready(self, mask: int) -> None:
        """Called by the loop when the socket has an event: receive or send as the session wants, then do what it wants
        next. `mask` has an event that was watched for, or ERROR or HANGUP, which the next call of the socket will
        report. Never raises.
        """
        session = self.session
        try:
            want = session.phase.want
            if want is READ:
                want = receive_into(self.loop.receive_buffer, session, self.sock)
            elif want is RUN:  # while the application runs, only an error shows that the client is gone
                if mask & (ERROR | HANGUP):
                    want = session.lose()
                else:
                    want = receive_into(self.loop.receive_buffer, session, self.sock)
                if session.unread > UNREAD_LIMIT:
                    self.attend(want)
            elif (want is EITHER or want is TURN) and mask & READABLE:
                want = receive_into(self.loop.receive_buffer, session, self.sock)
            self.drive(want)
        except BaseException:  # also one that a signal handler or another thread of the application has raised
            try:
                self.fail()
            except BaseException:  # the next one has come meanwhile
                self.fail()

    def fail(self) -> None:
        """Close the connection, because received bytes may be lost and those that follow would be misread; then log
        the exception that is being handled. The connection is closed first, because another exception may interrupt the
        logging.
        """
        self.drive(self.session.lose())
        log.exception("a connection failed, and is cut")

    def drive(self, want: Want) -> None:
        """Do what the session wants, beginning with `want`, as far as the socket allows; then have the loop watch for
        the event that the session waits for. If that fails, the connection is closed and the failure logged, but not
        raised: the application, which may be the caller, could do nothing about it.
        """
        session = self.session
        try:
            after = drive(want, session, self.sock, self.dispatch)
            cycle = self.cycle
            if cycle is not None and cycle.answered:  # an idle connection keeps no memory of its last request
                self.cycle = None
            if (after is not READ and after is not RUN) or self._mask != READABLE or session.ended:
                self.attend(after)
        except BaseException:
            try:
                self.attend(session.lose())
            except BaseException:  # the next one has come meanwhile
                self.attend(session.lose())
            log.exception("a connection failed, and is cut")

    def attend(self, want: Want) -> None:
        """Have the loop watch for the events that `want` needs; at CLOSE, end the connection."""
        if self._descriptor < 0:
            return
        if want is CLOSE:
            # First, while this can be done again: an exception of a signal handler may interrupt each of these.
            if self.cycle is not None:
                self.cycle.wake()
            self.detach()
            self.end()
        elif want is TURN:
            self.take_turns()
        else:
            self._watch(self._mask_for(want))

    def attend_to(self, want: Want) -> None:
        """Called after `take_turns`: have the loop watch for the events that `want` needs. If `want` is TURN, some
        exchanges were left for the loop's next iteration: until then the loop watches for input.
        """
        if want is TURN:
            self._watch(READABLE)
        else:
            self.attend(want)

    def _mask_for(self, want: Want) -> int:
        """Return the events to watch for while the session wants `want`, which is not CLOSE."""
        if want is WRITE:
            return WRITABLE
        deaf = self.session.phase.deaf
        if want is EITHER:
            return WRITABLE if deaf else READABLE | WRITABLE
        if want is READ and deaf:
            return ERROR
        if want is RUN and (self.session.gone or self.session.unread > UNREAD_LIMIT):
            return ERROR
        return READABLE

    def detach(self) -> None:
        """Have the loop no longer watch the socket, which stays open."""
        if self._descriptor >= 0:
            self._watch(0)
            self._descriptor = -1

    def _watch(self, mask: int) -> None:
        """Have the loop watch the socket for the events in `mask`, and no others; 0: for none. Does nothing if these
        are the events that the loop watches for already.
        """
        old = self._mask
        if mask == old:
            return
        if not mask:
            self.loop.unwatch(self._descriptor)
        elif old:
            self.loop.rewatch(self._descriptor, mask)
        else:
            self.loop.watch(self._descriptor, mask, self.ready)
        self._mask = mask  # only now: a call that has failed has changed nothing

    def check_deadline(self, now: float) -> None:
        """Tell the session if its deadline has passed, and do what it wants then, which is in most cases to end the
        connection. `now` is in seconds on the loop's clock.
        """
        try:
            deadline = self.session.deadline(now)
            if deadline is not None and now >= deadline:
                self.drive(expire(self.session, self.sock))
        except BaseException:
            self.fail()
