"""One client at a time, by calls that wait: what iterative, forking, preforked, threaded and prethreaded share.

A thread accepts a client at its `Acceptor` and calls `serve`, which returns when the connection is over. `serve` waits
with poll(2) before it reads, so a wait can end in four ways: the client is ready; its time is up; the server must stop;
or another client waits to be accepted, no thread is free for it, and this one's client has been idle for a while.

A client that has connected but sent nothing, as browsers connect in advance, takes no thread's time: the kernel holds
the connection back until it sends (TCP_DEFER_ACCEPT; Apache's AcceptFilter does the same). Unix sockets have no such
thing; there the client is given a moment to send.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
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
"""How long an idle connection is kept at least while other clients wait: since its last answer, or since it was
accepted. A client in the middle of its work is not cut off, and a new one has time to send its first request."""

WAITING_CLIENT_CHECK_S = 0.1
"""How often a thread with an idle client checks whether a waiting client has been accepted by another thread."""


class _ClientWait:
    """Waits for one client, and also for the order to stop and for clients that wait to be accepted.

    It is also the client's `Delivery`: a part of an answer has been sent when `deliver` returns.
    """

    def __init__(self, client: Client) -> None:
        acceptor, self._sock, self._session, self._deferred_s = client
        self._acceptor = acceptor
        self._client_poller = Poll()
        self._client_poller.add(self._sock.fileno(), READABLE)
        self._idle_poller = Poll()
        # `fileno` becomes readable at any signal, and only the main thread can drain it.
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
        """When `look` first saw that the client sends no more; on the clock of `monotonic`."""

    # `exchange.Delivery`: what a WSGI application asks for, in this thread

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

    def check_client(self) -> None:
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
        """Wait for the socket as the session wants, and give the next want: another one if the deadline has passed or
        the connection is to end."""
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
            # EITHER: write if the socket is only writable; in all other cases, errors included, read.
            return READ if phase.want is EITHER and ready != WRITABLE else phase.want
        if phase.idle:
            return session.stop()
        return expire(session, self._sock)

    def _time_left(self) -> float | None:
        """Seconds until the session's deadline, less those for which the kernel has held the connection back."""
        now = monotonic()
        deadline = self._session.deadline(now)
        return None if deadline is None else max(0.0, deadline - now - self._deferred_s)

    def _wait_for_client(self, mask: int, timeout: float | None) -> int:
        """What the socket is ready for, of `mask`; 0 if nothing within `timeout` seconds."""
        if mask != self._mask:
            self._client_poller.modify(self._sock.fileno(), mask)
            self._mask = mask
        ready = self._client_poller.wait(timeout)
        return ready[0][1] if ready else 0

    def _wait_for_client_or_order(self, timeout: float | None) -> bool:
        """True if the client has sent something; False if the time was up or the order to stop came first."""
        descriptor = self._sock.fileno()
        while True:
            ready = {found for found, _ in self._client_or_order_poller.wait(timeout)}
            if not ready or descriptor in ready or self._acceptor.stop.drain_and_check():
                return descriptor in ready
            timeout = self._time_left()

    def _wait_idle(self, timeout: float | None) -> bool:
        """True if the client has sent something; False if the connection is to be closed."""
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
                self._deferred_s = 0.0  # under a flood of connections the kernel does not hold any back
            else:  # a client waits to be accepted
                if self._wait_for_client(READABLE, WAITING_CLIENT_CHECK_S):
                    return True
                if self._may_drop_idle_client():
                    return False
            timeout = self._time_left()

    def _may_drop_idle_client(self) -> bool:
        """True if this idle client's connection is to be closed, because another client waits for a thread."""
        since = self._session.since
        if (since is not None and monotonic() - since < IDLE_GRACE_S) or not self._acceptor.count_as_free_if_needed():
            return False
        if self._wait_for_client(READABLE, 0.0):  # the client has sent something meanwhile
            self._acceptor.count_as_busy()
            return False
        return True


def serve(client: Client, asgi_thread: AsgiThread | None) -> None:
    """The whole life of a connection, in this thread.

    `asgi_thread` is what `application_running` gave: where an ASGI application runs.
    """
    acceptor = client.acceptor
    try:
        with acceptor.metrics.connection() if acceptor.metrics else nullcontext():
            _serve(client, dispatcher(acceptor.service, client, asgi_thread))
    except Exception:  # there was no memory to begin
        log.exception("a connection failed, and is cut")
        client.sock.close()


def _serve(client: Client, dispatch: Dispatch) -> None:
    acceptor, sock, session, _ = client
    want = READ
    try:
        forked.sockets.add(sock)
        waiting = session.delivery = _ClientWait(client)
        while want is not CLOSE:
            want = waiting.wait()
            if want is READ:
                want = receive_compactly(session, sock)
            if want is RUN and (acceptor.stop.check_parent() or (acceptor.clients_starve() and not _upgrades(session))):
                session.stop()  # its answer says that the connection ends with it
            want = drive(want, session, sock, dispatch)
    except Exception:
        log.exception("a connection failed, and is cut")
    finally:
        try:
            _end(sock, session)
        finally:  # again, in case another thread's exception (PyThreadState_SetAsyncExc) interrupted the first call
            _end(sock, session)


def _upgrades(session: ServerProtocol) -> bool:
    """The client asks for a WebSocket, perhaps: to stop would end that as soon as it is open."""
    return session.exchange.request.upgrade is not None


def _end(sock: socket, session: ServerProtocol) -> None:
    """Close the connection. May be called twice: a client whose connection stays open would wait for ever."""
    session.close()
    forked.sockets.discard(sock)
    if sock.fileno() >= 0:
        forked.release(sock)


def repeat_until_stop(
    accept_and_serve: Callable[[Acceptor, AsgiThread | None], None],
    acceptor: Acceptor,
    asgi_thread: AsgiThread | None,
) -> None:
    """Call `accept_and_serve(acceptor, asgi_thread)` until the order to stop, again if it raises.

    What it raises is an exception that a signal handler of the application's has raised, or another thread in this one
    (PyThreadState_SetAsyncExc), as time-outs of applications do, after the application had returned. It has cost the
    client that was served.
    """
    try:
        while not acceptor.stop.ordered:
            with suppress(BaseException):  # raised at the one place where `_repeat_until_stop` does not catch it
                _repeat_until_stop(accept_and_serve, acceptor, asgi_thread)
    finally:
        close_waker_of_this_thread()


def _repeat_until_stop(
    accept_and_serve: Callable[[Acceptor, AsgiThread | None], None],
    acceptor: Acceptor,
    asgi_thread: AsgiThread | None,
) -> None:
    failure: BaseException | None = None
    while not acceptor.stop.ordered:
        try:
            if failure is not None:
                _log_and_pause(failure, acceptor)
                failure = None
            accept_and_serve(acceptor, asgi_thread)
        except BaseException as error:
            # Nothing is called here, for a call could be interrupted by another such exception: the next round does it.
            failure = error


def _log_and_pause(failure: BaseException, acceptor: Acceptor) -> None:
    """Log the failure. After two within ACCEPT_PAUSE_S accept nothing for as long, so that failures in a row do not
    keep the CPU busy."""
    if forked.by_application:
        forked.exit_child(failure)
    log.error("a thread failed, and goes on", exc_info=failure)
    close_waker_of_this_thread()
    now = monotonic()
    if now - acceptor.failed_at < ACCEPT_PAUSE_S:
        acceptor.pause("a thread failed")
    acceptor.failed_at = now


def _already_dispatched(exchange: ServerExchange) -> None:
    """For `drive` while the application runs: it is not called for the request again."""


@contextmanager
def application_running(
    service: Service,
    application: Callable[[Service], AbstractContextManager[AsgiThread | None]] = asgi_in_thread,
    announce: bool = True,
) -> Iterator[AsgiThread | None]:
    """From the application's startup to its shutdown. For the main thread of a process.

    Announces that clients may come (`service.ready`) unless `announce` is False, and has the order to stop close the
    listeners. Gives the thread in which an ASGI application runs, for `serve`; None for WSGI.
    """
    with application(service) as asgi_thread:
        # Closed in the signal handler, because the main thread itself may be busy with a client.
        service.stop.on_order = partial(_on_order, service, asgi_thread)
        with service.metrics.logged_by_thread() if service.metrics else nullcontext():
            if announce and not service.stop.ordered:
                service.ready(1)
            yield asgi_thread


def _on_order(service: Service, asgi_thread: AsgiThread | None) -> None:
    service.close_listeners()
    if asgi_thread is not None:
        asgi_thread.order()


def dispatcher(service: Service, client: Client, asgi_thread: AsgiThread | None) -> Dispatch:
    """Gives the function that runs the application for a request: WSGI in the client's thread, which calls it; ASGI on
    the event loop of the process."""

    new_context = service.context.copy

    def dispatch(exchange: ServerExchange) -> Want | None:
        target = service.site.find(exchange)
        if isinstance(target, Asgi):
            assert asgi_thread is not None, "clients are accepted when the application has started"
            return asgi_thread.answer(target, client.sock, client.session)
        if not isinstance(target, Wsgi):
            return answer_without_waiting(target, exchange)
        new_context().run(answer, target, exchange, cast(_ClientWait, exchange.delivery))
        return client.session.phase.want

    return dispatch
