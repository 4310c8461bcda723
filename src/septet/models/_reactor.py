"""Many clients on one loop: what poll, epoll and io_uring share.

A loop watches the listeners and every connection, and calls their links straight from its poller. A WSGI application
runs where a `_leaders.Leaders` says: in the thread that runs the loop, as long as it does not wait there, and in others
beside it; or, with `--threads 0`, in the loop's thread alone. An ASGI application runs as a task for each request.
"""

import logging
import operator
from asyncio import Task, TimerHandle, current_task
from collections import deque
from collections.abc import Callable
from functools import partial
from socket import socket
from threading import Condition, RLock
from time import monotonic
from typing import Any, Protocol

from septet import forked
from septet.apps._channel import HALF_CLOSED_S
from septet.apps._lifespan import Lifespan
from septet.apps.asgi import Asgi, Cycle
from septet.apps.wsgi import Wsgi
from septet.exchange import ClientGone, Fields, Part, ResponseHead, Want
from septet.loop import ReadinessLoop
from septet.models._answer import SyncApplication, answer, answer_without_waiting
from septet.models._application_loop import run_through, run_until, start_application
from septet.models._drive import drive, expire
from septet.models._leaders import Leaders
from septet.models._member import Due
from septet.models._run_ahead import SLOW_S, RunAhead
from septet.models._tasks import Starter
from septet.models._watched import WatchedConnection
from septet.net.listener import Listener
from septet.pollers import ERROR, EXCLUSIVE, HANGUP, RDHUP, READABLE, WRITABLE, Poll
from septet.processes.cpus import default_threads
from septet.processes.metrics import ProcessMetrics
from septet.processes.orders import Stop
from septet.processes.resource_exhaustion import ACCEPT_PAUSE_S, reason
from septet.protocol import CLOSE, READ, RUN, ServerExchange, ServerProtocol
from septet.rules import STOPPING_S
from septet.service import Service

log = logging.getLogger("septet")

ACCEPT_BATCH = 1024
"""Clients taken in at one event where nobody shares the listener; where somebody does it is one, as in nginx."""

DEADLINES_PER_TURN = 500
"""Connections whose deadlines are looked at in one turn of the loop: half a millisecond."""

REQUESTS_PER_EVENT = 16
"""Of a client that sends its requests in one piece; then the others come first."""


class ClientConnection(WatchedConnection):
    """A client of a reactor.

    While an application that is called makes an answer, its thread touches the session as well as the loop's: each
    does so under `lock`. Implements `exchange.Delivery` and `_leaders.Answering`.
    """

    __slots__ = ("_answering", "_half_closed_at", "_reactor", "_requests_begun", "_room", "_run_ahead", "lock")

    def __init__(self, reactor: "Reactor", sock: socket, session: ServerProtocol) -> None:
        super().__init__(reactor.loop, sock, session)
        self._reactor = reactor
        self.lock = reactor.lock or RLock()
        self._answering = False
        """An application that is called has the session's request, or its turn will come; the next one has to wait."""
        self._half_closed_at: float | None = None
        """When it was seen, in the midst of an answer of which nothing is sent, that the client sends no more."""
        self._run_ahead: RunAhead | None = None
        self._room: Condition | None = None
        """Notified when the client has taken something, if an application waits for that."""
        if isinstance(reactor.site.application, Wsgi):
            session.delivery = self
        self._requests_begun = 0
        """Given at this event; one more than the limit: the next one is due when the others have had theirs."""

    # Where the application runs

    def dispatch(self, exchange: ServerExchange) -> Want | None:
        if self._answering or (self.cycle is not None and self._must_wait(self.cycle)):
            return None
        reactor = self._reactor
        target = reactor.sole_application or reactor.site.find(exchange)
        if isinstance(target, Wsgi):
            # Without a call, so that no exception of another thread comes between the two; first what may lack memory.
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

    def _must_wait(self, cycle: Cycle) -> bool:
        """Whether the turn is not to be given now: the one before goes on, or its task is in the midst of a step, and
        the next is neither its part nor its context's."""
        if not cycle.answered:
            cycle.wake()
            return True
        if current_task(self.loop) is None:
            return False
        if self._requests_begun <= REQUESTS_PER_EVENT:
            self._postpone()
        return True

    def _begin(self, asgi: Asgi, exchange: ServerExchange) -> Want | None:
        """Start a task for the request. What it sends before it first waits is carried from here on."""
        session = self.session
        cycle = self.cycle = Cycle(exchange, self)
        try:
            task = self._reactor.starter.start(cycle.run(asgi))
        except BaseException:  # the application's own idea of a task
            log.exception("a request's task could not be started")
            self.cycle = None
            return session.lose() if cycle.answered else exchange.fail()
        if task is None:
            self.cycle = None  # an idle connection holds nothing of its last request
            return session.phase.want
        self._reactor.attend(task)
        cycle.let_go()
        if cycle.answered:
            self.cycle = None
            return session.phase.want
        return None if session.phase.want is RUN else session.phase.want

    def _postpone(self) -> None:
        """The turn is due when the others have had theirs."""
        self._requests_begun = REQUESTS_PER_EVENT + 1
        self.loop.call_soon(self._resume)

    def _resume(self) -> None:
        """Others have had their turn meanwhile."""
        with self.lock:
            self._requests_begun = 0
            try:
                if self.session.phase.want is RUN:
                    self.drive(RUN)
            except Exception:
                self.fail()

    # What the loop calls

    def ready(self, mask: int) -> None:
        with self.lock:
            if self._requests_begun <= REQUESTS_PER_EVENT:
                self._requests_begun = 0
            WatchedConnection.ready(self, mask)
            if self._room is not None:
                self._notify()

    def check_deadline(self, now: float) -> None:
        with self.lock:
            super().check_deadline(now)

    def stop(self) -> None:
        """End when nothing is in flight any more: now, or after the answer."""
        with self.lock:
            if self.session.stop() is CLOSE:
                self.drive(CLOSE)

    def cut(self) -> None:
        """End now."""
        with self.lock:
            self.drive(self.session.lose())

    def end(self) -> None:
        try:
            self._notify()
            if not self._answering:  # else its thread does so when it is done with the body
                self.session.close()
        finally:
            forked.release(self.sock)
            self._reactor.forget(self)

    def close_in_child(self) -> None:
        """In a child that the application has forked: other threads, one of which may have the lock, are not there."""
        self.lock = RLock()
        self.sock.close()

    def _notify(self) -> None:
        """Something has gone to the client, or it is gone: an application that waits for room looks again."""
        if self._room is not None:
            self._room.notify()

    # What the thread calls in which the application runs

    def answer(self, application: SyncApplication, call: Callable[..., Any]) -> None:
        """Run the application for the request. It is over for the client before the application's `close` is."""
        if self.session.lost:  # while it waited for its turn
            self._end_answer()
            return
        try:
            self._reactor.new_context().run(answer, application, self.session.exchange, self, call)
        except BaseException:  # ours, or the system's: what the application raises is dealt with there
            self._cut_after_failure()

    def deliver(self, head: ResponseHead | None, body: Part, last: bool) -> None:
        exchange = self.session.exchange
        with self.lock:
            want = exchange.push(body, last) if head is None else exchange.respond(head, body, last)
            if last:
                self._finish(want)
                return
            session = self.session
            want = drive(want, session, self.sock, self.dispatch)
            # Mostly the loop watches for the right thing already.
            if (want is not READ and want is not RUN) or self._mask != READABLE:
                self._settle(want)
            if session.lost:
                raise ClientGone("the client went away")
            if exchange.later:
                self._hold_back(exchange)

    def inform(self, status: int, fields: Fields) -> None:
        session = self.session
        with self.lock:
            self._settle(drive(session.exchange.inform(status, fields), session, self.sock, self.dispatch))

    def give_up(self) -> None:
        with self.lock:
            self._finish(self.session.exchange.fail())

    def _finish(self, want: Want) -> None:
        """The answer is complete as far as the application goes. Nothing that happens from here on is its affair: the
        session may have come to the next request already."""
        self._end_answer()
        try:
            want = drive(want, self.session, self.sock, self.dispatch)
            if (want is not READ and want is not RUN) or self._mask != READABLE or self._answering:
                self._settle(want)
        except Exception:
            self._cut_after_failure()

    def _end_answer(self) -> None:
        """The connection's next exchange may begin."""
        self._answering = False
        self._run_ahead = self._room = None
        if self._descriptor < 0:
            self.session.close()

    def _cut_after_failure(self) -> None:
        """Something is wrong that is no fault of the application's."""
        self.abandon()
        log.exception("a connection failed, and is cut")

    def abandon(self) -> None:
        with self.lock:
            self.session.lose()
            self._end_answer()
        self._reactor.call_on_loop(self._attend_now)

    def repair(self) -> None:
        """The loop was kept from something by an exception: see what is to be done, whatever has been."""
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
        except Exception:
            self._cut_after_failure()

    def forget_watch(self) -> None:
        """Nothing is watched; `attend` has the loop watch what is wanted."""
        self._mask = 0
        self.loop.unwatch(self._descriptor)

    def _settle(self, want: Want) -> None:
        """Have the loop watch for what the session waits for now, and see that the next request's turn has come."""
        if self._reactor.runner.leads():
            self.attend(want)
        elif want is CLOSE or self._answering or self._mask != self._mask_for(want):
            self._reactor.call_on_loop(self._attend_now)

    def _attend_now(self) -> None:
        with self.lock:
            try:
                self.attend(self.session.phase.want)
            except Exception:
                self.fail()

    def _hold_back(self, exchange: ServerExchange) -> None:
        """See to what the client does not take; wait for the client, when it has become too much."""
        ahead = self._run_ahead
        if ahead is None:
            ahead = self._run_ahead = RunAhead(self._reactor.service.in_flight.spool)
        until = monotonic() + SLOW_S
        while ahead.is_full(exchange):
            if ahead.slow:
                self._reactor.runner.wait_for_room(self, None)
            elif (left_s := until - monotonic()) > 0:
                self._reactor.runner.wait_for_room(self, left_s)
            else:
                ahead.slow = True
        if exchange.lost:
            raise ClientGone("the client went away, or read too slowly")
        why_not = ahead.move_to_file(exchange)
        if why_not is not None:
            self._reactor.service.exhaustion.report(f"cannot keep an answer for a slow client: {why_not}")

    def look(self) -> None:
        """Where the application runs in the loop's thread, nothing else would see that the client is gone."""
        session = self.session
        if not session.lost and self._client_has_left():
            with self.lock:
                self._settle(session.lose())
        if session.lost:
            raise ClientGone("the client went away")

    def _client_has_left(self) -> bool:
        poller = Poll()
        poller.add(self._descriptor, RDHUP)  # errors and the end of both directions are told in any case: poll(2)
        for _, found in poller.wait(0):
            now = monotonic()
            if self._half_closed_at is None:
                self._half_closed_at = now
            return bool(found & (ERROR | HANGUP)) or now - self._half_closed_at >= HALF_CLOSED_S
        return False

    def await_body(self) -> None:
        raise AssertionError("a body is collected before its request has its turn")

    def await_room(self, timeout_s: float | None) -> None:
        """Wait until the loop has sent something. For a thread other than the loop's that holds the lock, which is
        given back meanwhile."""
        if self._room is None:
            self._room = Condition(self.lock)
        self._room.wait(timeout_s)

    def make_room(self, timeout_s: float | None) -> None:
        """Wait until the client takes something, and send it. For the loop's thread, where there is no other."""
        session, now = self.session, monotonic()
        deadline = session.deadline(now)
        times_s = [] if timeout_s is None else [timeout_s]
        if deadline is not None:
            times_s.append(max(0.0, deadline - now))
        poller = Poll()
        poller.add(self._descriptor, WRITABLE)
        if poller.wait(min(times_s, default=None)):
            self._settle(drive(session.phase.want, session, self.sock, self.dispatch))
        elif deadline is not None and monotonic() >= deadline:
            self._settle(drive(expire(session, self.sock), session, self.sock, self.dispatch))


class Reactor:
    """Serves on one loop until the order to stop. Belongs to the thread that calls `run`."""

    def __init__(self, service: Service, loop: ReadinessLoop) -> None:
        self.service = service.spooling()
        self.site = service.site
        self.sole_application = None if self.site.directories else self.site.application
        self.loop = loop
        self.new_context = service.context.copy
        self.due: Due = deque()
        """Requests that wait for an application that is called, in their order."""
        try:
            self.runner = self._runner()
        except OSError:  # too few descriptors
            loop.close()
            raise
        self.lock = None if isinstance(self.runner, Leaders) else RLock()
        """Of all connections, where one thread has them all: it never waits."""
        self.stopping = False
        self._ended = False
        self._cut_timer: TimerHandle | None = None
        self._paused: set[Listener] = set()
        """Listeners that are to be opened again."""
        self._connections: set[ClientConnection] = set()
        self._tasks: set[Task[None]] = set()
        self.starter = Starter(loop)
        self._deadline_timer: TimerHandle | None = None
        self._accepts_per_event = 1 if (service.workers or 1) > 1 else ACCEPT_BATCH

        forked.register(self)

    def close_in_child(self) -> None:
        for connection in self._connections:
            connection.close_in_child()

    def _runner(self) -> "Runner":
        service = self.service
        if not isinstance(self.site.application, Wsgi):
            return Asynchronous(self.loop, service.stop)
        if service.threads == 0:
            return OnLoop(self.loop, self.due, service.stop, self.end_if_done)
        limit = service.threads or default_threads()
        return Leaders(self.loop, self.due, limit, service.stop, service.exhaustion, self.end_if_done, self.repair)

    def run(self) -> None:
        """Let clients in, until the order to stop has come and what was in flight is answered. Raises Failed."""
        loop, service = self.loop, self.service
        lifespan = Lifespan(self.site.asgi) if self.site.asgi else None
        try:
            if lifespan and not start_application(loop, lifespan, service.stop):
                return
            for listener in service.listeners:
                self.start_accepting(listener)
            loop.watch(self.runner.order, READABLE, self._stop)
            self._check_deadlines()
            if service.metrics:
                loop.lap()
                service.metrics.begin()
                loop.call_later(service.metrics.interval_s, self._log_metrics, service.metrics)
            loop._ensure_self_pipe()  # which may fail for want of descriptors, and would later
            service.ready(1)
            self.runner.run()
            self._ended = True
            if lifespan:
                run_through(loop, lifespan.shutdown())
            run_through(loop, loop.wind_up())
        finally:
            self._close()

    def call_on_loop(self, function: Callable[[], None]) -> None:
        """Have the loop's thread call this. For any other."""
        try:
            self.loop.call_soon_threadsafe(function)
        except RuntimeError:
            pass  # the loop was closed over this answer: its time was up

    # Clients

    def start_accepting(self, listener: Listener) -> None:
        """Let clients in at a listener."""
        self.loop.watch(listener.fileno(), READABLE | EXCLUSIVE, partial(self._accept, listener))

    def stop_accepting(self, listener: Listener) -> None:
        self.loop.unwatch(listener.fileno())

    def _accept(self, listener: Listener, mask: int) -> None:
        for _ in range(self._accepts_per_event):
            if self.service.stop.ordered:  # which this thread learns of when it has dealt with these events
                return
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue  # it has left already
            except (OSError, MemoryError) as error:
                self.pause(listener, error)
                return
            self.admit(listener, sock, address)

    def admit(self, listener: Listener, sock: socket, address: tuple[str, int] | None) -> None:
        connection = None
        try:
            connection = self.connect(sock, self.service.accepted(listener, sock, address))
            self._connections.add(connection)
            connection.attend(connection.session.phase.want)
        except (OSError, MemoryError) as error:  # epoll has a limit of its own, fs.epoll.max_user_watches
            self.service.exhaustion.report(f"cannot watch a client: {reason(error)}", "the connection is cut")
            if connection is None:
                sock.close()
            else:
                connection.attend(CLOSE)

    def connect(self, sock: socket, session: ServerProtocol) -> ClientConnection:
        return ClientConnection(self, sock, session)

    def pause(self, listener: Listener, error: BaseException) -> None:
        """Accepting failed for want of descriptors or memory: those who are in may finish, the others wait."""
        self.service.exhaustion.report(f"cannot accept clients: {reason(error)}")
        self.stop_accepting(listener)
        self._paused.add(listener)
        self.loop.call_later(ACCEPT_PAUSE_S, self._resume_accepting, listener)

    def _resume_accepting(self, listener: Listener) -> None:
        if listener in self._paused and not self.stopping:
            self._paused.discard(listener)
            self.start_accepting(listener)

    def repair(self) -> None:
        """An exception of another thread has kept the loop from something, or one of ours: look at all there is."""
        for connection in list(self._connections):
            connection.repair()
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
        self._check_deadlines()
        if self.stopping:
            self._wind_down()
            return
        for listener in self.service.listeners:
            self._paused.discard(listener)
            self.restart_accepting(listener)

    def restart_accepting(self, listener: Listener) -> None:
        self.stop_accepting(listener)
        self.start_accepting(listener)

    def forget(self, connection: ClientConnection) -> None:
        self._connections.discard(connection)
        if self.stopping:
            self.end_if_done()

    def _check_deadlines(self) -> None:
        """End what is late. One look at everybody now and then is cheaper than a timer for each."""
        timeouts = self.service.rules.timeouts
        shortest = min(timeouts.keep_alive, timeouts.header, timeouts.body, timeouts.write)
        longest_s = STOPPING_S / 4 if self.stopping else 1.0
        self._deadline_timer = self.loop.call_later(min(longest_s, shortest / 4), self._check_deadlines)
        self._check_some_deadlines(list(self._connections))

    def _check_some_deadlines(self, connections: list[ClientConnection]) -> None:
        """Some in this turn of the loop and the rest in the next ones, for those who are not late not to wait."""
        now = self.loop.time()
        for connection in connections[-DEADLINES_PER_TURN:]:
            connection.check_deadline(now)
        del connections[-DEADLINES_PER_TURN:]
        if connections:
            self.loop.call_soon(self._check_some_deadlines, connections)

    def _log_metrics(self, metrics: ProcessMetrics) -> None:
        self.loop.call_later(metrics.interval_s, self._log_metrics, metrics)
        metrics.log_interval(len(self._connections), self.loop.lap())

    # Where the application runs

    def attend(self, task: "Task[None]") -> None:
        """Wait for a request's task at the end; asyncio itself would not even keep it from being collected."""
        task.add_done_callback(self._task_done)
        self._tasks.add(task)

    def _task_done(self, task: "Task[None]") -> None:
        self._tasks.discard(task)
        if self.stopping:
            self.end_if_done()

    # The end

    def _stop(self, mask: int) -> None:
        if not self.service.stop.drain_and_check():
            return
        self.loop.unwatch(self.runner.order)
        self.stopping = True
        self._wind_down()

    def _wind_down(self) -> None:
        for listener in self.service.listeners:
            self.stop_accepting(listener)
        self.service.close_listeners()
        for connection in list(self._connections):
            connection.stop()
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
        self._check_deadlines()
        if self._cut_timer is None:
            self._cut_timer = self.loop.call_later(self.service.graceful_timeout, self._cut)
        self.end_if_done()

    def end_if_done(self) -> None:
        """When the order to stop has come, and nothing is left to do."""
        if self.stopping and not (self._ended or self._connections or self._tasks or self.runner.busy):
            self.runner.end()

    def _cut(self) -> None:
        self.service.stop.log_time_is_up()
        for connection in list(self._connections):
            connection.cut()
        self.runner.end()

    def _close(self) -> None:
        self.starter.close()
        self.loop.close()


class Runner(Protocol):
    """Runs the loop, and says in which thread the application runs."""

    order: int
    """A descriptor that is readable when the order to stop has come, for the thread that runs the loop."""

    @property
    def busy(self) -> bool: ...

    def leads(self) -> bool: ...

    def wait_for_room(self, connection: ClientConnection, timeout_s: float | None) -> None: ...

    def run(self) -> None: ...

    def end(self) -> None: ...


class OnLoop:
    """`--threads 0`: in the loop's thread and nowhere else, one answer after the other, each to its end.

    asyncio is not told that its loop runs, for an application may want to run one of its own.
    """

    def __init__(self, loop: ReadinessLoop, due: "Due", stop: Stop, done: Callable[[], None]) -> None:
        self.order = stop.fileno()
        self.busy = False
        self._loop = loop
        self._due = due
        self._stop = stop
        self._done = done
        self._over = False

    def leads(self) -> bool:
        return True

    def wait_for_room(self, connection: ClientConnection, timeout_s: float | None) -> None:
        connection.make_room(timeout_s)

    def run(self) -> None:
        due = self._due
        while not self._over:
            self.busy = True
            for _ in range(len(due)):  # a client that sends its requests in one piece may add to them
                connection, application, _ = due.popleft()
                connection.answer(application, operator.call)
                connection = None  # nothing of it is kept while the loop waits
            self.busy = False
            if due:
                self.busy = True
                self._loop.call_soon(_wake_loop)  # look who else has come, without waiting
            if self._stop.ordered:
                self._done()
            self._loop.turn()

    def end(self) -> None:
        self._over = True
        self._loop.call_soon(_wake_loop)


class Asynchronous:
    """An ASGI application: tasks on the loop, which asyncio knows. Files too, if there is nothing else."""

    busy = False

    def __init__(self, loop: ReadinessLoop, stop: Stop) -> None:
        self._loop = loop
        self.order = stop.fileno()
        self._over = False

    def run(self) -> None:
        run_until(self._loop, lambda: self._over)

    def end(self) -> None:
        self._over = True
        self._loop.stop()

    def leads(self) -> bool:
        return True

    def wait_for_room(self, connection: ClientConnection, timeout_s: float | None) -> None:
        raise AssertionError("a task waits by itself")


def _wake_loop() -> None:
    """Keeps the loop from waiting."""
