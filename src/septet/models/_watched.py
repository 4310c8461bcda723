"""A session, its socket, and the loop that watches it.

The loop calls `ready` straight from its poller; from there the session is carried as far as the socket allows, and the
loop is told what to watch for next. Between two requests of a busy connection that is one and the same, so it costs
no system call.
"""

import logging
from socket import socket

from septet.apps.asgi import Cycle
from septet.exchange import Want
from septet.loop import ReadinessLoop
from septet.models._drive import RECEIVE_BYTES, drive, expire, receive_into
from septet.pollers import ERROR, HANGUP, READABLE, WRITABLE
from septet.protocol import CLOSE, EITHER, READ, RUN, WRITE, ServerExchange, ServerProtocol

log = logging.getLogger("septet")

UNREAD_LIMIT = 65536
"""Bytes that a client may send ahead while the application runs; from there on the kernel keeps them."""

_buffer = memoryview(bytearray(RECEIVE_BYTES))
"""For the thread of the loop, of which a process has one; it never hands the loop over while it receives."""


class WatchedConnection:
    """Belongs to the thread of its loop. A subclass says where the application runs, and what the end is."""

    __slots__ = ("_descriptor", "_mask", "cycle", "loop", "session", "sock")

    def __init__(self, loop: ReadinessLoop, sock: socket, session: ServerProtocol) -> None:
        self.loop = loop
        self.sock = sock
        self.session = session
        self.cycle: Cycle | None = None
        """The ASGI exchange that was begun last."""
        self._descriptor = sock.fileno()
        self._mask = 0

    def dispatch(self, exchange: ServerExchange) -> Want | None:
        """Give the application its turn; None when it runs elsewhere and will call `drive`."""
        raise NotImplementedError

    def end(self) -> None:
        """The connection is over, and no longer watched."""
        raise NotImplementedError

    def ready(self, mask: int) -> None:
        """The loop's call: the socket is ready for what was watched for, or broken, which trying will show."""
        session = self.session
        try:
            want = session.phase.want
            if want is READ:
                want = receive_into(_buffer, session, self.sock)
            elif want is RUN:  # while the application runs, only an error tells that the client is gone
                want = session.lose() if mask & (ERROR | HANGUP) else receive_into(_buffer, session, self.sock)
                if session.unread > UNREAD_LIMIT:
                    self.attend(want)
            elif want is EITHER and mask & READABLE:
                want = receive_into(_buffer, session, self.sock)
            self.drive(want)
        except Exception:
            self.fail()

    def fail(self) -> None:
        """Cut the connection, whatever went wrong with it. While the exception is handled."""
        log.exception("a connection failed, and is cut")
        self.drive(self.session.lose())

    def drive(self, want: Want) -> None:
        """Carry the session on from `want`, and watch for what it waits for then. What goes wrong cuts the connection:
        the application, which may be the caller, cannot mend it."""
        session = self.session
        try:
            after = drive(want, session, self.sock, self.dispatch)
            cycle = self.cycle
            if cycle is not None and cycle.answered:  # an idle connection holds nothing of its last request
                self.cycle = None
            if (after is not READ and after is not RUN) or self._mask != READABLE or session.ended:
                self.attend(after)
        except Exception:
            log.exception("a connection failed, and is cut")
            self.attend(session.lose())

    def attend(self, want: Want) -> None:
        """Have the loop watch for what the session waits for."""
        if self._descriptor < 0:
            return
        if want is CLOSE:
            self.detach()
            self.end()
            if self.cycle is not None:
                self.cycle.wake()
        else:
            self._watch(self._mask_for(want))

    def _mask_for(self, want: Want) -> int:
        """What to watch for while the session wants this, which is not CLOSE."""
        if want is WRITE:
            return WRITABLE
        if want is EITHER:
            return READABLE | WRITABLE
        if want is RUN and (self.session.gone or self.session.unread > UNREAD_LIMIT):
            return ERROR
        return READABLE

    def detach(self) -> None:
        """Have the loop forget the socket, which stays open."""
        if self._descriptor >= 0:
            self._watch(0)
            self._descriptor = -1

    def _watch(self, mask: int) -> None:
        old = self._mask
        if mask == old:
            return
        if not mask:
            self.loop.unwatch(self._descriptor)
        elif old:
            self.loop.rewatch(self._descriptor, mask)
        else:
            self.loop.watch(self._descriptor, mask, self.ready)
        self._mask = mask  # of a call that has failed there is nothing to undo

    def check_deadline(self, now: float) -> None:
        """End the session's phase if its time is up; `now` in seconds of the loop's clock."""
        try:
            deadline = self.session.deadline(now)
            if deadline is not None and now >= deadline:
                self.drive(expire(self.session, self.sock))
        except Exception:
            self.fail()
