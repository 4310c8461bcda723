"""One client at a time, by calls that wait: what iterative, forking, preforked, threaded and prethreaded share.

A thread accepts a client at its `Acceptor` and calls `serve`, which returns when the connection is over. It waits with
poll(2) before it reads, so a wait can end in four ways: the client is ready, its time is up, the server is to stop,
or another client is at the door, no thread is free for it, and this one's has been idle for a while.

Who has connected but not spoken, as browsers do in advance, takes nobody's time: the kernel keeps such a client back
(Apache's AcceptFilter does the same). On a unix socket it does not, and the client gets a moment to speak.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from socket import socket
from threading import current_thread, main_thread
from time import monotonic
from typing import cast

from septet import forked
from septet.apps._channel import HALF_CLOSED_S
from septet.apps.asgi import Asgi
from septet.apps.wsgi import Wsgi
from septet.exchange import ClientGone, Fields, Part, ResponseHead, Want
from septet.models._acceptor import Acceptor, Client
from septet.models._answer import answer, answer_without_waiting
from septet.models._asgi_in_thread import AsgiThread, asgi_in_thread
from septet.models._drive import Dispatch, drive, expire, receive_compactly
from septet.models._waker import close_waker_of_this_thread
from septet.net.listener import has_been_deferred
from septet.pollers import ERROR, HANGUP, RDHUP, READABLE, WRITABLE, Poll
from septet.processes.resource_exhaustion import ACCEPT_PAUSE_S
from septet.protocol import CLOSE, EITHER, READ, RUN, WRITE, ServerExchange, ServerProtocol
from septet.service import Service

log = logging.getLogger("septet")

IDLE_GRACE_S = 1.0
"""How long a silent connection is kept at least, after an answer and before a first request, while other clients wait:
a client in the middle of its work is not cut off, and one that has just connected gets the time to speak."""

WAITING_CLIENT_CHECK_S = 0.1
"""After this time a thread with an idle client looks whether the client who was at the door has been accepted."""


class _ClientWait:
    """Waiting for one client, with an eye on the order to stop and, if others are kept waiting, on the door.

    It is the client's `Delivery`, too: what an application gives has gone to the client when it goes on.
    """

    def __init__(self, client: Client, acceptor: Acceptor) -> None:
        self._sock, self._session, self._deferred_s = client
        self._acceptor = acceptor
        self._client_poller = Poll()
        self._client_poller.add(self._sock.fileno(), READABLE)
        self._idle_poller = Poll()
        # A signal is the main thread's: no other can make the descriptor silent again.
        self._order_descriptor = (
            acceptor.stop.fileno() if current_thread() is main_thread() else acceptor.stop.order_fileno
        )
        for descriptor in (self._sock.fileno(), self._order_descriptor, *acceptor.watched_listeners):
            self._idle_poller.add(descriptor, READABLE)
        self._client_or_order_poller = Poll()
        for descriptor in (self._sock.fileno(), self._order_descriptor):
            self._client_or_order_poller.add(descriptor, READABLE)
        self._mask = READABLE
        self._half_closed_at: float | None = None
        """When it was seen, in the midst of an answer of which nothing is sent, that the client sends no more."""

    # What an application that is called asks of its client's thread, which is its own

    def deliver(self, head: ResponseHead | None, body: Part, last: bool) -> None:
        session, exchange = self._session, self._session.exchange
        want = exchange.push(body, last) if head is None else exchange.respond(head, body, last)
        if last and session.closes:
            self._acceptor.count_as_free()
        self._write(want)
        if session.lost and not last:
            raise ClientGone("the client went away")

    def inform(self, status: int, fields: Fields) -> None:
        self._write(self._session.exchange.inform(status, fields))

    def look(self) -> None:
        if self._mask != RDHUP:
            # poll(2) reports errors and the end of both directions in any case.
            self._client_poller.modify(self._sock.fileno(), RDHUP)
            self._mask = RDHUP
        for _, found in self._client_poller.wait(0):
            now = monotonic()
            if self._half_closed_at is None:
                self._half_closed_at = now
            if found & (ERROR | HANGUP) or now - self._half_closed_at >= HALF_CLOSED_S:
                self._session.lose()
                raise ClientGone("the client went away")

    def give_up(self) -> None:
        self._write(self._session.exchange.fail())

    def _write(self, want: Want) -> None:
        while want is WRITE or want is EITHER:
            want = drive(want, self._session, self._sock, _already_dispatched)
            if want is WRITE or want is EITHER:
                want = self._wait_and_receive()

    def await_body(self) -> None:
        sock, session = self._sock, self._session
        want = drive(session.phase.want, session, sock, _already_dispatched)
        while want is not RUN:
            if want is CLOSE:
                raise ClientGone("the client went away")
            want = drive(self._wait_and_receive(), session, sock, _already_dispatched)

    def _wait_and_receive(self) -> Want:
        want = self.wait()
        return receive_compactly(self._session, self._sock) if want is READ else want

    def wait(self) -> Want:
        """Wait for what the session wants, and say what that is; it is something else if time was up meanwhile."""
        session = self._session
        if self._acceptor.is_free:
            self._acceptor.count_as_busy()
        timeout = self._time_left()
        phase = session.phase
        ready: int
        if phase.idle:
            ready = self._wait_idle(timeout)
        elif phase.interruptible and not session.stopping:
            ready = self._wait_for_client_or_order(timeout)
            if self._acceptor.stop.ordered:
                return session.stop()
        elif phase.want is EITHER:
            ready = self._wait_for_client(READABLE | WRITABLE, timeout)
        else:
            ready = self._wait_for_client(WRITABLE if phase.want is WRITE else READABLE, timeout)
        if ready:
            self._deferred_s = 0.0
            if phase.paced:
                session.waited(monotonic())
            # Of EITHER what can be done; what is broken is found out by reading.
            return READ if phase.want is EITHER and ready != WRITABLE else phase.want
        if phase.idle:
            return session.stop()
        return expire(session, self._sock)

    def _time_left(self) -> float | None:
        """Seconds until the session's deadline; at first, less those for which the kernel has waited already."""
        now = monotonic()
        deadline = self._session.deadline(now)
        return None if deadline is None else max(0.0, deadline - now - self._deferred_s)

    def _wait_for_client(self, mask: int, timeout: float | None) -> int:
        """What of `mask` the socket is ready for; 0: nothing, in this time."""
        if mask != self._mask:
            self._client_poller.modify(self._sock.fileno(), mask)
            self._mask = mask
        ready = self._client_poller.wait(timeout)
        return ready[0][1] if ready else 0

    def _wait_for_client_or_order(self, timeout: float | None) -> bool:
        """Whether the client has sent something, before time was up or the order to stop came."""
        descriptor = self._sock.fileno()
        while True:
            ready = {found for found, _ in self._client_or_order_poller.wait(timeout)}
            if not ready or descriptor in ready or self._acceptor.stop.drain_and_check():
                return descriptor in ready
            timeout = self._time_left()

    def _wait_idle(self, timeout: float | None) -> bool:
        """Whether the next request has begun; False: it is time to let the connection go."""
        descriptor = self._sock.fileno()
        while True:
            ready = {found for found, _ in self._idle_poller.wait(timeout)}
            if descriptor in ready:
                return True
            if self._order_descriptor in ready:
                if self._acceptor.stop.drain_and_check():
                    return False
            elif not ready:
                if not self._deferred_s or has_been_deferred(self._sock):
                    return False
                self._deferred_s = 0.0  # the kernel was flooded, and has not waited
            else:  # a client is at the door
                if self._wait_for_client(READABLE, WAITING_CLIENT_CHECK_S):
                    return True
                if self._may_drop_idle_client():
                    return False
            timeout = self._time_left()

    def _may_drop_idle_client(self) -> bool:
        """Whether the client, who is silent while another one waits, is to be let go."""
        since = self._session.since
        if (since is not None and monotonic() - since < IDLE_GRACE_S) or not self._acceptor.count_as_free_if_needed():
            return False
        if self._wait_for_client(READABLE, 0.0):  # it has asked in the meantime
            self._acceptor.count_as_busy()
            return False
        return True


def serve(client: Client, acceptor: Acceptor, dispatch: Dispatch) -> None:
    """The whole life of a connection, in this thread."""
    try:
        with acceptor.metrics.connection() if acceptor.metrics else nullcontext():
            _serve(client, acceptor, dispatch)
    except Exception:  # for want of memory, before it has begun
        log.exception("a connection failed, and is cut")
        client.sock.close()


def _serve(client: Client, acceptor: Acceptor, dispatch: Dispatch) -> None:
    sock, session, _ = client
    want = READ
    try:
        forked.sockets.add(sock)
        watch = session.delivery = _ClientWait(client, acceptor)
        while want is not CLOSE:
            want = watch.wait()
            if want is READ:
                want = receive_compactly(session, sock)
            if want is RUN and (acceptor.stop.check_parent() or acceptor.clients_starve()):
                session.stop()  # its answer says that it is the last
            want = drive(want, session, sock, dispatch)
    except Exception:
        log.exception("a connection failed, and is cut")
    finally:
        try:
            _end(sock, session)
        finally:  # again, should the first have been struck by an exception of another thread
            _end(sock, session)


def _end(sock: socket, session: ServerProtocol) -> None:
    """Once or twice: a client that is not let go would wait for ever."""
    session.close()
    forked.sockets.discard(sock)
    if sock.fileno() >= 0:
        forked.release(sock)


def serve_all(service: Service, acceptor: Acceptor, asgi: AsgiThread | None) -> None:
    """Serve one client after another, until the order to stop.

    An exception that comes out of there is one that another thread has raised in this one, as time-outs of
    applications do, too late. It has cost the client that was served. Then this goes on.
    """
    failure: BaseException | None = None
    while not service.stop.ordered:
        try:
            if failure is not None:
                _tell_and_pause(failure, acceptor)
                failure = None
            for client in acceptor:
                serve(client, acceptor, dispatcher(service, client, asgi))
                del client  # nothing of it is kept while this waits for the next one
        except BaseException as error:
            # Nothing is called here: there is the next round for that, in which another one may come.
            failure = error


def _tell_and_pause(failure: BaseException, acceptor: Acceptor) -> None:
    """What comes again and again must not keep the process busy: then nobody is let in for a moment."""
    if forked.by_application:
        forked.exit_child(failure)
    log.error("a thread failed, and goes on", exc_info=failure)
    close_waker_of_this_thread()
    now = monotonic()
    if now - acceptor.failed_at < ACCEPT_PAUSE_S:
        acceptor.pause("a thread failed")
    acceptor.failed_at = now


def _already_dispatched(exchange: ServerExchange) -> None:
    """The application has its turn already."""


@contextmanager
def serving(
    service: Service,
    application: Callable[[Service], AbstractContextManager[AsgiThread | None]] = asgi_in_thread,
) -> Iterator[AsgiThread | None]:
    """From the application's start to its end, with clients let in between. For the main thread of a process.

    Gives what an ASGI application runs on, for `dispatcher`.
    """
    with application(service) as asgi:
        # A thread that is busy with a client cannot shut the doors; the signal that orders the stop can.
        service.stop.on_order = partial(_on_order, service, asgi)
        with service.metrics.logged_by_thread() if service.metrics else nullcontext():
            if not service.stop.ordered:
                service.ready(1)
            yield asgi


def _on_order(service: Service, asgi: AsgiThread | None) -> None:
    service.close_listeners()
    if asgi is not None:
        asgi.order()


def dispatcher(service: Service, client: Client, asgi: AsgiThread | None) -> Dispatch:
    """Where the application runs in these models: in the client's thread, an ASGI application on the process's loop."""

    new_context = service.context.copy

    def dispatch(exchange: ServerExchange) -> Want | None:
        target = service.site.find(exchange)
        if isinstance(target, Asgi):
            assert asgi is not None, "clients are let in when the application has started"
            return asgi.answer(target, client.sock, client.session)
        if not isinstance(target, Wsgi):
            return answer_without_waiting(target, exchange)
        new_context().run(answer, target, exchange, cast(_ClientWait, exchange.delivery))
        return client.session.phase.want

    return dispatch
