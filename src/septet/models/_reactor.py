"""Many clients on one loop: what poll, epoll and io_uring share.

A loop watches the listeners and every connection, and calls a connection's `ready` straight from its poller. Where the
application runs is for a `Runner` to decide (`_runners`, `_leaders`, `_beside`): WSGI in the thread that runs the loop,
and in others when a call waits; with `--threads 0` in the loop's thread alone; ASGI as a task for each request. Where
both are served, WSGI runs in threads beside the loop's.
"""

import logging
from asyncio import Task, TimerHandle
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from socket import socket
from threading import RLock

from septet import forked
from septet.apps._lifespan import Lifespans
from septet.apps.asgi import Cycle
from septet.apps.asgi_websocket import WebSocketCycle
from septet.errors import Failed
from septet.loop import ReadinessLoop
from septet.models._application_loop import run_through, start_application
from septet.models._beside import Beside, BesideConnection
from septet.models._client_connection import ClientConnection
from septet.models._late_requests import OnReactor, mark_requests, threads_that_answer
from septet.models._leaders import Leaders
from septet.models._member import Due
from septet.models._runners import Asynchronous, OnLoop, Runner
from septet.models._tasks import Starter, cancel_all
from septet.net.listener import Listener
from septet.pollers import EXCLUSIVE, READABLE
from septet.processes.capacity import default_threads
from septet.processes.idle_heap import IdleHeap
from septet.processes.metrics import ProcessMetrics
from septet.processes.resource_exhaustion import ACCEPT_PAUSE_S, reason
from septet.processes.threads import check_thread_start
from septet.protocol import CLOSE, ServerExchange, ServerProtocol
from septet.rules import STOPPING_S
from septet.service import Service

log = logging.getLogger("septet")

ACCEPT_BATCH = 1024
"""Most clients that are accepted when the loop has found that a listener has some. It applies if no other
process shares the listeners; if one does, one client at a time is accepted, as in nginx, so that the others get
some.
"""

LAST_ACCEPTS = 64
"""Most clients that are accepted at each listener after another process has taken over from this one (the
order to drain), because they connected before.
"""

REPAIR_DELAY_S = 0.1
"""Seconds from an exception in a callback of the loop until `repair` is called, which checks all connections."""

DEADLINES_PER_TURN = 500
"""Most connections whose deadlines are checked in one iteration of the loop; that takes half a millisecond."""


class Reactor:
    """Accepts clients on one loop, and serves them until the order to stop. `run` is called by the thread that
    made the reactor, `call_on_loop` by any thread, and all else by the thread that runs the loop at the moment
    (under `Leaders`, the leader).
    """

    def __init__(self, service: Service, loop: ReadinessLoop) -> None:
        self.service = service.for_a_loop()
        self.site = service.site
        self.sole_application = self.site.sole
        self.loop = loop
        self.new_context = service.context.copy
        self.due: Due = deque()
        """Requests that wait for a WSGI application, in the order in which they were complete."""
        try:
            self.runner = self._runner()
        except (OSError, Failed):  # too few descriptors, or no thread
            loop.close()
            raise
        self.lock = None if isinstance(self.runner, (Leaders, Beside)) else RLock()
        """One lock that all connections share, where one thread uses them all, so that it never has to wait for the
        lock. None: each connection has a lock of its own, because `Leaders` and `Beside` use a connection from two
        threads.
        """
        self.stopping = False
        self.draining = False
        """True if this process stops because a newer process has taken over from it (the order to drain)."""
        self._ended = False
        """True once `run` of the runner, which runs the loop, has returned."""
        self._cut_timer: TimerHandle | None = None
        self._paused: set[Listener] = set()
        """Listeners at which no clients are accepted for now: for ACCEPT_PAUSE_S seconds after accepting has failed,
        or, while all threads that run the application are busy, until one is free.
        """
        self._connections: set[ClientConnection] = set()
        self._tasks: dict[Task[None], Cycle | WebSocketCycle] = {}
        """The tasks of requests that have not ended, each with the object that runs the application in it."""
        self.starter = Starter(loop)
        self._deadline_timer: TimerHandle | None = None
        self._deadline_round = 0
        """Number of the newest timer that checks deadlines. An older timer does nothing when it runs."""
        self._repair_timer: TimerHandle | None = None
        self._heap = IdleHeap()
        self._accepts_per_event = 1 if service.shares_listeners else ACCEPT_BATCH
        self._watched: dict[Listener, int] = {}
        """The listeners at which clients are accepted, each with its descriptor. The number is kept, because a
        listener no longer tells it when another loop of this process has closed the listener.
        """
        self.peers: Sequence[Reactor] = (self,)
        """The reactors of all loops of this process (`_loops`). The first of them does for all what is needed once: it
        logs the metrics, and starts the thread that ends requests which exceed `--request-timeout`.
        """
        self._lifespan = Lifespans(self.site.asgis) if self.site.asgis else None
        loop.failed = self._repair_soon

        forked.register(self)

    def close_in_child(self) -> None:
        for connection in self._connections:
            connection.close_in_child()

    def _runner(self) -> Runner:
        service = self.service
        if self.site.mixed:
            beside = Beside(self.loop, service, self.repair, self.end_if_done)
            self.due = beside.due
            return beside
        if not self.site.has_wsgi:
            return Asynchronous(self.loop, service.stop, self.repair)
        if service.threads == 0:
            return OnLoop(self.loop, self.due, service.stop, self.end_if_done, self.repair)
        check_thread_start()
        limit = service.threads or -(-default_threads() // service.loops)
        leaders = Leaders(self.loop, self.due, limit, service.stop, service.exhaustion, self.end_if_done, self.repair)
        if service.shares_listeners:
            leaders.on_full = self._accept_unless_full
        return leaders

    def run(self) -> None:
        """Serve until the order to stop has come and the requests in flight are answered. Raises Failed."""
        try:
            if self.start_application():
                self.serve()
                self.end_application()
                self.service.stop.silence_application()
        finally:
            if self.service.request_watch is not None:
                self.service.request_watch.stop()
            self.close()

    def start_application(self) -> bool:
        """Run the lifespan startups of the ASGI applications. Returns False if the order to stop came first. Raises
        Failed."""
        return self._lifespan is None or start_application(self.loop, self._lifespan, self.service.stop)

    def serve(self) -> None:
        """Serve until the order to stop has come and the requests in flight are answered."""
        loop, service = self.loop, self.service
        for listener in service.listeners:
            self.start_accepting(listener)
        loop.watch(self.runner.order, READABLE, self._stop)
        self._check_deadlines()
        self._begin_to_report()
        loop._ensure_self_pipe()  # made now, because it needs descriptors, which may be exhausted later
        service.ready(1)
        self.runner.run()
        self._ended = True

    def end_application(self) -> None:
        """Run the lifespan shutdowns, and cancel the tasks that are left on the loop."""
        if self._lifespan is not None:
            run_through(self.loop, self._lifespan.shutdown())
        run_through(self.loop, self.loop.wind_up())

    def _begin_to_report(self) -> None:
        """Begin to count what this loop does for the metrics. The first of several loops also starts, for all of them,
        the periodic log of the metrics and the thread that ends requests which exceed `--request-timeout`.
        """
        loop, service = self.loop, self.service
        first = self.peers[0] is self
        if service.metrics:
            loop.lap()
            if first:
                service.metrics.begin()
                loop.call_later(service.metrics.interval_s, self._log_metrics, service.metrics)
        if service.monitor:
            service.monitor.describe(self.runner.capacity * service.loops)
            pool = self.runner if isinstance(self.runner, Beside) else None
            service.monitor.beat_on(loop, isinstance(self.runner, Asynchronous), self.peers.index(self), pool)
            service.finds_threads(threads_that_answer)
        if service.request_watch is not None and first:
            mark_requests(self.site)
            service.request_watch.start(
                self._running, service.retire, service.count_timed_out, service.count_left_behind
            )

    def call_on_loop(self, function: Callable[[], None]) -> None:
        """Have the loop's thread call `function` soon, in no context of a request. May be called by any thread."""
        try:
            self.loop.call_soon_threadsafe(function, context=self.new_context())
        except RuntimeError:
            pass  # the loop was closed while the application ran: the time for a graceful stop was up

    def _running(self, exchange: ServerExchange) -> OnReactor:
        """Return an object that finds out where the application runs for `exchange`, and can end the request; used for
        `--request-timeout`. May be called by any thread.
        """
        for each in self.peers:
            found = next(filter(None, (one.running(exchange) for one in list(each._connections))), None)
            if found is not None:
                return OnReactor(exchange, found, each.loop, each._tasks, each.call_on_loop)
        return OnReactor(exchange, None, self.loop, self._tasks, self.call_on_loop)

    # Clients

    def start_accepting(self, listener: Listener) -> None:
        """Have the loop accept clients at a listener from now on."""
        self.watch_listener(listener, READABLE | EXCLUSIVE)

    def watch_listener(self, listener: Listener, mask: int) -> None:
        descriptor = listener.fileno()
        if descriptor < 0:  # another loop of this process has closed it, at the order to stop
            return
        self._watched[listener] = descriptor  # first: whatever interrupts the rest, `stop_accepting` undoes it
        try:
            self.loop.watch(descriptor, mask, partial(self._accept, listener))
        except OSError:
            del self._watched[listener]
            raise

    def stop_accepting(self, listener: Listener) -> None:
        if listener in self._watched:
            self.loop.unwatch(self._watched[listener])
            self._watched.pop(listener, None)  # last: if an exception has come before, it can be done again

    def _accept(self, listener: Listener, mask: int) -> bool:
        """Accept the clients that wait at a listener, `_accepts_per_event` of them at most. Returns True if none waits
        any more. Called by the loop when the listener is readable; `mask` is not used.
        """
        for _ in range(self._accepts_per_event):
            if self.service.stop.ordered:  # set by the signal handler; the loop calls `_stop` after these events
                break
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                return True
            except ConnectionError:
                continue  # the client has left already
            except (OSError, MemoryError) as error:
                if not self.service.stop.ordered:  # else another loop of this process has closed the listener
                    self.pause(listener, error)
                break
            try:
                self.admit(listener, sock, address)
            except BaseException:
                self.let_go(sock)
                raise
        return False

    def accept_last(self, listener: Listener) -> None:
        """Accept the clients that still wait at a listener, at most LAST_ACCEPTS, then close the listener. Called at
        the end, when the loop no longer watches it.

        The kernel may have told only this process of these clients (EPOLLEXCLUSIVE). If it left them, they would wait
        until one more client connects, and the kernel wakes the process that takes over.
        """
        if listener.fileno() < 0:
            return
        for _ in range(LAST_ACCEPTS):
            try:
                sock, address = listener.accept()
            except ConnectionError:
                continue
            except (OSError, MemoryError):  # none waits; or it waits for our successor
                break
            try:
                self.admit(listener, sock, address)
            except BaseException:
                self.let_go(sock)
                raise
        listener.shut()

    def admit(self, listener: Listener, sock: socket, address: tuple[str, int] | None) -> None:
        """Have an accepted client served: on this loop, or on another of this process that has fewer clients. The
        kernel gives clients to the loop that asks first, which need not be the one with the least to do."""
        if len(self.peers) > 1 and not self.stopping:
            other = min(self.peers, key=lambda each: len(each._connections))
            if len(self._connections) > len(other._connections):
                other.call_on_loop(partial(other.admit_here, listener, sock, address))
                return
        self.admit_here(listener, sock, address)

    def let_go(self, sock: socket) -> None:
        """Close the socket of a client, unless a connection has it: an exception has come before one was made, and
        refers to the socket, which would stay open while the exception is kept.
        """
        if not any(connection.sock is sock for each in self.peers for connection in list(each._connections)):
            sock.close()

    def admit_here(self, listener: Listener, sock: socket, address: tuple[str, int] | None) -> None:
        """Begin to serve an accepted client. If the loop cannot watch its socket, that is logged and the socket
        closed."""
        connection = None
        try:
            connection = self.connect(sock, self.service.accepted(listener, sock, address))
            self._connections.add(connection)
            if self.service.monitor:
                self.service.monitor.connected()
            connection.attend(connection.session.phase.want)
            if self.service.stop.ordered:
                self.end_connection(connection, self.service.stop.draining)
        except BaseException as error:  # epoll has a limit of its own, fs.epoll.max_user_watches
            if connection is None:
                sock.close()
            else:
                connection.attend(CLOSE)
            self.service.exhaustion.report(f"cannot watch a client: {reason(error)}", "the connection is cut")

    def connect(self, sock: socket, session: ServerProtocol) -> ClientConnection:
        """Return the connection object for an accepted client."""
        return (BesideConnection if self.site.mixed else ClientConnection)(self, sock, session)

    def pause(self, listener: Listener, error: BaseException) -> None:
        """Accept nothing at a listener for ACCEPT_PAUSE_S: accepting has failed with `error`, because descriptors or
        memory are exhausted. The clients that are connected may finish meanwhile."""
        self.service.exhaustion.report(f"cannot accept clients: {reason(error)}")
        self.stop_accepting(listener)
        self._paused.add(listener)
        self.loop.call_later(ACCEPT_PAUSE_S, self._resume_accepting, listener)

    def _resume_accepting(self, listener: Listener) -> None:
        if listener in self._paused and not self.stopping:
            self._paused.discard(listener)
            self.start_accepting(listener)

    def _accept_unless_full(self, full: bool) -> None:
        """Called with True when all threads of this process that run the application are busy: stop accepting clients,
        which other processes that share the listeners may serve meanwhile, or which wait in the kernel's queue. Called
        with False when a thread is free again: accept again.
        """
        for listener in () if self.stopping else self.service.listeners:
            if not full:
                self._resume_accepting(listener)
            elif listener not in self._paused:
                self._paused.add(listener)
                self.stop_accepting(listener)

    def _repair_soon(self) -> None:
        """Schedule `repair`, REPAIR_DELAY_S from now. The loop calls this when a callback has raised: the exception
        may come from a signal handler or another thread and have interrupted the callback anywhere.
        """
        if self._repair_timer is None:
            self._repair_timer = self.loop.call_later(REPAIR_DELAY_S, self._repair_now)

    def _repair_now(self) -> None:
        self._repair_timer = None
        self.repair()

    def repair(self) -> None:
        """Check all connections, tasks, timers and listeners after an exception that may have interrupted any callback
        of the loop. Called by the thread that runs the loop.
        """
        self._forget_ended_tasks()
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
        if self.service.monitor and connection in self._connections:
            self.service.monitor.disconnected()
        self._connections.discard(connection)
        if self.stopping:
            self.end_if_done()

    def _check_deadlines(self) -> None:
        """Close connections whose deadline has passed (`WatchedConnection.check_deadline`), and schedule the next
        check, in a second or less. To check all connections so often costs less than a timer for each.
        """
        timeouts = self.service.rules.timeouts
        shortest = min(timeouts.keep_alive, timeouts.header, timeouts.body, timeouts.write, timeouts.handshake)
        shortest = min(shortest, timeouts.pong, timeouts.ping or timeouts.pong)
        longest_s = STOPPING_S / 4 if self.stopping else 1.0
        if self.draining and not self.service.stop.draining:  # the order to stop has followed
            self.draining = False
            self.loop.call_soon(self._wind_down)
        self._deadline_round += 1
        pause_s = min(longest_s, shortest / 4)
        self._deadline_timer = self.loop.call_later(pause_s, self._check_deadlines_of, self._deadline_round)
        self._heap.check()
        if self.stopping:  # in case an exception has kept the last connection or task from doing so
            self._forget_ended_tasks()
            self.end_if_done()
        self._check_some_deadlines(list(self._connections))

    def _check_deadlines_of(self, number: int) -> None:
        """Check deadlines, called by a timer. Does nothing unless `number` is that of the present timer: an older one
        may still run if a signal handler raised before `_deadline_timer` was set.
        """
        if number == self._deadline_round:
            self._check_deadlines()

    def _check_some_deadlines(self, connections: list[ClientConnection]) -> None:
        """Check DEADLINES_PER_TURN connections now, the rest in the loop's next rounds: it serves others between."""
        now = self.loop.time()
        for connection in connections[-DEADLINES_PER_TURN:]:
            connection.check_deadline(now)
        del connections[-DEADLINES_PER_TURN:]
        if connections:
            self.loop.call_soon(self._check_some_deadlines, connections)

    def _log_metrics(self, metrics: ProcessMetrics) -> None:
        self.loop.call_later(metrics.interval_s, self._log_metrics, metrics)
        connections = sum(len(each._connections) for each in self.peers)
        metrics.log_interval(connections, [each.loop.lap() for each in self.peers])

    # Where the application runs

    def keep_task(self, task: "Task[None]", cycle: Cycle | WebSocketCycle) -> None:
        """Keep a reference to the task that runs `cycle` until it has ended, because asyncio holds no strong one. At
        its end the server waits for the tasks that are kept, within the graceful time-out.
        """
        task.add_done_callback(self._task_done)
        self._tasks[task] = cycle
        cycle.task = task

    def _task_done(self, task: "Task[None]") -> None:
        cycle = self._tasks.pop(task, None)
        if cycle is not None and not cycle.answered:
            cycle.task_ended()
        if self.stopping:
            self.end_if_done()

    def _forget_ended_tasks(self) -> None:
        """Forget tasks that have ended, in case `_task_done` was interrupted."""
        for task in list(self._tasks):
            if task.done():
                self._task_done(task)

    # The end

    def _stop(self, mask: int) -> None:
        if not self.service.stop.drain_and_check():
            return
        self.stopping = True  # first: if what follows is interrupted, `repair` goes on with it
        self.loop.unwatch(self.runner.order)
        self._wind_down()

    def _wind_down(self) -> None:
        """Begin to stop: accept no more clients, close idle connections, and schedule that connections which are left
        after the graceful time-out are closed before they are answered.
        """
        for listener in self.service.listeners:
            self.stop_accepting(listener)
        draining = self.draining = self.service.stop.draining
        if draining:
            for listener in self.service.listeners:
                self.accept_last(listener)
        else:
            self.service.close_listeners()
        self.end_connections(list(self._connections), draining)
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
        self._check_deadlines()
        if self._cut_timer is None:
            self._cut_timer = self.loop.call_later(self.service.graceful_timeout, self._cut)
        self.end_if_done()

    def end_connections(self, connections: list[ClientConnection], draining: bool) -> None:
        """Have these connections end, because the order to stop has come, or, if `draining`, because another process
        has taken over: a connection ends when it has no request to answer.
        """
        for connection in connections:
            self.end_connection(connection, draining)

    def end_connection(self, connection: ClientConnection, draining: bool) -> None:
        connection.drain() if draining else connection.stop()

    def end_if_done(self) -> None:
        """Have the loop end if the order to stop has come and no connection, task or request is left."""
        if self.stopping and not (self._ended or self._connections or self._tasks or self.runner.busy):
            self.runner.end()

    def _cut(self) -> None:
        self.service.stop.log_time_is_up()
        for connection in list(self._connections):
            connection.cut()
        cancel_all(self._tasks)  # before the lifespan's shutdown, which may close what they still need
        self.runner.end()

    def close(self) -> None:
        self.starter.close()
        self.loop.close()
