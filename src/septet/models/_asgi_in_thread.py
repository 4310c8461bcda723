"""An ASGI application in a model that waits: one event loop for the process, in a thread of its own.

An asynchronous application is more than its requests. Its startup opens a pool of connections and begins a task that
refreshes a cache; a request creates a task that goes on after the answer, or waits for an event that another request
sets. All of that is bound to one event loop, and makes no progress while the loop does not run. So iterative,
preforked, threaded and prethreaded have one loop for each process, which runs from before the application's startup
until after its shutdown, and a request is a task on it.

Why in a thread of its own? The other threads of these models wait: for a client to come, for its next request, for
room to send. A loop in one of them would not run meanwhile. The main thread must be free to handle signals, and in
iterative it is the one that serves.

A client's thread handles the connection. It accepts, receives, and keeps idle connections, as it does for a WSGI
application. When a request is complete, it hands the exchange to the loop and moves the bytes until the answer is sent.
For that it waits in poll(2) for two descriptors: its socket, and an eventfd(2), by which the loop's thread wakes it
when the application has given something to send or wants more of the body (`_waker`). A thread makes its eventfd at its
first request and closes it when it ends, so a connection costs one descriptor beside its socket.

      client's thread                      session                  loop's thread
      ---------------                      -------                  -------------
      recv, a request is there ──────────> RUN
      queue the request, wake ────────────────────────────────────> start a task
      poll(socket, eventfd)                WRITE <───────────────── send() of the application
                    <────────────────────────────────────────────── wake
      send ──────────────────────────────> IDLE                     (the task may go on)
      poll(socket), for the next request

A session belongs to one carrier at a time; here two threads use it (`_shared_exchange`), so each holds a lock while it
does. Each client's thread has its own lock, which is held for moments: the socket does not block. Three rules keep the
threads from missing each other:

- A client's thread declares that it waits while it holds the lock, after it has looked at the session. It has seen what
  the application did before that, and is woken for what the application does after that. A thread that does not wait is
  not woken.
- The application's `receive` looks for a piece of the body and then asks for more, and the piece may come in between.
  `want_body` therefore does not begin to wait when something was received since the last look.
- The loop is told of every change that an application may wait for. It makes all calls that were queued at once, and is
  woken only once until it has begun to.

When the answer is complete and sent, the client's thread goes on to the next request, whether or not the application
has returned: what the application does after its last message does not concern the client. From then on no call of the
task reaches the session (see `Channel.answered`), and the thread keeps no reference to the request.

The loop is over epoll(7): it watches no client, but the application's own connections. Their number is not known, and
the cost of epoll does not grow with it. io_uring is not permitted everywhere.

forking is different, for a thread does not survive fork(2): a child has the thread that forked and no other. The
parent should have no other thread when it forks, because the child would inherit locks that such a thread holds. So the
parent runs the lifespan on a loop of the main thread, which does not run between startup and shutdown, and each child
has a loop in a thread, like the other models, for the one connection that it serves.

When an application raises, that ends its request, SystemExit and KeyboardInterrupt included (see `_application_loop`).
If the loop itself fails, for example because the application closed its descriptor, no request can be answered any
more: the process ends with status 1, and where there is a supervisor it starts another.
"""

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from functools import partial
from queue import Empty, SimpleQueue
from socket import socket

from septet import forked
from septet.apps._lifespan import Lifespans
from septet.apps.asgi import Asgi, Cycle, takes_websocket
from septet.apps.asgi_websocket import WebSocketCycle
from septet.errors import Failed
from septet.exchange import Want
from septet.loop import EpollLoop
from septet.models._application_loop import run_through, run_until, start_application
from septet.models._late_requests import BlockedThread, OnLoopThread
from septet.models._shared_exchange import SharedExchange
from septet.models._shared_websocket import SharedWebSocket
from septet.models._tasks import Starter, cancel_all
from septet.models._waker import Eventfd, close_waker_of_this_thread, waker_of_this_thread
from septet.pollers import READABLE
from septet.processes.application_signals import guard_handlers
from septet.processes.children import exit_now
from septet.processes.request_watch import Running
from septet.protocol import RUN, ServerExchange, ServerProtocol
from septet.service import Service
from septet.thread import ServerThread

log = logging.getLogger("septet")

ABANDON_S = 2.0
"""Seconds that the application's startup is given to end after the order to stop has cancelled it."""
REPAIR_DELAY_S = 0.1
"""Seconds after an exception that may have interrupted the loop's thread until it looks for work left undone."""
SIGNAL_CHECK_S = 0.5
"""The main thread waits for the application's startup in pieces of this many seconds, because Python may run the
handler of a signal only between two waits.
"""


class AsgiThread:
    """The application's event loop, and the thread that runs it. `start`, `order` and `finish` are for the main thread,
    `answer` for clients' threads, `post` for any."""

    def __init__(self, service: Service, with_lifespan: bool = True) -> None:
        self._stop = service.stop
        self._graceful_timeout = service.graceful_timeout
        self._monitor = (
            service.monitor if with_lifespan else None
        )  # a process that serves one client has no time to beat
        self._lifespan = Lifespans(service.site.asgis) if with_lifespan else None
        self._startup_result: SimpleQueue[Failed | None] = SimpleQueue()
        """Receives None when the application has started or the order to stop has come, and Failed if it could not
        start. Its `put` may be called in a signal handler."""
        self._calls: deque[tuple[Callable[[], object], SharedExchange | None]] = deque()
        """Functions that the loop's thread will call, each with the exchange that it is called for, if any."""
        self._wakeup_pending = False
        """True if the loop's thread has been woken, and has not yet begun to make the calls that wait in `_calls`."""
        self._wakeup = Eventfd()
        """Wakes the loop's thread."""
        self._exchanges: dict[SharedExchange, Cycle | WebSocketCycle] = {}
        self._tasks: dict[asyncio.Task[None], SharedExchange] = {}
        """Tasks of requests that have not ended, some of which have been answered."""
        self._starting: asyncio.Task[None] | None = None
        self._cut_timer: asyncio.TimerHandle | None = None
        self._repair_timer: asyncio.TimerHandle | None = None
        self._all_clients_done = self._is_serving = self._ended = False
        forked.register(self)
        context = copy_context()  # in which the application was imported, and may have set variables
        self._thread = ServerThread(context.run, "septet-loop", (self._run,))

    def close_in_child(self) -> None:
        """Called in a child that the application has forked: close its copy of the eventfd."""
        self._wakeup.close()

    def start(self) -> bool:
        """Start the loop's thread and the application, and block until it has started. Returns False if the order to
        stop came first. Raises Failed if it cannot start."""
        self._stop.on_order = partial(self._startup_result.put, None)
        try:
            self._wakeup.open()
            self._thread.start()
        except (RuntimeError, OSError) as error:
            self._wakeup = Eventfd()
            raise Failed(f"cannot start a thread for the event loop: {error}") from None
        result = self._wait_for_startup()
        if isinstance(result, Failed):
            self._thread.join()
            self._wakeup = Eventfd()
            raise result
        # A child that was forked for a client serves that client, also if the order came while it started.
        if self._stop.ordered and self._lifespan is not None:
            self.post(self._abandon)
            self._thread.join(ABANDON_S)
            return False
        if self._stop.has_signals:
            guard_handlers()
        return True

    def _wait_for_startup(self) -> Failed | None:
        """Block until there is a result of the startup, and return it; None too once the order to stop has come.

        It waits in pieces of SIGNAL_CHECK_S, because the handler of a signal that arrives just before a wait, or in
        another thread, runs only when that wait ends.
        """
        while not self._stop.ordered:
            with suppress(Empty):
                return self._startup_result.get(timeout=SIGNAL_CHECK_S)
        return None

    def answer(self, asgi: Asgi, sock: socket, session: ServerProtocol) -> Want:
        """Have the application answer the session's request, and move its bytes meanwhile. Blocks until the answer is
        sent, and returns what the connection wants next. For the client's thread.
        """
        request = session.exchange.request
        exchange: SharedExchange
        cycle: Cycle | WebSocketCycle
        if request.upgrade is None or not takes_websocket(asgi, request):
            exchange = SharedExchange(session, sock, waker_of_this_thread(), self._stop)
            cycle = Cycle(exchange, exchange)
        else:
            exchange = SharedWebSocket(session, sock, waker_of_this_thread(), self._stop)
            cycle = WebSocketCycle(exchange, exchange)
        try:
            self._exchanges[exchange] = cycle
            return exchange.deliver(
                partial(self.post, partial(self._begin, asgi, cycle, exchange), exchange),
                partial(self.post, cycle.wake, exchange),
            )
        finally:
            self._exchanges.pop(exchange, None)

    def running(self, exchange: ServerExchange) -> Running:
        """Return the object through which `--request-timeout` asks about the running request of `exchange`, and ends
        it. May be called from any thread.
        """
        for shared, cycle in list(self._exchanges.items()):
            if shared.carries(exchange):
                return OnLoopThread(shared, cycle, self._loop, self._tasks, self.post)
        return BlockedThread(exchange)  # a static file

    def post(self, call: Callable[[], object], exchange: SharedExchange | None = None) -> None:
        """Have the loop's thread call `call`. If that raises, the connection of `exchange` is closed without a whole
        answer. May be called by any thread, and in a signal handler.
        """
        self._calls.append((call, exchange))
        if not self._wakeup_pending:
            # No exception of another thread can come between the two lines: it would come at a call.
            self._wakeup_pending = True
            wakeup = self._wakeup  # another thread may be in `finish`, when a program stops an embedded server
            if wakeup.number >= 0:
                os.eventfd_write(wakeup.number, 1)

    def order(self) -> None:
        """Called when the order to stop has come. It starts the graceful time-out, after which the connections of
        requests that still run are closed without a whole answer. May be called more than once, and in a signal
        handler.
        """
        self.post(self._start_stop_timer)

    def finish(self) -> None:
        """Block until the requests' tasks have ended, and end the application (lifespan shutdown), the loop and its
        thread. Called when all clients are served."""
        self.post(self._clients_done)
        self._thread.join()
        self._wakeup = Eventfd()

    # In the loop's thread

    def _run(self) -> None:
        try:
            self._serve(EpollLoop())
        except Failed as error:
            self._startup_result.put(error)
        except BaseException:
            log.critical("the event loop has failed, and the server ends with it", exc_info=True)
            exit_now(1)

    def _serve(self, loop: EpollLoop) -> None:
        """Run the loop from the application's startup to its shutdown. Raises Failed if the application cannot
        start."""
        self._loop = loop
        self._starter = Starter(loop)
        loop.watch(self._wakeup.number, READABLE, self._run_calls)
        loop.failed = self._repair_soon
        if self._monitor is not None:
            self._monitor.beat_on(loop, runs_application=True)
        parent_order = self._stop.parent_order_fileno
        if parent_order is not None:  # a child that was forked for a client: its thread watches the client alone
            loop.watch(parent_order, READABLE, partial(self._parent_ordered, parent_order))
        try:
            if self._start_application():
                self._startup_result.put(None)
                self._is_serving = True
                run_until(loop, lambda: self._ended, self._repair)
                self._is_serving = False
                if self._lifespan is not None:
                    run_through(loop, self._lifespan.shutdown())
        finally:
            self._starter.close()
            run_through(loop, loop.wind_up())
            loop.close()

    def _start_application(self) -> bool:
        """Run the application's startup. Returns True when it has ended, False if `_abandon` has cancelled it. Raises
        Failed if the application cannot start.
        """
        if self._lifespan is not None:
            try:
                run_through(self._loop, self._startup(self._lifespan))
            except asyncio.CancelledError:
                return False
        return True

    async def _startup(self, lifespan: Lifespans) -> None:
        self._starting = asyncio.current_task()
        await lifespan.startup()
        self._starting = None

    def _abandon(self) -> None:
        """Cancel the startup, or end the application if it has started meanwhile: the order to stop has come."""
        if self._starting is not None:
            self._starting.cancel()
        self._clients_done()

    def _parent_ordered(self, descriptor: int, mask: int) -> None:
        self._loop.unwatch(descriptor)
        self._stop.check_parent()

    def _run_calls(self, mask: int) -> None:
        """Make the calls that were posted. Called by the loop when the eventfd is readable; `mask`, the events, is not
        used. (`_wakeup_pending` is cleared first, so that a later `post` wakes this thread again.)
        """
        try:
            os.eventfd_read(self._wakeup.number)
        finally:  # also if another thread's exception comes here, else nobody would wake this thread again
            self._wakeup_pending = False
        calls = self._calls
        while calls:
            # Without a call, so that no exception of another thread can lose the call between the two lines.
            call, exchange = calls[0]
            del calls[0]
            try:
                call()
            except BaseException:  # the calls behind it must be made all the same
                if exchange is not None:  # first: another exception may interrupt the logging
                    try:
                        self._give_up(exchange)
                    except BaseException:  # the next one has come meanwhile
                        self._give_up(exchange)
                log.exception("a call in the event loop's thread failed")

    def _repair_soon(self) -> None:
        """Schedule `_repair`, REPAIR_DELAY_S from now. The loop calls this when a callback has raised: the exception
        may come from another thread and have interrupted the callback anywhere.
        """
        if self._repair_timer is None:
            self._repair_timer = self._loop.call_later(REPAIR_DELAY_S, self._repair)

    def _repair(self) -> None:
        """Look for work that an exception may have kept the loop's thread from doing: calls that were posted, the end
        of a task, and the waking of a client's thread.
        """
        self._repair_timer = None
        os.eventfd_write(self._wakeup.number, 1)  # `_run_calls` is called once more
        for task in [task for task in self._tasks if task.done()]:
            self._task_done(task)
        for exchange in list(self._exchanges):
            exchange.drive(RUN)

    def _give_up(self, exchange: SharedExchange) -> None:
        """Close the connection of `exchange` without a whole answer and cancel its task: a call for it has failed, so
        the application might wait for ever.
        """
        exchange.cut()
        for task in [task for task, its in self._tasks.items() if its is exchange]:
            task.cancel()
            self._tasks.pop(task, None)
        self._end_if_done()

    def _begin(self, asgi: Asgi, cycle: Cycle | WebSocketCycle, exchange: SharedExchange) -> None:
        """Start the task of a request. Parts that it sends before it first waits are delivered together."""
        work = cycle.run(asgi)
        try:
            task = self._starter.start(work)
        except BaseException:  # raised by a task factory of the application
            log.exception("a request's task could not be started")
            work.close()  # else Python warns that it was never awaited
            if not cycle.answered:
                cycle.fail()
            task = None
        if task is not None:
            self._tasks[task] = exchange
            cycle.task = task
            task.add_done_callback(self._task_done)
            cycle.uncork()
        elif not exchange.answered:  # the application's end could not be told to the client
            exchange.cut()
        if exchange.has_work_for_client_thread:
            exchange.drive(RUN)

    def _task_done(self, task: "asyncio.Task[None]") -> None:
        exchange = self._tasks.get(task)
        if exchange is not None and not exchange.answered:
            cycle = self._exchanges.get(exchange)
            if cycle is not None:
                cycle.task_ended()
            if not exchange.answered:
                exchange.cut()
        self._tasks.pop(task, None)  # last: if an exception comes before, `_repair` does it again
        self._end_if_done()

    def _clients_done(self) -> None:
        self._all_clients_done = True
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self._all_clients_done and not self._tasks:
            self._ended = True
            if self._is_serving:
                self._loop.stop()

    def _start_stop_timer(self) -> None:
        if self._cut_timer is None:
            self._cut_timer = self._loop.call_later(self._graceful_timeout, self._cut_requests)
        for exchange in list(self._exchanges):
            exchange.stop()

    def _cut_requests(self) -> None:
        """The time for a graceful stop is up: close the connections of the requests in flight, and cancel all tasks."""
        if self._exchanges or self._tasks:
            self._stop.log_time_is_up()
        for exchange in list(self._exchanges):
            exchange.cut()
        cancel_all(self._tasks)
        self._tasks.clear()  # a task that suppresses its cancellation is not waited for
        self._end_if_done()


@contextmanager
def asgi_in_thread(service: Service) -> Iterator[AsgiThread | None]:
    """Context manager: start the ASGI application on a loop in a thread, and end it at exit. For the main thread of a
    process that serves.

    Gives None if there is no ASGI application, or if the order to stop came before it had started. Raises Failed if the
    application or the thread cannot start.
    """
    thread = AsgiThread(service) if service.site.asgis else None
    if thread is None or not thread.start():
        yield None
        return
    try:
        yield thread
    finally:
        close_waker_of_this_thread()
        thread.finish()


@contextmanager
def lifespan_in_parent(service: Service) -> Iterator[None]:
    """Context manager: run the application's lifespan startup, and its shutdown at exit, in this thread. For a process
    that serves no clients but forks a child for each. Raises Failed if the application cannot start.
    """
    if not service.site.asgis:
        yield
        return
    loop, lifespan = EpollLoop(), Lifespans(service.site.asgis)
    try:
        if not start_application(loop, lifespan, service.stop):
            yield
            return
        if lifespan.supported:
            log.warning(
                "the application has a lifespan, whose tasks and connections do not cross the fork to the processes "
                "that serve: models in which they do are preforked, threaded, prethreaded, poll, epoll and io_uring"
            )
        try:
            yield
        finally:
            run_through(loop, lifespan.shutdown())
            run_through(loop, loop.wind_up())
    finally:
        loop.close()


@contextmanager
def asgi_in_child(service: Service) -> Iterator[AsgiThread | None]:
    """Context manager: the event loop, in a thread, of a child that was forked for one client. The application's
    lifespan is left to the parent. Gives None if there is no ASGI application. Raises Failed if the loop or its thread
    cannot be started.
    """
    thread = AsgiThread(service, with_lifespan=False) if service.site.asgis else None
    if thread is not None:
        thread.start()
    try:
        yield thread
    finally:
        if thread is not None:
            thread.finish()
