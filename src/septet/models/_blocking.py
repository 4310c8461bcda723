"""One client at a time, by calls that wait: what iterative, forking, preforked, threaded and prethreaded share.

A thread accepts a client at its `Acceptor` and calls `serve`, which returns when the connection is over. `serve` waits
with poll(2) before it reads (`_client_wait`). A WSGI application runs in the same thread, and what it gives goes to the
client at once (`_client_delivery`).

A client that has connected but sent nothing, as browsers connect in advance, takes no thread's time: the kernel holds
the connection back until it sends (TCP_DEFER_ACCEPT; Apache's AcceptFilter does the same). Unix sockets have no such
thing; there the client is given a moment to send.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from socket import socket
from time import monotonic
from typing import Any

from septet import forked
from septet.apps.asgi import Asgi
from septet.apps.wsgi import Wsgi
from septet.exchange import Want
from septet.models._acceptor import Acceptor, Client
from septet.models._answer import answer, answer_without_waiting
from septet.models._asgi_in_thread import AsgiThread, asgi_in_thread
from septet.models._client_delivery import ClientDelivery
from septet.models._drive import Dispatch, drive, receive_compactly
from septet.models._late_requests import BlockedThread, mark_requests, threads_that_answer
from septet.models._waker import close_waker_of_this_thread
from septet.net.listener import has_been_deferred
from septet.processes.resource_exhaustion import ACCEPT_PAUSE_S
from septet.protocol import CLOSE, READ, RUN, ServerExchange, ServerProtocol
from septet.service import Service

log = logging.getLogger("septet")


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
        waiting = session.delivery = ClientDelivery(client)
        if deferred_s:  # the kernel has held the client back until it sent something: there is nothing to wait for
            phase = session.phase
            want = receive_compactly(session, sock)
            if session.phase is not phase or not has_been_deferred(sock):
                waiting.deferred_s = 0.0
        while True:
            if want is RUN and (acceptor.stop.check_parent() or (acceptor.clients_starve() and session.yields)):
                # Its answer says that the connection ends with it. HTTP/2 has a gentler way if there is a successor.
                session.drain() if acceptor.stop.draining else session.stop()
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
    if sock.fileno() >= 0:
        forked.release(sock)
    forked.sockets.discard(sock)  # not earlier: another thread may fork meanwhile, and the child closes its copy


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
            try:
                yield asgi_thread
            finally:
                if service.request_watch is not None:
                    service.request_watch.stop()


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
        delivery: Any = exchange.delivery  # the `ClientDelivery` of this client
        delivery.half_closed_at = None
        new_context().run(answer, target, exchange, delivery)
        return client.session.phase.want

    return dispatch
