"""One thread for all clients: the kernel receives, and hands over what has come.

epoll tells when a client's bytes could be received; io_uring(7) receives them. One accept stands in the kernel for
every listener and one receive for every connection, and they complete again and again without being asked: a single
call brings what all clients have sent. Answers leave by send(2) at once, which costs less than a trip through the ring.

          client 1 ──┐ accept, receive: asked for once
          client 2 ──┼──> the kernel's ring ──> enter ─> completions: data of 2, of 7 ─> carry each on ─┐
          client N ──┘                            ^                                                     │
                                                  └─────────────────────────────────────────────────────┘

    UringLoop         an asyncio event loop over io_uring; it calls back with each completion
    Reactor           as under poll and epoll: accepts clients, gives each a connection, ends those that are late
    RingReactor       accepts by one multishot accept for each listener, if clients are not too many (below)
    RingConnection    receives by one multishot receive, and drives its session with what has come (below)

Applications run as under epoll: as tasks on this thread (ASGI); or on this thread until they wait, when another thread
goes on with the loop (WSGI, see `_leaders`).
"""

import errno
import os
from functools import partial
from socket import AF_UNIX, SHUT_RDWR, SOCK_STREAM, SocketType, socket
from typing import Any, cast

from septet import forked
from septet.exchange import Want
from septet.loop.uring import AT_ONCE, UringLoop
from septet.models._beside import BesideConnection
from septet.models._client_connection import REQUESTS_PER_EVENT, ClientConnection, ConnectionOwner
from septet.models._loops import run_on_loops
from septet.models._reactor import Reactor
from septet.models._watched import UNREAD_LIMIT
from septet.net.listener import Listener, is_of_one_client
from septet.pollers import ERROR, READABLE, WRITABLE
from septet.pollers.ring import MORE, Ring, obstacle
from septet.processes.resource_exhaustion import reason
from septet.protocol import RUN, ServerProtocol
from septet.service import Service

__all__ = ["obstacle", "run"]

TAKES = ("workers", "threads")
CONCURRENCY = "threads"
LOOP = True


BEHIND = 4 * len(AT_ONCE)
"""Completions that wait in the ring, above which the loop is behind: four turns would not handle them all."""

ACCEPT_BATCH = len(AT_ONCE) // 2
"""Most clients that are accepted by accept(2) in one turn of the loop. Each brings two completions, or one if it leaves
without a word: with more clients the loop would fall further behind in each turn.
"""


def run(service: Service) -> None:
    # Under `_leaders` one thread after another runs the loop, and so uses the ring.
    shared = service.site.has_wsgi and not service.site.mixed and service.threads != 0
    run_on_loops(service, lambda service: RingReactor(service, UringLoop(Ring(shared=shared))))


class RingConnection(ClientConnection):
    """A client whose bytes io_uring receives: the loop does not watch the socket for input, but keeps a multishot
    receive in the ring, which calls back with the bytes each time some have come (a completion).
    """

    __slots__ = ("_closing", "_ended", "_polled", "_receive", "_ring", "_thread")

    def __init__(self, reactor: ConnectionOwner, sock: socket, session: ServerProtocol) -> None:
        super().__init__(reactor, sock, session)
        self._ring = cast(UringLoop, reactor.loop).ring
        self._closing = cast(RingReactor, reactor).closing
        self._receive = 0
        """The ring's number (token) of the multishot receive that is in the ring; 0 if none is."""
        self._thread = 0
        """The thread that has submitted this receive (`Ring.thread`)."""
        self._polled = 0
        """Events for which the loop watches the socket in addition to what the ring receives: WRITABLE, if there is
        something to send; ERROR, if no receive is in the ring and a broken connection would not be seen. 0: none.
        """
        self._ended = False
        """True if the client sends no more: a receive has completed with 0 bytes."""

    def _watch(self, mask: int) -> None:
        self._mask = mask
        polled = mask & (WRITABLE | ERROR)
        if self._polled and polled != self._polled:
            self.loop.unwatch(self._descriptor)
            self._polled = 0  # only now: what is interrupted is done again
        if mask & READABLE and not self._receive and not self._ended:
            self._receive = self._ring.receive_multishot(self._descriptor, self._received)
            self._thread = self._ring.thread
        if polled and not self._polled:
            self._polled = polled
            self.loop.watch(self._descriptor, polled, self.ready)
        if not mask & (READABLE | WRITABLE) and self._receive:
            self._ring.cancel(self._receive)

    def forget_watch(self) -> None:
        super().forget_watch()
        self._polled = 0
        if not self._ring.has(self._receive):
            self._receive = 0

    def _received(self, result: int, flags: int, data: bytes) -> None:
        with self.lock:
            try:
                self._take(result, flags, data)
            except BaseException:  # these bytes are lost, so those that follow would be misread
                try:
                    self.fail()
                except BaseException:  # the next one has come meanwhile
                    self.fail()

    def _take(self, result: int, flags: int, data: bytes) -> None:
        """Handle what the multishot receive in the ring has brought. `result` is the number of bytes in `data`, 0 at
        the end of the stream, or a negative errno. If `flags` has no MORE, the receive has ended.
        """
        if not flags & MORE:
            self._receive = 0
        elif self._thread != self._ring.thread:  # the kernel would wake that thread each time, to complete the receive
            self._thread = self._ring.thread
            self._ring.cancel(self._receive)  # when that is complete, it is asked for again
        if self._descriptor < 0:
            self.close_when_idle()
        elif result >= 0:
            self._ended = result == 0
            self._feed(data)
            # The kernel has ended the receive with these data, because the completion queue was full.
            if not self._receive and self._mask & READABLE:
                self._watch(self._mask)
        elif result not in (-errno.ENOBUFS, -errno.ECANCELED):
            self.cut()
        elif self._mask & READABLE:
            self._watch(self._mask)  # no buffer was free, or a receive is wanted again after it was cancelled

    def _feed(self, data: bytes) -> None:
        want = self.session.receive(data)
        if self.session.unread > UNREAD_LIMIT and self._receive:
            self._ring.cancel(self._receive)
        if self._requests_begun <= REQUESTS_PER_EVENT:
            self._requests_begun = 0
        self.drive(want)
        if self.session.unread > UNREAD_LIMIT and self.session.phase.want is RUN:
            self.attend(RUN)  # else the receive would be asked for again when its cancellation is complete

    def look(self) -> Want:
        """Return what the session wants next. While a receive is in the ring, nothing is received here: `RingReactor`
        has let the ring deliver what clients have sent before it has their connections end, which is when this is
        called.
        """
        if self._receive:
            return self.session.phase.want
        return super().look()

    def _close_socket(self) -> None:
        self._closing.add(self)  # first: if what follows is interrupted, it is done again
        if self._receive:
            try:  # ends the connection for the client, and completes the receive in the ring
                self.sock.shutdown(SHUT_RDWR)
            except OSError:
                pass
        self.close_when_idle()

    def close_again(self) -> None:
        """Try again to close the socket. Called about once a second for a connection that has ended and whose socket
        is still open, in case an exception has interrupted the closing.
        """
        with self.lock:
            self._close_socket()

    def close_when_idle(self) -> None:
        """Close the socket if no receive in the ring refers to it any more. If one does, this is called again when
        that receive has completed.
        """
        if not self._ring.has(self._receive):
            forked.release(self.sock)
            self._closing.discard(self)


class BesideRingConnection(BesideConnection, RingConnection):
    """A `RingConnection` for a server with both WSGI and ASGI applications, whose WSGI applications run in other
    threads than the loop.
    """

    __slots__ = ()


class RingReactor(Reactor):
    """A reactor over io_uring: keeps one multishot accept in the ring for each listener, which calls back with
    each client that the kernel has accepted.

    Such an accept takes clients without limit. Those that come faster than they are served wait as completions, each
    with an open descriptor: 12,000 of them when three processes did nothing but connect and close, and a stop took 3 s
    to end them. So when the loop is behind (BEHIND), the accept is cancelled, and clients wait in the listener's queue:
    the ring polls it, and accept(2) takes a few in each turn, until none waits any more.
    """

    def __init__(self, service: Service, loop: UringLoop) -> None:
        super().__init__(service, loop)
        self._ring = loop.ring
        self._ring.interrupted = self._interrupted
        self._accepts: dict[Listener, int] = {}
        self._thread = 0
        """The thread that has submitted the accepts last (`Ring.thread`)."""
        self._behind = False
        """True from the moment when the loop is behind until it has caught up and no client waits at a listener."""
        self._accepts_per_event = min(self._accepts_per_event, ACCEPT_BATCH)
        self._cancelled: dict[Listener, int] = {}
        """The listeners whose accept in the ring was cancelled when the order to stop came, each with the ring's
        number (token) of that accept. Until its cancellation is complete, the accept may still bring clients.
        """
        self.closing: set[RingConnection] = set()
        """Ended connections whose sockets will be closed when their receives have completed."""

    def close_in_child(self) -> None:
        for connection in self.closing:
            connection.close_in_child()
        super().close_in_child()

    def start_accepting(self, listener: Listener) -> None:
        # An accept in the ring takes clients also while the process is busy or stopped, and others could serve them.
        if self.service.shares_listeners or self._behind:
            self._accepts.pop(listener, None)
            self.watch_listener(listener, READABLE)
            return
        self._accepts[listener] = self._ring.accept_multishot(listener.fileno(), partial(self._accepted, listener))

    def _accept(self, listener: Listener, mask: int) -> bool:
        none_waits = super()._accept(listener, mask)
        if none_waits and self._behind and self._ring.waiting() <= len(AT_ONCE):
            self._behind = False
            for each in list(self._watched):
                self.restart_accepting(each)
        return none_waits

    def repair(self) -> None:
        cast(UringLoop, self.loop).arm_anew()
        super().repair()

    def _check_deadlines(self) -> None:
        for connection in list(self.closing):
            connection.close_again()
        super()._check_deadlines()

    def restart_accepting(self, listener: Listener) -> None:
        if not self._ring.has(self._accepts.get(listener, 0)):
            super().restart_accepting(listener)

    def connect(self, sock: socket, session: ServerProtocol) -> ClientConnection:
        # The kernel may not report the end of a unix socket's stream (see `receive_multishot`): poll and receive.
        if sock.family == AF_UNIX:
            return super().connect(sock, session)
        return (BesideRingConnection if self.site.mixed else RingConnection)(self, sock, session)

    def stop_accepting(self, listener: Listener) -> None:
        token = self._accepts.pop(listener, 0)
        if not token:
            super().stop_accepting(listener)
            return
        self._ring.cancel(token)
        if self.stopping and self._ring.has(token):
            self._cancelled[listener] = token

    def accept_last(self, listener: Listener) -> None:
        if listener not in self._cancelled:
            super().accept_last(listener)

    def end_connections(self, connections: list[ClientConnection], draining: bool) -> None:
        # The kernel has received for them already. What came before the order is in the ring in the next turn of the
        # loop, which runs its callbacks first: so this is done when the ring has delivered all that is in it then.
        self.loop.call_soon(self._end_when_delivered, None, connections, draining)

    def _end_when_delivered(self, waiting: int | None, connections: list[ClientConnection], draining: bool) -> None:
        """`end_connections` of other models, after the ring has delivered `waiting` completions, counted from the last
        turn of the loop; None: those that are in it now.
        """
        left = self._ring.waiting() if waiting is None else waiting - len(AT_ONCE)
        if waiting is None or left > 0:
            self.loop.call_soon(self._end_when_delivered, left, connections, draining)
        else:
            super().end_connections(connections, draining)

    def end_if_done(self) -> None:
        if not any(map(self._ring.has, self._cancelled.values())):
            super().end_if_done()

    def _accepted(self, listener: Listener, result: int, flags: int, data: bytes) -> None:
        """Handle what a listener's accept in the ring has brought. `result` is the client's descriptor, or a negative
        errno. If `flags` has no MORE, the accept has ended.
        """
        if result >= 0:
            sock: Any = None
            try:
                # Before any other call, after which only the interpreter would know the descriptor if an exception of a
                # signal handler or another thread came. In two steps, so that it is known who closes the descriptor.
                sock = SocketType.__new__(SocketType)
                sock.__init__(listener.family, SOCK_STREAM, 0, result)
            except BaseException as error:
                os.close(result) if sock is None or sock.fileno() < 0 else sock.close()
                self.service.exhaustion.report(f"cannot accept a client: {reason(error)}", "the connection is cut")
            else:
                try:
                    self._adopt(listener, sock)
                except BaseException:
                    self.let_go(sock)
                    raise
        elif not (self.service.stop.ordered or result == -errno.ECANCELED or is_of_one_client(-result)):
            self._accepts.pop(listener, None)
            self.pause(listener, OSError(-result, os.strerror(-result)))
        if flags & MORE:
            behind = not self._behind and self._ring.waiting() > BEHIND
            if behind or self._thread != self._ring.thread:  # as for a receive; and for all listeners at once
                self._behind |= behind  # when that is complete, `start_accepting` goes by this
                self._thread = self._ring.thread
                for token in self._accepts.values():
                    self._ring.cancel(token)
            return
        if listener in self._accepts:
            self.start_accepting(listener)
        elif listener in self._cancelled:
            del self._cancelled[listener]
            if self.service.stop.draining:
                self.accept_last(listener)
            self.end_if_done()

    def _adopt(self, listener: Listener, sock: socket) -> None:
        # Also after the order to stop: the kernel may have accepted the client before the accept was cancelled. Under
        # other models it would have waited in the queue of the listener. A client of HTTP/1.1 is let go, one of HTTP/2
        # is told that the connection ends.
        if sock.gettimeout():  # the application has set one for all new sockets (socket.setdefaulttimeout)
            sock.setblocking(False)
        self.admit(listener, sock, listener.address_of(sock))

    def _interrupted(self, callback: object) -> None:
        """Called by the ring if an exception has interrupted `callback`, the function that handles what an operation
        has brought. If it belongs to a connection, that is closed, because bytes may be lost; if it belongs to a
        listener, each listener whose accept has ended accepts again.
        """
        connection = getattr(callback, "__self__", None)
        if isinstance(connection, RingConnection):
            connection.abandon()
        elif not self.stopping:
            for listener in self._accepts.keys() - self._paused:
                self.restart_accepting(listener)

    def close(self) -> None:
        super().close()
        for connection in self.closing:  # the ring is closed, and its receives with it
            connection.sock.close()
