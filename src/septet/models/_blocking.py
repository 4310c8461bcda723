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
from time import monotonic, sleep
from typing import NamedTuple, cast

from septet import forked
from septet.apps._channel import HALF_CLOSED_S
from septet.apps.asgi import Asgi
from septet.apps.wsgi import Wsgi
from septet.exchange import ClientGone, Fields, Part, ResponseHead, Want
from septet.models._answer import answer, answer_without_waiting
from septet.models._asgi_in_thread import AsgiThread, asgi_in_thread, close_waker_of_this_thread
from septet.models._drive import Dispatch, drive, expire, receive_compactly
from septet.net.listener import has_been_deferred
from septet.pollers import ERROR, EXCLUSIVE, HANGUP, RDHUP, READABLE, WRITABLE, Epoll, Poll
from septet.processes.resource_exhaustion import ACCEPT_PAUSE_S, reason
from septet.protocol import CLOSE, EITHER, READ, RUN, WRITE, ServerExchange, ServerProtocol
from septet.service import Service

log = logging.getLogger("septet")

IDLE_GRACE_S = 1.0
"""How long a silent connection is kept at least, after an answer and before a first request, while other clients wait:
a client in the middle of its work is not cut off, and one that has just connected gets the time to speak."""

WAITING_CLIENT_CHECK_S = 0.1
"""After this time a thread with an idle client looks whether the client who was at the door has been accepted."""

STALLED_THREADS_S = 1.0
"""Threads that wait for clients, and accept none of those who are there for so long, are not free."""


class Client(NamedTuple):
    sock: socket
    session: ServerProtocol
    deferred_s: float
    """For so many seconds the kernel has kept it back already, if it is silent still and `has_been_deferred`."""


class _WaitObserved(NamedTuple):
    """That clients waited at the door, from `first` to `last`, while no more than `accepted` had been accepted."""

    accepted: int
    first: float
    last: float


class Acceptor:
    """The listeners, as one thread waits at them.

    drops_idle_clients: an idle client is let go when another one waits and no thread is free for it.
    in_main_thread: the calling thread is the main one, which is woken by signals, too.
    """

    def __init__(self, service: Service, drops_idle_clients: bool, in_main_thread: bool = True) -> None:
        self.stop = service.stop
        self.metrics = service.metrics
        self._service = service
        self._exhaustion = service.exhaustion
        self._waiting_threads = service.in_flight.waiting_threads
        self.is_free = False
        """The thread is counted among those that wait for clients."""
        self.failed_at = -ACCEPT_PAUSE_S
        self._wait_observed = _WaitObserved(0, 0.0, 0.0)
        self._listeners = {listener.fileno(): listener for listener in service.listeners if listener.fileno() >= 0}
        self._poller = Epoll()
        self._poller.add(self.stop.fileno() if in_main_thread else self.stop.order_fileno, READABLE)
        self._deferred_s: dict[int, int] = {}
        """Seconds for which the kernel keeps a silent client back, by listener."""
        for descriptor, listener in self._listeners.items():
            # One client wakes one of the processes and threads that wait here, not all.
            try:
                self._poller.add(descriptor, READABLE | EXCLUSIVE)
                self._deferred_s[descriptor] = listener.defer(service.rules.timeouts.keep_alive)
            except OSError:
                if not self.stop.ordered:  # else it has been shut already
                    raise
        self.watched_listeners = tuple(self._listeners) if drops_idle_clients else ()
        self._listener_poller = Poll()
        for descriptor in self.watched_listeners:
            self._listener_poller.add(descriptor, READABLE)
        forked.register(self)

    def close_in_child(self) -> None:
        self._poller.close()

    def clients_starve(self) -> bool:
        """A client waits whom no free thread will accept."""
        # Asked again, for the free thread may have accepted the client in between.
        return self._client_waits() and not self._waiting_threads.waiting and self._client_waits()

    def _client_waits(self) -> bool:
        return bool(self.watched_listeners) and bool(self._listener_poller.wait(0))

    def count_as_free_if_needed(self) -> bool:
        """Whether this thread, which has an idle client, is needed here; if so, it counts as free from now on."""
        now, accepted, seen = monotonic(), self._waiting_threads.accepted, self._wait_observed
        lasts = seen.accepted == accepted and now - seen.last < STALLED_THREADS_S / 2
        seen = self._wait_observed = _WaitObserved(accepted, seen.first if lasts else now, now)
        stalled_at = accepted if now - seen.first >= STALLED_THREADS_S else None
        return self._waiting_threads.volunteer(self, self._client_waits, stalled_at)

    def count_as_free(self) -> None:
        """The connection ends with what is sent now: its thread counts as free before the client can know of it."""
        if self.watched_listeners and not self.is_free:
            self._waiting_threads.wait(self)

    def count_as_busy(self) -> None:
        """The client needs its thread still."""
        if self.is_free:
            self._waiting_threads.leave(self)

    def __iter__(self) -> Iterator[Client]:
        """Clients as they come, until the order to stop."""
        try:
            while not self.stop.ordered:
                try:
                    yield from self._admit_ready()
                except MemoryError as error:
                    self.pause(f"cannot accept clients: {reason(error)}")
        finally:
            self.count_as_busy()

    def _admit_ready(self) -> Iterator[Client]:
        # Our poller does not report a client for whom a process was woken that does not accept: it is stopped.
        ready = self._listener_poller.wait(0) if self.is_free else ()
        self.count_as_free()
        for descriptor, _ in ready or self._poller.wait(None):
            if descriptor not in self._listeners:
                self.stop.drain_and_check()
            elif not self.stop.ordered:
                yield from self._admit(descriptor)

    def close(self) -> None:
        """The thread accepts no more."""
        self.count_as_busy()
        self._poller.close()

    def _admit(self, descriptor: int) -> Iterator[Client]:
        listener = self._listeners[descriptor]
        try:
            sock, address = listener.accept()
            client = Client(sock, self._service.accepted(listener, sock, address), self._deferred_s[descriptor])
        except (BlockingIOError, ConnectionError):
            return  # somebody else was quicker, or the client has left already
        except (OSError, MemoryError) as error:
            if not self.stop.ordered:  # else another thread has shut the doors
                self.pause(f"cannot accept clients: {reason(error)}")
            return
        if self.is_free:
            self._waiting_threads.accept(self)
        yield client

    def pause(self, why: str) -> None:
        """Let nobody in for a moment: something is lacking, which others may give back meanwhile."""
        self._exhaustion.report(why)
        sleep(ACCEPT_PAUSE_S)


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
