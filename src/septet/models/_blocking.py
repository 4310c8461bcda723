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
from socket import SHUT_RDWR, socket
from threading import Condition, RLock, get_ident
from time import monotonic
from typing import Any

from septet import forked
from septet.apps._channel import HALF_CLOSED_S
from septet.apps.asgi import Asgi
from septet.apps.wsgi import Wsgi
from septet.exchange import ClientGone, Fields, Part, ResponseHead, Want
from septet.models._acceptor import Acceptor, Client
from septet.models._answer import answer, answer_without_waiting
from septet.models._asgi_in_thread import AsgiThread, asgi_in_thread
from septet.models._drive import Dispatch, drive, expire, lose_broken, receive_compactly, refuse_broken
from septet.models._late_requests import BlockedThread, mark_requests, threads_that_answer
from septet.models._waker import close_waker_of_this_thread
from septet.net.listener import has_been_deferred
from septet.pollers import ERROR, HANGUP, RDHUP, READABLE, WRITABLE, Poll, Ready
from septet.processes.resource_exhaustion import ACCEPT_PAUSE_S
from septet.protocol import CLOSE, EITHER, READ, RUN, WRITE, Phase, ServerExchange, ServerProtocol
from septet.service import Service

log = logging.getLogger("septet")

IDLE_GRACE_S = 1.0
"""Seconds. While other clients wait, a thread keeps its idle client's connection for at least this long after the last
answer, or after the client was accepted. So a client is not cut off between two requests of one piece of work, and a
new client has time to send its first request.
"""

WAITING_CLIENT_CHECK_S = 0.1
"""Seconds. While another client waits to be accepted, a thread with an idle client checks at this interval whether
another thread has accepted it. If none is free to do so, the thread closes its idle client's connection (after
IDLE_GRACE_S at the earliest).
"""


INTERRUPT_S = 0.05
"""Seconds. While two threads of the application wait for one client, one to send and one to read, the second looks at
this interval whether the first has left, and a thread of the application's own that reads, whether the answer is
complete.
"""

STOP_CHECK_S = 0.1
"""Seconds. After the order to drain (another process has taken over), a thread that waits for a client without a
request in flight checks at this interval whether the order to stop has followed.
"""


class _ClientWait:
    """Waits for events of one client. In phases that may be interrupted, the wait ends also when the order to stop
    comes, and, while the client is idle, when another client needs the thread. For the thread that serves the client.

    It is also the client's `exchange.Delivery`: a part of an answer has been sent when `deliver` returns.
    """

    def __init__(self, client: Client) -> None:
        acceptor, self._sock, self._session, self.deferred_s = client
        self._acceptor = acceptor
        # Pollers are made at the first wait of their kind: one request on a connection needs none.
        self._client_poller: Poll | None = None
        self._idle_poller: Poll | None = None
        self._client_or_order_poller: Poll | None = None
        self._order_descriptor = -1
        self._hears_orders = True
        """False if `_client_or_order_poller` does not tell of orders."""
        self._mask = 0
        """The events that `_client_poller` watches for."""
        self._mask_with_order = READABLE
        self._drains = False
        """True once the order to drain has come: the connection ends after the answer to the client's next request, or
        when it has been idle for DRAINING_S.
        """
        self._half_closed_at: float | None = None
        """When `check_client` first saw that the client sends no more, on the clock of `monotonic`; None: it has
        not."""
        self._overdue: Phase | None = None
        """The phase whose deadline had passed when `wait` was last called after a deadline; None: none had."""
        self._took_last_input = False
        """True if the idle client had sent something when the order to stop was first seen: it has been received."""
        self._thread = get_ident()
        self.turn = RLock()
        """Held by the thread that moves the session on: that of the client, or one of the application's own that reads
        the body of a request while the answer is given. Not held while it waits for the client.
        """
        self._has_turn = False
        """True while the thread of the client, or one that sends in its place, holds `turn`."""
        self._waits_first: int | None = None
        """The events that the thread waits for which waits for the client first, and has let go of `turn`; None: there
        is none. If it waits for what the client sends, no other thread receives: it would not be told of that.
        """
        self._moved: Condition | None = None
        """Notified when the thread that waits first has moved the session on and waits again. Made when a second
        thread waits."""
        self._only_looked = False
        """True if `wait` has returned only because another thread may have moved the session on: nothing has come."""
        self._interrupted = False
        """True if the answer was complete while another thread of the application waited for the request's body."""
        self._broken = False
        """True if there was no memory or no frame left while an answer was being sent, for example because an
        application calls `write` deep in a recursion: some of it may be lost or sent twice, so the connection is to be
        cut.
        """

    @property
    def sock(self) -> socket:
        return self._sock

    @property
    def session(self) -> ServerProtocol:
        return self._session

    # `exchange.Delivery`: what a WSGI application asks for, in this thread

    def deliver(self, head: ResponseHead | None, body: Part, last: bool) -> None:
        if self._broken:
            refuse_broken(self._session)
        session, exchange = self._session, self._session.exchange
        self.turn.acquire()  # as _take_turn does
        self._has_turn = True
        try:
            want = exchange.push(body, last) if head is None else exchange.respond(head, body, last)
            if last and session.closes:
                self._acceptor.count_as_free()
            want = self._write(want)
            if last:
                return
            while want is READ and exchange.blocked and not session.lost:  # the client has to open a window
                want = self._write(drive(self._wait_and_receive(), session, self._sock, _already_dispatched))
            if exchange.lost:
                raise ClientGone("the client went away")
        except (RecursionError, MemoryError):
            self._broken = True  # without a call, for which there may be no frame or no memory
            raise
        finally:
            self._has_turn = False
            self.turn.release()

    def inform(self, status: int, fields: Fields) -> None:
        if self._broken:
            refuse_broken(self._session)
        self._take_turn()
        try:
            self._write(self._session.exchange.inform(status, fields))
        except (RecursionError, MemoryError):
            self._broken = True
            raise
        finally:
            self._end_turn()

    def check_client(self) -> None:
        # poll(2) reports errors and the end of both directions in any case.
        for _, found in self._watching(RDHUP).wait(0):
            now = monotonic()
            if self._half_closed_at is None:
                self._half_closed_at = now
            if found & (ERROR | HANGUP) or now - self._half_closed_at >= HALF_CLOSED_S:
                self._session.lose()
                raise ClientGone("the client went away")

    def give_up(self) -> None:
        self._take_turn()
        try:
            self._write(lose_broken(self._session) if self._broken else self._session.exchange.fail())
        finally:
            self._end_turn()

    def abandon(self) -> None:
        """From now on refuse what the application gives for this client: its calls raise ClientGone. Called by another
        thread when the request has exceeded its time.
        """
        self.__class__ = _AbandonedWait

    def _write(self, want: Want) -> Want:
        while want is WRITE or want is EITHER:
            want = drive(want, self._session, self._sock, _already_dispatched)
            if want is WRITE or want is EITHER:
                want = self._wait_and_receive()
        return want

    def await_body(self) -> None:
        if self._broken:
            refuse_broken(self._session)
        if get_ident() != self._thread:
            self._await_body_beside()
            return
        sock, session = self._sock, self._session
        self._has_turn = True
        try:
            want = drive(session.phase.want, session, sock, _already_dispatched)
            while want is not RUN and want is not CLOSE:
                want = drive(self._wait_and_receive(), session, sock, _already_dispatched)
        except (RecursionError, MemoryError):
            self._broken = True
            raise
        finally:
            self._has_turn = False
        if want is CLOSE:
            raise ClientGone("the client went away")

    def _take_turn(self) -> None:
        self.turn.acquire()
        self._has_turn = True

    def _end_turn(self) -> None:
        self._has_turn = False
        self.turn.release()

    def _sleep(self, poller: Poll, mask: int, timeout: float | None) -> Ready:
        """Wait for events, those of the client's socket in `mask` among them, and let another thread of the application
        have its turn meanwhile."""
        if not self._has_turn:
            return poller.wait(timeout)
        self._waits_first = mask
        if self._moved is not None:
            self._moved.notify_all()
        self._end_turn()
        try:
            return poller.wait(timeout)
        finally:
            self._take_turn()
            self._waits_first = None

    def _sleep_beside(self, mask: int, timeout: float | None) -> Ready:
        """Do what `_sleep` does, for INTERRUPT_S at most, while another thread waits for the client."""
        has_turn, self._has_turn = self._has_turn, False
        timeout = INTERRUPT_S if timeout is None else min(timeout, INTERRUPT_S)
        try:
            mask = self._without_input_of_first(mask)
            if not mask:
                if self._moved is None:
                    self._moved = Condition(self.turn)
                self._moved.wait(timeout)
                return []
            poller = Poll()
            poller.add(self._sock.fileno(), mask)
            self.turn.release()
            try:
                ready = poller.wait(timeout)
            finally:
                self.turn.acquire()
            left = ((descriptor, self._without_input_of_first(found)) for descriptor, found in ready)
            return [(descriptor, found) for descriptor, found in left if found]
        finally:
            self._has_turn = has_turn

    def _without_input_of_first(self, mask: int) -> int:
        """Return the events that are left to this thread: what the client sends is for the one that waits first."""
        first = self._waits_first
        return mask if first is None or not first & READABLE else mask & WRITABLE

    def interrupt_reading(self) -> None:
        self._interrupted = True

    def break_off(self) -> None:
        with suppress(OSError):
            self._sock.shutdown(SHUT_RDWR)

    def _await_body_beside(self) -> None:
        """Do what `await_body` does, in a thread of the application's own. It may be interrupted, because the answer
        may be complete before the body is.
        """
        self._interrupted = False
        sock, session = self._sock, self._session
        want = drive(session.phase.want, session, sock, _already_dispatched)
        while want is not RUN and want is not CLOSE:
            left_s = self._time_left()
            ready = self._sleep_beside(WRITABLE if want is WRITE else READABLE, left_s)
            if self._interrupted:
                raise ClientGone("the answer is complete")
            want = session.phase.want  # the thread that gives the answer may have moved the session on
            if ready:
                want = receive_compactly(session, sock) if want is READ else want
            elif self._time_left() == 0.0:
                want = expire(session, sock)
            want = drive(want, session, sock, _already_dispatched)
        if want is CLOSE:
            raise ClientGone("the client went away")

    def _wait_and_receive(self) -> Want:
        want = self.wait()
        if self._only_looked:
            self._only_looked = False
            return want
        return receive_compactly(self._session, self._sock) if want is READ else want

    def wait(self) -> Want:
        """Block until the socket is ready for what the session wants, and return that want: READ means that the caller
        must receive. If the deadline has passed or the connection is to end, tell the session so, and return what it
        wants then.
        """
        session = self._session
        if self._acceptor.is_free:
            self._acceptor.count_as_busy()
        timeout = self._time_left()
        phase = session.phase
        if timeout == 0.0:  # What has come by the deadline is taken, once: a client may never cease to send.
            overdue, self._overdue = self._overdue, phase
            if overdue is phase:
                return session.stop() if phase.idle else expire(session, self._sock)
        ready: int
        if phase.idle and not self._drains:
            ready = self._wait_idle(timeout)
        elif phase.interruptible and not session.stopping:
            ready = self._wait_for_client_or_order(READABLE | WRITABLE if phase.want is EITHER else READABLE, timeout)
            if self._acceptor.stop.ordered:
                self._drains = self._acceptor.stop.draining
                return session.drain() if self._drains else session.stop()
        elif phase.idle or (phase.interruptible and self._drains):
            ready = self._wait_for_client_or_stop(READABLE | WRITABLE if phase.want is EITHER else READABLE, timeout)
            if not self._acceptor.stop.draining:
                self._drains = False
                return session.stop()
        elif phase.want is EITHER:
            ready = self._wait_for_client(WRITABLE if phase.deaf else READABLE | WRITABLE, timeout)
        else:
            ready = self._wait_for_client(WRITABLE if phase.want is WRITE else 0 if phase.deaf else READABLE, timeout)
        if ready:
            self.deferred_s = 0.0
            if phase.paced:
                session.waited(monotonic())
            phase = session.phase  # another thread may have moved it on
            # EITHER: write if the socket is only writable; in all other cases, errors included, read.
            return READ if phase.want is EITHER and ready != WRITABLE else phase.want
        if self._has_turn and self._time_left() != 0.0:  # another thread may have moved it on
            self._only_looked = True
            return session.phase.want
        if phase.idle:
            return session.stop()
        return expire(session, self._sock)

    def _time_left(self) -> float | None:
        """Seconds until the session's deadline, less those for which the kernel has held the connection back; None: it
        has no deadline."""
        now = monotonic()
        deadline = self._session.deadline(now)
        return None if deadline is None else max(0.0, deadline - now - self.deferred_s)

    def _watching(self, mask: int) -> Poll:
        """Return the poller that watches the client's socket, and nothing else, for the events of `mask`."""
        poller = self._client_poller
        if poller is None:
            poller = self._client_poller = Poll()
            poller.add(self._sock.fileno(), mask)
        elif mask != self._mask:
            poller.modify(self._sock.fileno(), mask)
        self._mask = mask
        return poller

    def _wait_for_client(self, mask: int, timeout: float | None) -> int:
        """Block until the socket is ready for an event of `mask`. Returns the events; 0 if `timeout` seconds have
        passed."""
        beside = self._has_turn and self._waits_first is not None  # which uses the poller, or may
        ready = self._sleep_beside(mask, timeout) if beside else self._sleep(self._watching(mask), mask, timeout)
        return ready[0][1] if ready else 0

    def _wait_for_client_or_order(self, mask: int, timeout: float | None) -> int:
        """Block until the socket is ready for an event of `mask`, the order to stop has come, or `timeout` seconds have
        passed. Returns the socket's events; 0 if there are none."""
        if self._has_turn and self._waits_first is not None:
            return self._wait_for_client(mask, timeout)
        descriptor = self._sock.fileno()
        poller = self._client_or_order_poller
        if poller is None:
            order = self._acceptor.stop.fileno_here()  # -1 in a child of forking, in a thread of the application's own
            self._hears_orders = order >= 0
            watched = (descriptor, order) if self._hears_orders else (descriptor,)
            poller = self._client_or_order_poller = Poll.for_reading(*watched)
        if mask != self._mask_with_order:
            poller.modify(descriptor, mask)
            self._mask_with_order = mask
        if not self._hears_orders:
            timeout = STOP_CHECK_S if timeout is None else min(timeout, STOP_CHECK_S)
        while True:
            ready = dict(self._sleep(poller, mask, timeout))
            if not ready or descriptor in ready or self._acceptor.stop.drain_and_check():
                return ready.get(descriptor, 0)
            timeout = self._time_left()

    def _wait_for_client_or_stop(self, mask: int, timeout: float | None) -> int:
        """Do what `_wait_for_client` does, after the order to drain, but return 0 also soon after the order to stop has
        followed. No descriptor tells of that, since the one of the orders is readable already.
        """
        until = None if timeout is None else monotonic() + timeout
        while True:
            left = STOP_CHECK_S if until is None else min(STOP_CHECK_S, max(0.0, until - monotonic()))
            ready = self._wait_for_client(mask, left)
            over = until is not None and monotonic() >= until
            if ready or self._has_turn or over or not self._acceptor.stop.draining:
                return ready

    def _wait_idle(self, timeout: float | None) -> bool:
        """Block until the idle client has sent something (True), or its connection is to be closed (False): at its
        deadline, at the order to stop, or because another client needs this thread."""
        descriptor = self._sock.fileno()
        poller = self._idle_poller
        if poller is None:
            self._order_descriptor = self._acceptor.stop.fileno_here()  # at any signal in the main thread
            watched = descriptor, self._order_descriptor, *self._acceptor.watched_listeners
            poller = self._idle_poller = Poll.for_reading(*watched)
        while True:
            ready = {found for found, _ in poller.wait(timeout)}
            if descriptor in ready and (len(ready) == 1 or self._may_receive(ready)):
                return True
            if self._order_descriptor in ready:
                if self._acceptor.stop.drain_and_check():
                    return self._acceptor.stop.draining and self._wait_to_drain()
            elif not ready:
                if not self.deferred_s or has_been_deferred(self._sock):
                    return False
                self.deferred_s = 0.0  # under a flood of connections the kernel does not hold any back
            else:  # a client waits to be accepted
                if self._wait_for_client(READABLE, WAITING_CLIENT_CHECK_S):
                    return True
                if self._may_drop_idle_client():
                    return False
            timeout = self._time_left()

    def _may_receive(self, ready: set[int]) -> bool:
        """True if what the idle client has sent is to be received now. After the order to stop that is done once, for a
        request that has come by then. A client that sends, without end, what is none, such as messages of TLS, would
        put off the end.
        """
        if self._order_descriptor not in ready or not self._acceptor.stop.drain_and_check():
            return True
        before, self._took_last_input = self._took_last_input, True
        return not before

    def _wait_to_drain(self) -> bool:
        """Wait for a request while the server drains, which means that this process has a successor and ends when its
        clients are served. True if the client has sent something, or if the protocol has to tell it of the end first;
        False if it was idle for DRAINING_S.
        """
        self._drains = True
        self.deferred_s = 0.0
        if self._session.drain() is not READ:  # the protocol tells the client first
            return True
        return bool(self._wait_for_client_or_stop(READABLE, self._time_left()))

    def _may_drop_idle_client(self) -> bool:
        """True if this idle client's connection must be closed, because another client waits and no thread is free. The
        thread then counts as free already."""
        since = self._session.since
        if (since is not None and monotonic() - since < IDLE_GRACE_S) or not self._acceptor.count_as_free_if_needed():
            return False
        if self._wait_for_client(READABLE, 0.0):  # the client has sent something meanwhile
            self._acceptor.count_as_busy()
            return False
        return True


class _AbandonedWait(_ClientWait):
    """Takes the place of a client's `_ClientWait` when its request has exceeded `--request-timeout`: whatever the
    application gives from then on is refused by raising ClientGone.
    """

    def deliver(self, head: ResponseHead | None, body: Part, last: bool) -> None:
        raise ClientGone("the request has exceeded its time")

    def inform(self, status: int, fields: Fields) -> None:
        raise ClientGone("the request has exceeded its time")

    def check_client(self) -> None:
        raise ClientGone("the request has exceeded its time")

    def await_body(self) -> None:
        raise ClientGone("the request has exceeded its time")

    def interrupt_reading(self) -> None:
        pass

    def break_off(self) -> None:
        pass

    def give_up(self) -> None:
        pass


def serve(client: Client, asgi_thread: AsgiThread | None) -> None:
    """Serve one connection in this thread, and return when it is over.

    asgi_thread: where an ASGI application runs, as `application_running` gave it; None for WSGI.
    """
    acceptor = client.acceptor
    try:
        if (
            acceptor.metrics is None and acceptor.service.monitor is None
        ):  # entering nothing costs a forked child 8 pages
            return _serve(client, dispatcher(acceptor.service, client, asgi_thread))
        with (
            acceptor.metrics.connection() if acceptor.metrics else nullcontext(),
            acceptor.service.monitor.connection() if acceptor.service.monitor else nullcontext(),
        ):
            _serve(client, dispatcher(acceptor.service, client, asgi_thread))
    except Exception:  # there was no memory to begin
        log.exception("a connection failed, and is cut")
        client.sock.close()


def _serve(client: Client, dispatch: Dispatch) -> None:
    acceptor, sock, session, deferred_s = client
    want = READ
    try:
        forked.sockets.add(sock)
        waiting = session.delivery = _ClientWait(client)
        if deferred_s:  # the kernel has held the client back until it sent something: there is nothing to wait for
            phase = session.phase
            want = receive_compactly(session, sock)
            if session.phase is not phase or not has_been_deferred(sock):
                waiting.deferred_s = 0.0
        while True:
            if want is RUN and (acceptor.stop.check_parent() or (acceptor.clients_starve() and session.yields)):
                session.stop()  # its answer says that the connection ends with it
            want = drive(want, session, sock, dispatch)
            if want is CLOSE:
                return
            want = waiting.wait()
            if want is READ:
                want = receive_compactly(session, sock)
    except Exception:
        log.exception("a connection failed, and is cut")
    finally:
        try:
            _end(sock, session)
        finally:  # again, in case another thread's exception (PyThreadState_SetAsyncExc) interrupted the first call
            _end(sock, session)


def _end(sock: socket, session: ServerProtocol) -> None:
    """Close the connection. `_serve` calls this twice, because an exception that another thread raises in this one may
    interrupt the first call, and a client whose connection stayed open would wait for ever.
    """
    session.close()
    forked.sockets.discard(sock)
    if sock.fileno() >= 0:
        forked.release(sock)


def repeat_until_stop(
    accept_and_serve: Callable[[Acceptor, AsgiThread | None], None],
    acceptor: Acceptor,
    asgi_thread: AsgiThread | None,
) -> None:
    """Call `accept_and_serve(acceptor, asgi_thread)` again and again until the order to stop; an exception is logged.

    Such an exception comes from a signal handler of the application, or from another thread that has raised it in this
    one (PyThreadState_SetAsyncExc), as time-outs of applications do. The connection that was being served is lost.
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
    """Log the failure. If the thread's previous failure was less than ACCEPT_PAUSE_S ago, sleep for ACCEPT_PAUSE_S, so
    that failures in a row do not keep the CPU busy.
    """
    if forked.by_application:
        forked.exit_child(failure)
    log.error("a thread failed, and goes on", exc_info=failure)
    close_waker_of_this_thread()
    now = monotonic()
    if now - acceptor.failed_at < ACCEPT_PAUSE_S:
        acceptor.pause("a thread failed")
    acceptor.failed_at = now


def _already_dispatched(exchange: ServerExchange) -> None:
    """A `dispatch` for `drive` that does nothing: the application runs for the request already, and must not be called
    a second time.
    """


@contextmanager
def application_running(
    service: Service,
    application: Callable[[Service], AbstractContextManager[AsgiThread | None]] = asgi_in_thread,
    announce: bool = True,
    capacity: int | None = 1,
) -> Iterator[AsgiThread | None]:
    """Context manager: start the application, and end it at exit. For the main thread of a process. Gives the thread in
    which an ASGI application runs, to be passed to `serve`; None for WSGI.

    Announces that clients may come (`service.ready`) unless `announce` is False, and has the order to stop close the
    listeners. application: the context manager that starts and ends the application. capacity: requests that can run at
    the same time, for metrics (0: there is no bound); None: this process serves no client itself but forks a child for
    each, and should have no other thread.
    """
    with application(service) as asgi_thread:
        # Closed in the signal handler, because the main thread itself may be busy with a client.
        service.stop.on_order = partial(_on_order, service, asgi_thread)
        with (
            service.metrics.logged_by_thread() if service.metrics else nullcontext(),
            nullcontext()
            if service.monitor is None or capacity is None
            else service.monitor.serving(capacity, beats=asgi_thread is None),
        ):
            if capacity is not None:
                watch_requests(service, asgi_thread)
            if announce and not service.stop.ordered:
                service.ready(1)
            yield asgi_thread


def watch_requests(service: Service, asgi_thread: AsgiThread | None) -> None:
    """Begin to watch for requests of this process that exceed `--request-timeout`, if that option is given; and have
    the metrics find the threads of requests, if there are metrics.
    """
    service.finds_threads(threads_that_answer)
    if service.request_watch is not None:
        find = BlockedThread if asgi_thread is None else asgi_thread.running
        mark_requests(service.site)
        service.request_watch.start(find, service.retire, service.count_timed_out, service.count_left_behind)


def _on_order(service: Service, asgi_thread: AsgiThread | None) -> None:
    if not service.stop.draining:  # else acceptors look at the listeners once more
        service.close_listeners()
    if asgi_thread is not None:
        asgi_thread.order()


def dispatcher(service: Service, client: Client, asgi_thread: AsgiThread | None) -> Dispatch:
    """Return the function by which `drive` runs the application for a request: WSGI in the thread that calls it, which
    is the client's; ASGI on the event loop of the process."""

    new_context = service.context.copy

    def dispatch(exchange: ServerExchange) -> Want | None:
        target = service.site.find(exchange)
        if isinstance(target, Asgi):
            assert asgi_thread is not None, "clients are accepted when the application has started"
            return asgi_thread.answer(target, client.sock, client.session)
        if not isinstance(target, Wsgi):
            return answer_without_waiting(target, exchange)
        delivery: Any = exchange.delivery  # the `_ClientWait` of this client
        new_context().run(answer, target, exchange, delivery)
        return client.session.phase.want

    return dispatch
