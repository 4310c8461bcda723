"""One of several exchanges that run at the same time on one connection of a reactor, as the streams of HTTP/2
do.

`ClientConnection` moves the bytes of the connection, and begins an exchange or wakes its application each time
its protocol wants TURN (see `septet.protocol`). A `ConcurrentExchange` links one exchange with the application
that answers it. For HTTP/1.1, which has one exchange at a time, `ClientConnection` is that link, too.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, NoReturn, Protocol

from septet.apps.asgi import Asgi, Cycle, cycle_of_upgrade
from septet.apps.asgi_websocket import WebSocketCycle
from septet.apps.wsgi import Wsgi
from septet.exchange import BROKEN, ClientGone, Fields, Part, ResponseHead, Want
from septet.models._answer import SyncApplication, answer, answer_without_waiting
from septet.models._drive import leaves_whole
from septet.models._locked_exchange import LockedExchange
from septet.models._run_ahead import RunAhead, hold_back
from septet.processes.request_watch import ANSWERED, CUT
from septet.protocol import ServerExchange, ServerProtocol

log = logging.getLogger("septet")


class Carrier(Protocol):
    """The part of `_client_connection.ClientConnection` that its exchanges use."""

    lock: Any
    session: ServerProtocol
    concurrent: "dict[ServerExchange, ConcurrentExchange]"

    @property
    def reactor(self) -> Any:
        """The reactor that serves the connection, which has the attributes of `ConnectionOwner`."""

    def drive(self, want: Want) -> None: ...

    def flush(self) -> None:
        """Send as much output as the socket takes, and have the loop watch the socket for room if some is left. Called
        by any thread that holds the lock.
        """

    def await_room(self, timeout_s: float | None) -> None: ...

    def make_room(self, timeout_s: float | None) -> None: ...

    def wake_writers(self) -> None:
        """Wake the threads that wait in `await_room`. Called by a thread that holds the lock."""

    def client_has_left(self) -> bool: ...

    def abandon(self) -> None: ...


class ConcurrentExchange:
    """Links one of several exchanges that run at the same time on a connection, such as an HTTP/2 stream, with the
    application that answers it. Implements `exchange.Delivery` (takes a WSGI application's answer),
    `_member.Answering` (a request that waits for a thread) and `_channel.Carrier` (sends what an ASGI application
    gives).
    """

    __slots__ = ("_broken", "_connection", "_exchange", "_run_ahead", "cycle")

    def __init__(self, connection: Carrier, exchange: ServerExchange) -> None:
        self._connection = connection
        self._exchange = exchange
        self._broken = False
        """True if an exception has come while the answer was being sent that may have left some of it half changed: for
        want of memory or of frames, of another thread or of a signal handler. The connection is to be cut
        (see `ClientConnection._broken`), because its streams share the output and the tables of compressed fields.
        """
        self._run_ahead: RunAhead | None = None
        self.cycle: Cycle | WebSocketCycle | None = None
        """The object that runs the ASGI application for this exchange; None for WSGI applications and static files."""

    # For the loop's thread

    def begin(self) -> None:
        """Have the application answer this exchange: put the request into the queue `due`, from which a thread takes
        it (WSGI), or start a task for it (ASGI). A request for a static file is answered at once. The caller holds the
        lock.
        """
        connection, exchange = self._connection, self._exchange
        reactor = connection.reactor
        target = reactor.sole_application or reactor.site.find(exchange)
        if isinstance(target, Wsgi):
            exchange.delivery = self
            connection.concurrent[exchange] = self
            reactor.due += ((self, target, exchange.request),)
        elif isinstance(target, Asgi):
            self._start(target)
        else:
            answer_without_waiting(target, exchange)

    def _start(self, asgi: Asgi) -> None:
        connection, exchange = self._connection, self._exchange
        # Threads may answer other streams meanwhile.
        used: Any = LockedExchange(exchange, connection) if connection.reactor.site.mixed else exchange
        if exchange.request.upgrade is None:
            cycle: Cycle | WebSocketCycle = Cycle(used, self)
        else:
            cycle = cycle_of_upgrade(asgi, used, self)
        self.cycle = cycle
        work = cycle.run(asgi)
        connection.concurrent[exchange] = self
        try:
            task = connection.reactor.starter.start(work)
        except BaseException:  # raised by a task factory of the application
            log.exception("a request's task could not be started")
            work.close()  # else Python warns that it was never awaited
            if not cycle.answered:
                exchange.fail()
            task = None
        if task is not None:
            connection.reactor.keep_task(task, cycle)
            cycle.uncork()
        if task is None or cycle.answered:
            connection.concurrent.pop(exchange, None)

    def wake(self) -> None:
        """Tell an ASGI application that something has changed for which it may wait: more of the body, room for
        output, or the client's end. A WSGI application that waits for room is woken by the connection (`await_room`),
        not here.
        """
        if self.cycle is not None:
            self.cycle.wake()

    def drive(self, want: Want) -> None:
        """Send what the application has given. `want` is not used, because it may be out of date: after the exchange
        returned it, a thread that answers another stream may have changed the session.
        """
        connection = self._connection
        with connection.lock:
            if self.cycle is not None and self.cycle.answered:
                connection.concurrent.pop(self._exchange, None)
            connection.reactor.new_context().run(connection.drive, connection.session.phase.want)

    def time_out(self, exchange: Any, is_over: Callable[[], bool]) -> str | None:
        """End the request of a WSGI application that still runs though the request has exceeded `--request-timeout`:
        answer 504, or reset the stream if an answer has begun. Returns which of the two was done, or None if the
        request was answered, as `Running.end` does. `is_over`: as there. May be called by any thread.
        """
        connection = self._connection
        with connection.lock:
            if is_over():
                return None
            outcome = CUT if exchange.responding else ANSWERED
            exchange.time_out()
            exchange.fail()
            exchange.lost = True
            connection.flush()
            connection.wake_writers()
        return outcome

    # What the application's thread calls

    def answer(self, application: SyncApplication, call: Callable[..., Any]) -> None:
        exchange = self._exchange
        if exchange.lost:  # the client has cancelled the request while it was in the queue
            self.give_up()
            return
        try:
            self._connection.reactor.new_context().run(answer, application, exchange, self, call)
        except BaseException:  # not the application's: `answer` handles what that raises
            self.abandon()
            log.exception("a connection failed, and is cut")
        finally:  # else its file is open until the garbage collector comes: the exchange and this object are a cycle
            self._run_ahead = None

    def deliver(self, head: ResponseHead | None, body: Part, last: bool) -> None:
        exchange, connection = self._exchange, self._connection
        try:
            with connection.lock:
                if self._broken:
                    self._refuse()
                _ = exchange.push(body, last) if head is None else exchange.respond(head, body, last)
                if last:
                    connection.concurrent.pop(exchange, None)
                self._flush()
                if last:
                    return
                if exchange.lost:
                    raise ClientGone("the client went away")
                if exchange.later:
                    self._hold_back()
        except BaseException as error:
            self._broken = True  # first and without a call, for which there may be no frame or no memory
            if leaves_whole(error):
                self._broken = False
            raise

    def _flush(self) -> None:
        """Send what the connection has, in a context of its own: answers on other streams may end with it, and are
        logged then. `drive` does the same.
        """
        connection = self._connection
        connection.reactor.new_context().run(connection.flush)

    def _refuse(self) -> NoReturn:
        """Raise ClientGone, and cut the connection: memory or frames were lacking while this answer was sent."""
        self._abandon_broken()
        raise ClientGone("an earlier part of the answer could not be sent")

    def _hold_back(self) -> None:
        exchange, reactor = self._exchange, self._connection.reactor
        if self._run_ahead is None:
            self._run_ahead = RunAhead(reactor.service.in_flight.spool)
        why_not = hold_back(self._run_ahead, exchange, lambda left_s: reactor.runner.wait_for_room(self, left_s))
        if why_not is not None:
            reactor.service.exhaustion.report(
                f"cannot keep an answer for a slow client: {why_not}", "the application waits for it"
            )

    def inform(self, status: int, fields: Fields) -> None:
        try:
            with self._connection.lock:
                if self._broken:
                    self._refuse()
                self._exchange.inform(status, fields)
                self._flush()
        except BaseException as error:
            self._broken = True
            if leaves_whole(error):
                self._broken = False
            raise

    def _abandon_broken(self) -> None:
        if not self._exchange.lost:
            log.error(BROKEN)
        self.abandon()

    def give_up(self) -> None:
        with self._connection.lock:
            if self._broken:
                self._abandon_broken()
            self._exchange.fail()
            self._connection.concurrent.pop(self._exchange, None)
            self._flush()

    def check_client(self) -> None:
        if not self._exchange.lost and self._connection.client_has_left():
            self._connection.abandon()
        if self._exchange.lost:
            raise ClientGone("the client went away")

    def await_body(self) -> None:
        raise AssertionError("the body is collected before the application is called")

    def interrupt_reading(self) -> None:
        pass  # what was collected is read without a wait

    turn: AbstractContextManager[object] = nullcontext()
    """Nothing: the lock is taken at each step."""

    def break_off(self) -> None:
        connection = self._connection
        with connection.lock:
            if self._exchange.responding:
                self._exchange.fail()  # resets the stream, since other requests share the connection
                self._flush()
                connection.wake_writers()

    def abandon(self) -> None:
        with suppress(Exception):
            self._connection.concurrent.pop(self._exchange, None)
        self._connection.abandon()

    def await_room(self, timeout_s: float | None) -> None:
        self._connection.await_room(timeout_s)

    def make_room(self, timeout_s: float | None) -> None:
        self._connection.make_room(timeout_s)
