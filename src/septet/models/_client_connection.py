"""One client of a reactor, which serves many clients on one loop: its session, its socket, and where the application
runs for it.
"""

import logging
from asyncio import Task, current_task
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from contextvars import Context
from functools import partial
from socket import SHUT_RDWR, socket
from threading import Condition, RLock
from time import monotonic
from typing import Any, Protocol

from septet import forked
from septet.apps._channel import HALF_CLOSED_S
from septet.apps.asgi import Asgi, Cycle, cycle_of_upgrade
from septet.apps.asgi_websocket import WebSocketCycle
from septet.apps.site import Site
from septet.apps.wsgi import Wsgi
from septet.exchange import ClientGone, Fields, Part, ResponseHead, Want
from septet.loop import ReadinessLoop
from septet.models._answer import SyncApplication, answer, answer_without_waiting
from septet.models._concurrent_exchange import ConcurrentExchange
from septet.models._drive import drive, expire, leaves_whole, lose_broken, receive_compactly, refuse_broken
from septet.models._member import Due
from septet.models._run_ahead import RunAhead, hold_back
from septet.models._runners import Runner
from septet.models._tasks import Starter
from septet.models._watched import WatchedConnection
from septet.pollers import ERROR, HANGUP, RDHUP, READABLE, WRITABLE, Poll
from septet.processes.request_watch import ANSWERED, CUT
from septet.protocol import CLOSE, READ, RUN, TURN, WRITE, ServerExchange, ServerProtocol
from septet.service import Service

log = logging.getLogger("septet")

REQUESTS_PER_EVENT = 16
"""The largest number of requests of one connection that are begun at one event of its socket, if the client sends
several without waiting for answers (pipelining). The next request is begun after those of other clients.
"""

_NONE: dict[ServerExchange, ConcurrentExchange] = {}
"""An empty dictionary, the value of `ClientConnection.concurrent` for a protocol with one exchange at a time, such as
HTTP/1.1.
"""


class ConnectionOwner(Protocol):
    """The part of `_reactor.Reactor` that a connection uses."""

    loop: ReadinessLoop
    service: Service
    site: Site
    sole_application: Any
    """The application that answers every request, so that no path has to be looked at; None if there are several
    applications, or directories of static files.
    """
    due: Due
    """The queue of requests that are complete and for which the WSGI application has not been called yet."""
    starter: Starter
    """Starts the tasks of ASGI requests."""
    runner: Runner
    """Decides in which thread a WSGI application runs."""
    lock: Any
    """One lock that all connections share, where a single thread uses them all; None: each connection makes a lock
    of its own, because an application's thread and the loop's thread both use it.
    """
    new_context: Callable[[], Context]
    """Returns a fresh copy of the context in which the application was imported."""

    def keep_task(self, task: "Task[None]", cycle: Cycle | WebSocketCycle) -> None: ...

    def call_on_loop(self, function: Callable[[], None]) -> None: ...

    def forget(self, connection: "ClientConnection") -> None: ...


def _runs_already(exchange: ServerExchange) -> None:
    """Stands in for `dispatch` when an application's thread drives its connection: does nothing, because the
    application runs already, in that thread.
    """


class ClientConnection(WatchedConnection):
    """A client of a reactor: moves its bytes, and has the application run for its requests.

    While a WSGI application makes an answer, two threads use the session: that of the application and that of the
    loop. Each holds `lock` while it does. Implements `exchange.Delivery` (takes the application's answer) and
    `_member.Answering` (a request that waits for a thread).
    """

    __slots__ = (
        "_answering",
        "_broken",
        "_half_closed_at",
        "_requests_begun",
        "_room",
        "_run_ahead",
        "concurrent",
        "lock",
        "reactor",
    )

    def __init__(self, reactor: ConnectionOwner, sock: socket, session: ServerProtocol) -> None:
        super().__init__(reactor.loop, sock, session)
        self.reactor = reactor
        self.lock = reactor.lock or RLock()
        self._answering = False
        """True while the connection's request waits in the queue `due` for a WSGI application, or such an application
        is answering it. The connection's next request has to wait meanwhile.
        """
        self._half_closed_at: float | None = None
        """When `check_client` first saw that the client sends no more, in seconds on the clock of `monotonic`; None:
        it has not seen that.
        """
        self._broken = False
        """True if there was no memory or no frame left while an answer was being sent, for example because an
        application calls `write` deep in a recursion, or if an exception of another thread or of a signal handler has
        come meanwhile (`leaves_whole`): some of it may be lost or sent twice, so the connection is to be cut.
        """
        self._run_ahead: RunAhead | None = None
        """Keeps output of the current answer that the client has not taken, in memory and in a file. None: no output
        had to be kept since the present answer began.
        """
        self._room: Condition | None = None
        """Condition that is notified when the client has taken some output. None: no application has waited for that
        since the present answer began.
        """
        if reactor.site.has_wsgi:
            session.delivery = self
        self.concurrent: dict[ServerExchange, ConcurrentExchange] = _NONE
        """For HTTP/2: each exchange (stream) whose application runs, and the object that runs it. Empty for a protocol
        that has one exchange at a time, such as HTTP/1.1.
        """
        self._requests_begun = 0
        """Number of requests of this connection that were begun since its socket last had an event. REQUESTS_PER_EVENT
        + 1: that was the limit, and the next request is begun in the loop's next iteration.
        """

    # Where the application runs

    def dispatch(self, exchange: ServerExchange) -> Want | None:
        if self._answering or (self.cycle is not None and self._must_wait(self.cycle)):
            want = self.session.phase.want
            return None if want is RUN else want
        reactor = self.reactor
        target = reactor.sole_application or reactor.site.find(exchange)
        if isinstance(target, Wsgi):
            # Without a call, so that no exception of another thread comes between the two lines. The first may raise
            # MemoryError, the second cannot.
            reactor.due += ((self, target, exchange.request),)
            self._answering = True
            return None
        if self._requests_begun < REQUESTS_PER_EVENT:
            self._requests_begun += 1
            if isinstance(target, Asgi):
                return self._begin(target, exchange)
            return answer_without_waiting(target, exchange)
        if self._requests_begun == REQUESTS_PER_EVENT:
            self._postpone()
        return None

    def _must_wait(self, cycle: Cycle | WebSocketCycle) -> bool:
        """Have the next request wait, which the connection would begin now. Returns True. It waits while the previous
        request, which `cycle` serves, is not answered. When it is, and is still the connection's, the loop is running
        its task, or a callback of it: the next request must not begin inside that task and its context.
        """
        if not cycle.answered:
            cycle.wake()
        elif self._requests_begun <= REQUESTS_PER_EVENT:
            self._postpone()
        return True

    def _begin(self, asgi: Asgi, exchange: ServerExchange) -> Want | None:
        """Start the ASGI application for the request, as a task. Returns what the connection wants next if the
        application has given output or ended before it first waited, else None.
        """
        session = self.session
        cycle: Cycle | WebSocketCycle
        if exchange.request.upgrade is None:
            cycle = self.cycle = Cycle(exchange, self)
        else:
            cycle = self.cycle = cycle_of_upgrade(asgi, exchange, self)
        work = cycle.run(asgi)
        try:
            task = self.reactor.starter.start(work)
        except BaseException:  # raised by a task factory of the application
            log.exception("a request's task could not be started")
            work.close()  # else Python warns that it was never awaited
            self.cycle = None
            return session.lose() if cycle.answered else exchange.fail()
        if task is None:
            self.cycle = None  # an idle connection holds nothing of its last request
            return session.phase.want
        self.reactor.keep_task(task, cycle)
        cycle.uncork()
        if cycle.answered:
            self.cycle = None
            return session.phase.want
        return None if session.phase.want is RUN else session.phase.want

    def take_turns(self) -> None:
        if self.concurrent is _NONE:
            self.concurrent = {}
        session = self.session
        while (want := session.phase.want) is TURN:
            if self._requests_begun >= REQUESTS_PER_EVENT or current_task(self.loop) is not None:
                if self._requests_begun <= REQUESTS_PER_EVENT:
                    self._postpone()
                break
            exchange = session.take_turn()
            known = self.concurrent.get(exchange)
            if known is not None:
                known.wake()
            else:
                self._requests_begun += 1
                ConcurrentExchange(self, exchange).begin()
            want = drive(session.phase.want, session, self.sock, self.dispatch)
        self.attend_to(want)

    def running(self, exchange: ServerExchange) -> "ClientConnection | ConcurrentExchange | None":
        """Return the object that runs the application for this exchange, by which a request that exceeds
        `--request-timeout` is ended; None if the exchange is not of this connection. May be called by any thread.
        """
        return self if self.session.exchange is exchange else self.concurrent.get(exchange)

    def _postpone(self) -> None:
        """Begin the next request in the loop's next iteration, after those of other clients, and in no context of the
        request before it.
        """
        self._requests_begun = REQUESTS_PER_EVENT + 1
        self.loop.call_soon(self._resume, context=self.reactor.new_context())

    def _resume(self) -> None:
        """Begin the request that was postponed; called in the loop's next iteration."""
        with self.lock:
            self._requests_begun = 0
            try:
                want = self.session.phase.want
                if want is RUN or want is TURN:
                    self.drive(want)
            except BaseException:
                self.fail()

    # What the loop calls

    def ready(self, mask: int) -> None:
        with self.lock:
            if self._requests_begun <= REQUESTS_PER_EVENT:
                self._requests_begun = 0
            WatchedConnection.ready(self, mask)
            if self._room is not None:
                self.wake_writers()

    def check_deadline(self, now: float) -> None:
        with self.lock:
            if self._descriptor < 0:  # `end` was called and has failed: call it again
                self.end()
            else:
                super().check_deadline(now)

    def stop(self) -> None:
        """Close the connection because the server stops: at once if no request is being received or answered, else
        after the answer.

        What the client has sent is received first: closing a socket with unread data makes the kernel send RST, and a
        request that came before the order to stop is answered.
        """
        with self.lock:
            session = self.session
            begins = session.phase.want is READ and self.look() is not READ
            want = session.stop()
            if begins or want is not RUN or self.cycle is not None:
                self.drive(want)

    def look(self) -> Want:
        """Receive what the client has sent, if anything has come, and return what the connection wants next."""
        return receive_compactly(self.session, self.sock)

    def drain(self) -> None:
        """Let the connection end because another process has taken over from this one: it is closed after an answer
        that tells the client so, or when it has been idle for `rules.DRAINING_S` seconds.
        """
        with self.lock:
            want = self.session.drain()
            if want is not RUN or self.cycle is not None:
                self.drive(want)

    def cut(self) -> None:
        """Close the connection now."""
        with self.lock:
            self.drive(self.session.lose())

    def end(self) -> None:
        # Whatever raises, the rest is done; and a first call that has failed is made again, for the client would be
        # counted for ever, or kept waiting.
        try:
            try:
                self.wake_writers()
                for each in list(self.concurrent.values()):
                    each.wake()
            finally:
                if not self._answering:  # else the application's thread does so: see `_end_answer`
                    try:
                        self.session.close()
                    finally:
                        self.session.close()
        finally:
            try:
                self._close_socket()
            except BaseException:
                self._close_socket()
                raise
            finally:
                self.reactor.forget(self)

    def _close_socket(self) -> None:
        forked.release(self.sock)

    def close_in_child(self) -> None:
        """Called in a child that the application has forked: close its copy of the socket. The lock is replaced,
        because a thread of the parent may hold it."""
        self.lock = RLock()
        self.sock.close()

    def wake_writers(self) -> None:
        """Wake the application's thread if it waits in `await_room`, because output was sent or the client is gone."""
        if self._room is not None:
            self._room.notify_all()

    def time_out(self, exchange: Any, is_over: Callable[[], bool]) -> str | None:
        """End the request of a WSGI application that still runs though the request has exceeded `--request-timeout`:
        answer 504, or close the connection if an answer has begun. What the application gives from now on is refused
        with ClientGone, as if the client had left. Returns which of the two was done, or None if the request was
        answered, as `Running.end` does. `is_over`: as there. May be called by any thread.
        """
        with self.lock:
            if is_over():
                return None
            outcome = CUT if exchange.responding else ANSWERED
            session = self.session
            exchange.time_out()
            if drive(exchange.fail(), session, self.sock, self.dispatch) is WRITE:
                session.lose()
            exchange.lost = True
        self.reactor.call_on_loop(self._attend_now)
        return outcome

    # What the application's thread calls

    def answer(self, application: SyncApplication, call: Callable[..., Any]) -> None:
        """Run a WSGI application for the session's request, in the calling thread. Each function of the application is
        called as `call(function, *arguments)`, so that the caller can do something around it. The client has the whole
        answer before the `close` of the application's iterable is called.
        """
        if self.session.lost:  # the client left while the request was in the queue
            self._end_answer()
            return
        try:
            self.reactor.new_context().run(answer, application, self.session.exchange, self, call)
        except BaseException:  # not the application's: `answer` handles what that raises
            self._cut_after_failure()

    def deliver(self, head: ResponseHead | None, body: Part, last: bool) -> None:
        exchange = self.session.exchange
        try:
            with self.lock:
                if self._broken:
                    refuse_broken(self.session)
                want = exchange.push(body, last) if head is None else exchange.respond(head, body, last)
                if last:
                    self._finish(want)
                    return
                session = self.session
                want = drive(want, session, self.sock, _runs_already)
                # In most cases the loop watches for the right events already.
                if (want is not READ and want is not RUN) or self._mask != READABLE:
                    self._settle(want)
                if session.lost:
                    raise ClientGone("the client went away")
                if exchange.later:
                    self._hold_back(exchange)
        except BaseException as error:
            self._broken = True  # first and without a call, for which there may be no frame or no memory
            if leaves_whole(error):
                self._broken = False
            raise

    def inform(self, status: int, fields: Fields) -> None:
        session = self.session
        try:
            with self.lock:
                if self._broken:
                    refuse_broken(self.session)
                self._settle(drive(session.exchange.inform(status, fields), session, self.sock, self.dispatch))
        except BaseException as error:
            self._broken = True
            if leaves_whole(error):
                self._broken = False
            raise

    def give_up(self) -> None:
        with self.lock:
            self._finish(lose_broken(self.session) if self._broken else self.session.exchange.fail())

    def _finish(self, want: Want) -> None:
        """Send the end of the answer, and begin the next request if it has come. An exception is logged and not raised
        to the application, because the session may be serving the next request already.
        """
        self._end_answer()
        try:
            want = drive(want, self.session, self.sock, self._dispatch_next)
            if (want is not READ and want is not RUN) or self._mask != READABLE or self._answering:
                self._settle(want)
        except BaseException:
            self._cut_after_failure()

    def _dispatch_next(self, exchange: ServerExchange) -> Want | None:
        """Begin the next request, which has come already, in the thread and the context of an answer that is complete.
        What does not run in a context of its own, as each call of a WSGI application does, is left to the loop.
        """
        reactor = self.reactor
        if isinstance(reactor.sole_application or reactor.site.find(exchange), Wsgi):
            return self.dispatch(exchange)
        reactor.call_on_loop(self._resume)
        return None

    def _end_answer(self) -> None:
        """Note that the answer is over, so that the connection's next request may begin. If the socket was closed
        during the answer, close the session, too, which was kept open for the application.
        """
        self._answering = False
        self._run_ahead = self._room = self._half_closed_at = None
        if self._descriptor < 0:
            self.session.close()

    def _cut_after_failure(self) -> None:
        """Log the exception that is being handled, which is a fault of the server, and close the connection without
        finishing its answer.
        """
        self.abandon()
        log.exception("a connection failed, and is cut")

    def abandon(self) -> None:
        with self.lock:
            self.session.lose()
            self._end_answer()
        self.reactor.call_on_loop(self._attend_now)

    def repair(self) -> None:
        """Bring the connection back into a consistent state after an exception that may have interrupted one of its
        callbacks: depending on what its session wants, begin its request, watch its socket again, or close it.
        """
        try:
            with self.lock:
                if self._descriptor < 0:
                    self.end()
                    return
                self._requests_begun = 0
                self.forget_watch()
                if self.session.phase.want is RUN and not self._answering:
                    self.drive(RUN)
                else:
                    self.attend(self.session.phase.want)
        except BaseException:
            self._cut_after_failure()

    def forget_watch(self) -> None:
        """Have the loop no longer watch the socket, and forget which events it was watched for. `repair` calls this,
        because an exception may have come after the loop was told and before the connection had noted it.
        """
        self._mask = self._mask or READABLE  # until it is so, what closes the connection has the loop do it again
        self.loop.unwatch(self._descriptor)
        self._mask = 0

    def flush(self) -> None:
        session = self.session
        try:
            want = drive(session.phase.want, session, self.sock, self.dispatch)
            if want is not READ or self._mask != READABLE:
                self._settle(want)
        except BaseException:
            self._cut_after_failure()

    def _settle(self, want: Want) -> None:
        """Have the loop watch the socket for what the session waits for, and begin the next request if it has been
        received whole. If the caller is not the thread that runs the loop, that thread is asked to do so, unless the
        loop watches for the right events already.
        """
        if self.reactor.runner.leads():
            self.attend(want)
        elif want is CLOSE or want is TURN or self._answering or self._mask != self._mask_for(want):
            self.reactor.call_on_loop(self._attend_now)

    def _attend_now(self) -> None:
        with self.lock:
            try:
                self.attend(self.session.phase.want)
            except BaseException:
                self.fail()

    def _hold_back(self, exchange: ServerExchange) -> None:
        """Keep output that the client has not taken, in memory and then in a file. Blocks while more is kept than the
        limits allow (see `_run_ahead.hold_back`). Raises ClientGone.
        """
        if self._run_ahead is None:
            self._run_ahead = RunAhead(self.reactor.service.in_flight.spool)
        why_not = hold_back(self._run_ahead, exchange, partial(self.reactor.runner.wait_for_room, self))
        if why_not is not None:
            self.reactor.service.exhaustion.report(
                f"cannot keep an answer for a slow client: {why_not}", "the application waits for it"
            )

    def check_client(self) -> None:
        """Raise ClientGone if the client is gone. Asks the kernel, because the loop cannot notice it while the
        application runs in the loop's thread.
        """
        session = self.session
        if not session.lost and self.client_has_left():
            with self.lock:
                self._settle(session.lose())
        if session.lost:
            raise ClientGone("the client went away")

    def client_has_left(self) -> bool:
        """True if the socket has failed, or if the client half-closed the connection (it sends no more, but may still
        read) at least HALF_CLOSED_S seconds ago.
        """
        descriptor = self._descriptor
        if descriptor < 0:  # the loop has seen it first, in its own thread, and has closed the socket
            return True
        poller = Poll()
        poller.add(descriptor, RDHUP)  # poll(2) reports errors and the end of both directions in any case
        for _, found in poller.wait(0):
            now = monotonic()
            if self._half_closed_at is None:
                self._half_closed_at = now
            return bool(found & (ERROR | HANGUP)) or now - self._half_closed_at >= HALF_CLOSED_S
        return False

    def await_body(self) -> None:
        raise AssertionError("the body is collected before the application is called")

    def interrupt_reading(self) -> None:
        pass  # what was collected is read without a wait

    turn: AbstractContextManager[object] = nullcontext()
    """Nothing: the lock is taken at each step."""

    def break_off(self) -> None:
        with suppress(OSError):
            self.sock.shutdown(SHUT_RDWR)

    def await_room(self, timeout_s: float | None) -> None:
        """Block until the loop has sent some output, or `timeout_s` seconds have passed; None: no time-out. Called by
        a thread that does not run the loop and that holds the connection's lock; the lock is released while it waits.
        """
        if self._room is None:
            self._room = Condition(self.lock)
        self._room.wait(timeout_s)

    def make_room(self, timeout_s: float | None) -> None:
        """Block until the socket takes more output, and send it; return earlier if the connection's deadline or
        `timeout_s` seconds have passed (None: no time-out). Called by the thread that runs the loop when no other
        thread can run the loop in its place.
        """
        session, now = self.session, monotonic()
        deadline = session.deadline(now)
        times_s = [] if timeout_s is None else [timeout_s]
        if deadline is not None:
            times_s.append(max(0.0, deadline - now))
        poller = Poll()
        awaits = session.phase.want  # WRITE; READ if the client has to open a window
        poller.add(self._descriptor, WRITABLE if awaits is WRITE else self._mask_for(awaits))
        if ready := poller.wait(min(times_s, default=None)):
            if awaits is WRITE:
                self._settle(drive(awaits, session, self.sock, self.dispatch))
            else:
                self.ready(ready[0][1])
        elif deadline is not None and monotonic() >= deadline:
            self._settle(drive(expire(session, self.sock), session, self.sock, self.dispatch))
