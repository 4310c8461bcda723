"""An ASGI application in a model that waits: one event loop for the process, in a thread of its own.

An asynchronous application is more than its requests. Its startup opens a pool of connections and begins a task that
refreshes a cache; a request creates a task that goes on after the answer, or waits for an event that another request
sets. All of that is bound to one event loop, and stands still when the loop does. So iterative, preforked, threaded and
prethreaded have one loop for each process, which runs from before the application's startup until after its shutdown,
and a request is a task on it.

Why in a thread of its own? The other threads of these models wait: for a client to come, for its next request, for
room to send. A loop in one of them would stand still meanwhile. The main thread must be free to hear signals, and in
iterative it is the one that serves.

What is left to a client's thread is the connection. It accepts, receives, and keeps idle connections, as it does for a
WSGI application. When a request is there, it hands the exchange to the loop and moves the bytes until the answer is
sent. For that it waits in poll(2) for two things: its socket, and an eventfd(2), on which the loop's thread rings when
the application has given something to send or wants more of the body. A thread makes its eventfd at its first request
and closes it when it ends, so a connection costs one descriptor beside its socket.

      client's thread                      session                  loop's thread
      ---------------                      -------                  -------------
      recv, a request is there ──────────> RUN
      queue the request, ring ────────────────────────────────────> start a task
      poll(socket, eventfd)                WRITE <───────────────── send() of the application
                    <────────────────────────────────────────────── ring
      send ──────────────────────────────> IDLE                     (the task may go on)
      poll(socket), for the next request

A session belongs to one carrier at a time; here two threads use it, so each holds a lock while it does. The lock is the
client's thread's own and taken for moments: the socket does not block. Three rules keep the threads from missing each
other:

- A client's thread says that it sleeps while it holds the lock, after it has looked at the session. What the
  application does before that is seen; after that, it rings. A thread that is awake is not rung for.
- The application's `receive` looks for a piece of the body and then asks for more, and the piece may come in between.
  `want_body` therefore does not begin to wait when something was received since the last look.
- The loop is told of every change that an application may wait for. It takes what was queued in one go, and is rung for
  once until it has.

When the answer is complete and sent, the client's thread goes on to the next request, whether or not the application
has returned: what it does after its last message is no business of the client's. From then on nothing that the task
calls reaches the session (see `Channel.answered`), and the thread keeps no reference to the request.

The loop is over epoll(7): it watches no client, but the application's own connections, whose number is not ours to
bound, and asking epoll costs the same for many as for few. io_uring is not permitted everywhere.

forking is different, for a thread does not survive fork(2): a child has the thread that forked and no other. The
parent forks best when it has no other thread, whose locks the child would inherit as they happen to be. So the parent
runs the lifespan on a loop of the main thread, which stands still between startup and shutdown, and each child has a
loop in a thread, like the other models, for the one connection that it serves.

When an application raises, that ends its request, SystemExit and KeyboardInterrupt included (see `_application_loop`).
If the loop itself fails, for example because the application closed its descriptor, no request can be answered any
more: the process ends with status 1, and where there is a supervisor it starts another.
"""

import asyncio
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from socket import socket
from threading import Lock
from time import monotonic

from septet import forked
from septet.apps._lifespan import Lifespan
from septet.apps.asgi import Asgi, Cycle
from septet.errors import Failed
from septet.exchange import Delivery, Fields, Part, Request, ResponseHead, Want
from septet.loop import EpollLoop
from septet.models._application_loop import run_through, run_until, start_application
from septet.models._drive import drive, expire, receive_compactly
from septet.models._tasks import Starter
from septet.models._watched import UNREAD_LIMIT
from septet.pollers import ERROR, HANGUP, READABLE, WRITABLE, Poll
from septet.processes.children import exit_now
from septet.processes.orders import Stop
from septet.protocol import CLOSE, EITHER, READ, RUN, WRITE, ServerExchange, ServerProtocol
from septet.service import Service

log = logging.getLogger("septet")

WITHOUT_EVENTFD_S = 0.02
"""How often a thread looks for what the application has done while there is no descriptor to be rung on."""

ABANDON_S = 2.0
"""How long a startup that is cancelled by the order to stop may take to end."""


class Waker:
    """Wakes a client's thread from poll(2), and has the lock under which it shares its session with the loop's thread.

    Made by the client's thread, which keeps it until it ends.
    """

    __slots__ = ("__weakref__", "_descriptor", "_is_waiting", "lock", "poller")

    def __init__(self) -> None:
        self.lock = Lock()
        self.poller = Poll()
        self._descriptor = -1
        self._is_waiting = False
        forked.register(self)

    def close_in_child(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def wake(self) -> None:
        """Wake the thread if it sleeps. For the loop's thread."""
        with self.lock:
            if self._is_waiting:
                self._is_waiting = False
                if self._descriptor >= 0:
                    os.eventfd_write(self._descriptor, 1)

    # For the client's thread

    def open(self) -> None:
        """Make the eventfd, if there is none yet. Where none is to be had, `wait` returns now and then instead."""
        if self._descriptor < 0:
            try:
                self._descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            except OSError:
                return
            self.poller.add(self._descriptor, READABLE)

    def prepare_to_wait(self) -> None:
        """From now on `wake` is heard. With the lock, before `wait`."""
        self._is_waiting = True

    def wait(self, timeout_s: float | None) -> dict[int, int]:
        """What is ready of what the poller watches. Without the lock."""
        if self._descriptor < 0:
            timeout_s = WITHOUT_EVENTFD_S if timeout_s is None else min(timeout_s, WITHOUT_EVENTFD_S)
        return dict(self.poller.wait(timeout_s))

    def stop_waiting(self, ready: dict[int, int]) -> None:
        """The thread is awake. With the lock, after `wait`."""
        self._is_waiting = False
        if self._descriptor >= 0 and self._descriptor in ready:
            os.eventfd_read(self._descriptor)

    def close(self) -> None:
        """The thread ends, and is not rung for any more."""
        with self.lock:
            self._is_waiting = False
            descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class _PerThread(threading.local):
    waker: Waker | None = None


_per_thread = _PerThread()


def waker_of_this_thread() -> Waker:
    """Made when first asked for; see `close_waker_of_this_thread`."""
    waker = _per_thread.waker
    if waker is None:
        waker = _per_thread.waker = Waker()
    waker.open()
    return waker


def close_waker_of_this_thread() -> None:
    """For a thread that ends, or serves no more."""
    waker, _per_thread.waker = _per_thread.waker, None
    if waker is not None:
        waker.close()


class SharedExchange:
    """A session while one request of it is the application's. Implements `Exchange` and `Carrier` for the channel.

    What only reads a word of the session's state takes no lock: if that changes a moment later, the channel is told.
    """

    __slots__ = (
        "_complete",
        "_exchange",
        "_received",
        "_released",
        "_session",
        "_sock",
        "_stop",
        "_waker",
        "body",
        "client",
        "delivery",
        "server",
    )

    def __init__(self, session: ServerProtocol, sock: socket, waker: Waker, stop: Stop) -> None:
        self._session = session
        self._exchange = session.exchange
        self._sock = sock
        self._waker = waker
        self._stop = stop
        self._complete = False
        """The answer is complete as far as the application is concerned."""
        self._released = False
        """The client's thread is done with the exchange."""
        self._received = False
        """Something has come since the application last looked."""
        self.client = session.exchange.client
        self.server = session.exchange.server
        self.body = None
        self.delivery: Delivery | None = None

    # What the application asks and tells. For the loop's thread

    @property
    def request(self) -> Request:
        return self._exchange.request

    @property
    def lost(self) -> bool:
        return self._session.lost

    @property
    def gone(self) -> bool:
        return self._session.gone

    @property
    def body_complete(self) -> bool:
        return self._exchange.body_complete

    @property
    def waits(self) -> bool:
        return self._exchange.waits

    @property
    def blocked(self) -> bool:
        return self._exchange.blocked

    @property
    def responding(self) -> bool:
        return self._exchange.responding

    @property
    def half_closed(self) -> bool:
        return self._exchange.half_closed

    @property
    def content_ended(self) -> bool:
        return self._exchange.content_ended

    @property
    def extended(self) -> bool:
        return self._exchange.extended

    @property
    def content_complete(self) -> bool:
        return self._exchange.content_complete

    def complain_of_excess(self, request: Request, given: int, promised: int) -> None:
        self._exchange.complain_of_excess(request, given, promised)

    @property
    def answered(self) -> bool:
        return self._complete

    def read(self) -> bytes:
        raise AssertionError("an ASGI application polls")

    def poll(self) -> bytes | None:
        with self._waker.lock:
            self._received = False
            return self._exchange.poll()

    def want_body(self) -> Want:
        with self._waker.lock:
            return RUN if self._received else self._exchange.want_body()

    def respond(self, head: ResponseHead, body: Part, last: bool) -> Want:
        with self._waker.lock:
            if self._stop.ordered:
                self._session.stop()  # the answer says that it is the last
            want = self._exchange.respond(head, body, last)
            self._complete = last
            return want

    def push(self, body: Part, last: bool) -> Want:
        with self._waker.lock:
            want = self._exchange.push(body, last)
            self._complete = last
            return want

    def finish(self, trailers: Fields) -> Want:
        with self._waker.lock:
            want = self._exchange.finish(trailers)
            self._complete = True
            return want

    def inform(self, status: int, fields: Fields) -> Want:
        with self._waker.lock:
            return self._exchange.inform(status, fields)

    def fail(self) -> Want:
        with self._waker.lock:
            self._complete = True
            session = self._session
            if session.phase.want is WRITE:  # what was sent stands, as far as the socket takes it at once
                drive(WRITE, session, self._sock, _dispatch_elsewhere)
            return self._exchange.fail()

    def drive(self, want: Want) -> None:
        """The session may want something else of the client's thread than it did."""
        self._waker.wake()

    @property
    def has_work_for_client_thread(self) -> bool:
        """There is something to do for the client's thread."""
        return self._complete or self._session.phase.want is not RUN

    def cut(self) -> None:
        """The time is up: the client gets no more."""
        with self._waker.lock:
            if not self._released:
                self._session.lose()
        self._waker.wake()

    # What becomes of it. For the client's thread

    def deliver(self, begin: Callable[[], None], change: Callable[[], None]) -> Want:
        """Call `begin`, and move the bytes until the answer is complete and sent, or the client is gone.

        Gives what the session wants then. Calls `change` whenever the application may be waiting for what has happened.
        """
        waker = self._waker
        descriptor = self._sock.fileno()
        watched = self._mask()
        waker.poller.add(descriptor, watched)
        timeout = None
        with waker.lock:
            waker.prepare_to_wait()
        try:
            begin()
            while True:
                ready = waker.wait(timeout)
                with waker.lock:
                    waker.stop_waiting(ready)
                    changed = self._advance(ready.get(descriptor, 0), not ready)
                    want = self._session.phase.want
                    if want is CLOSE or (self._complete and want is not WRITE and want is not EITHER):
                        self._released = True
                    else:
                        timeout = self._time_left()
                        waker.prepare_to_wait()
                if changed:
                    change()
                if self._released:
                    return want
                mask = self._mask()
                if mask != watched:
                    watched = mask
                    waker.poller.modify(descriptor, mask)
        finally:
            try:
                waker.poller.remove(descriptor)
            finally:
                if not self._released:
                    self._lose()
                    change()

    def _advance(self, ready: int, timed_out: bool) -> bool:
        """Receive and send what can be, with the lock. Whether the application may be waiting for what has happened."""
        session = self._session
        before, gone = session.phase.want, session.gone
        want = before
        if session.phase.paced:
            session.waited(monotonic())
        if ready and before is RUN and ready & (ERROR | HANGUP):
            want = session.lose()
        elif ready and (before is READ or before is RUN or (before is EITHER and ready & READABLE)):
            want = receive_compactly(session, self._sock)
            self._received = True
        elif timed_out and self._is_late():
            want = expire(session, self._sock)
        want = drive(want, session, self._sock, _dispatch_elsewhere)
        if self._complete:
            return False
        return (want is RUN and before is not RUN) or (session.gone and not gone)

    def _mask(self) -> int:
        """What to watch the socket for. While the application runs, a client may send ahead a little."""
        session = self._session
        want = session.phase.want
        if want is WRITE:
            return WRITABLE
        if want is EITHER:
            return READABLE | WRITABLE
        if want is RUN and (session.gone or session.unread > UNREAD_LIMIT):
            return 0  # poll(2) tells of errors all the same
        return READABLE

    def _time_left(self) -> float | None:
        """Seconds until the session's deadline."""
        if self._session.phase.timeout is None:
            return None
        now = monotonic()
        deadline = self._session.deadline(now)
        return None if deadline is None else max(0.0, deadline - now)

    def _is_late(self) -> bool:
        now = monotonic()
        deadline = self._session.deadline(now)
        return deadline is not None and now >= deadline

    def _lose(self) -> None:
        """Something is wrong on our side."""
        with self._waker.lock:
            self._released = True
            self._session.lose()


def _dispatch_elsewhere(exchange: ServerExchange) -> None:
    """The turn is not given here: the application runs on the loop, or it is the next request's turn."""


class AsgiThread:
    """The application's event loop, and the thread that runs it. Made by the main thread, of which are `start`, `order`
    and `finish`; `answer` is for clients' threads, and what follows it for the loop's."""

    def __init__(self, service: Service, asgi: Asgi, with_lifespan: bool = True) -> None:
        self._stop = service.stop
        self._graceful_timeout = service.graceful_timeout
        self._lifespan = Lifespan(asgi) if with_lifespan else None
        self._startup_result: SimpleQueue[Failed | None] = SimpleQueue()
        """Of the startup. Its `put` may be called in a signal handler."""
        self._calls: deque[Callable[[], object]] = deque()
        """What the loop is to call."""
        self._wakeup_pending = False
        """The loop will look into the calls."""
        self._wakeup_descriptor = -1
        """An eventfd on which the loop is rung for; -1: it is not there any more."""
        self._exchanges: set[SharedExchange] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._starting: asyncio.Task[None] | None = None
        self._cut_timer: asyncio.TimerHandle | None = None
        self._all_clients_done = self._is_serving = self._ended = False
        forked.register(self)
        context = copy_context()  # in which the application was imported, and has set what it likes
        self._thread = threading.Thread(target=context.run, args=(self._run,), name="septet-loop", daemon=True)

    def close_in_child(self) -> None:
        """In a child that the application has forked."""
        if self._wakeup_descriptor >= 0:
            os.close(self._wakeup_descriptor)

    def start(self) -> bool:
        """Start the loop, and the application on it. False: the order to stop came first. Raises Failed."""
        self._stop.on_order = partial(self._startup_result.put, None)
        try:
            self._wakeup_descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._thread.start()
        except (RuntimeError, OSError) as error:
            self._close_wakeup_descriptor()
            raise Failed(f"cannot start a thread for the event loop: {error}") from None
        news = None if self._stop.ordered else self._startup_result.get()
        if isinstance(news, Failed):
            self._thread.join()
            self._close_wakeup_descriptor()
            raise news
        if self._stop.ordered:
            self.post(self._abandon)
            self._thread.join(ABANDON_S)
            return False
        return True

    def answer(self, asgi: Asgi, sock: socket, session: ServerProtocol) -> Want:
        """Have the application answer the session's request; what the session wants then. In the client's thread."""
        exchange = SharedExchange(session, sock, waker_of_this_thread(), self._stop)
        cycle = Cycle(exchange, exchange)
        self._exchanges.add(exchange)
        try:
            return exchange.deliver(
                partial(self.post, partial(self._begin, asgi, cycle, exchange)), partial(self.post, cycle.wake)
            )
        finally:
            self._exchanges.discard(exchange)

    def post(self, call: Callable[[], object]) -> None:
        """Have the loop call this. From any thread, and from a signal handler."""
        self._calls.append(call)
        if not self._wakeup_pending:
            # No exception of another thread can come between the two: it would come with a call.
            self._wakeup_pending = True
            if self._wakeup_descriptor >= 0:
                os.eventfd_write(self._wakeup_descriptor, 1)

    def order(self) -> None:
        """The order to stop has come. May be called in a signal handler, again and again."""
        self.post(self._start_stop_timer)

    def finish(self) -> None:
        """All clients are done: wait until the requests' tasks are, and end the application and the loop."""
        self.post(self._clients_done)
        self._thread.join()
        self._close_wakeup_descriptor()

    def _close_wakeup_descriptor(self) -> None:
        descriptor, self._wakeup_descriptor = self._wakeup_descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

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
        """From the application's startup to its shutdown. Raises Failed."""
        self._loop = loop
        self._starter = Starter(loop)
        loop.watch(self._wakeup_descriptor, READABLE, self._run_calls)
        try:
            if self._start_application():
                self._startup_result.put(None)
                self._is_serving = True
                run_until(loop, lambda: self._ended)
                self._is_serving = False
                if self._lifespan is not None:
                    run_through(loop, self._lifespan.shutdown())
        finally:
            self._starter.close()
            run_through(loop, loop.wind_up())
            loop.close()

    def _start_application(self) -> bool:
        """False: it was abandoned. Raises Failed."""
        if self._lifespan is not None:
            try:
                run_through(self._loop, self._startup(self._lifespan))
            except asyncio.CancelledError:
                return False
        return True

    async def _startup(self, lifespan: Lifespan) -> None:
        self._starting = asyncio.current_task()
        await lifespan.startup()
        self._starting = None

    def _abandon(self) -> None:
        """There is no need to start any more; if the application has, it is to end."""
        if self._starting is not None:
            self._starting.cancel()
        self._clients_done()

    def _run_calls(self, mask: int) -> None:
        """Call what is in the calls. (First the flag: what is put there from now on rings again.)"""
        os.eventfd_read(self._wakeup_descriptor)
        self._wakeup_pending = False
        calls = self._calls
        while calls:
            call = calls.popleft()
            try:
                call()
            except Exception:  # it must not take those behind it along
                log.exception("the event loop's thread could not do what it was asked for")

    def _begin(self, asgi: Asgi, cycle: Cycle, exchange: SharedExchange) -> None:
        """Start the task of a request. What it sends before it first waits is delivered in one."""
        try:
            task = self._starter.start(cycle.run(asgi))
        except BaseException:  # the application's own idea of a task
            log.exception("a request's task could not be started")
            if not cycle.answered:
                cycle.give_up()
            task = None
        try:
            if task is not None:
                task.add_done_callback(self._task_done)
                self._tasks.add(task)
                cycle.let_go()
            if exchange.has_work_for_client_thread:
                exchange.drive(RUN)
        except MemoryError:
            log.exception("a connection failed, and is cut")
            exchange.cut()

    def _task_done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
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

    def _cut_requests(self) -> None:
        """Requests in flight are over; so is what goes on after them."""
        if self._exchanges or self._tasks:
            self._stop.log_time_is_up()
        for exchange in list(self._exchanges):
            exchange.cut()
        for task in list(self._tasks):
            task.cancel()
        self._tasks.clear()  # one that will not be cancelled is not waited for
        self._end_if_done()


@contextmanager
def asgi_in_thread(service: Service) -> Iterator[AsgiThread | None]:
    """The application's loop, from its startup to its shutdown, for the main thread of a process that serves.

    None if there is no ASGI application, or if the order to stop came before it had started. Raises Failed.
    """
    asgi = service.site.asgi
    thread = AsgiThread(service, asgi) if asgi else None
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
    """The application's startup and shutdown, for a process that serves no clients but forks those that do."""
    asgi = service.site.asgi
    if asgi is None:
        yield
        return
    loop, lifespan = EpollLoop(), Lifespan(asgi)
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
    """A loop for the requests of a forked child, whose parent has started the application. Raises Failed."""
    asgi = service.site.asgi
    thread = AsgiThread(service, asgi, with_lifespan=False) if asgi else None
    if thread is not None:
        thread.start()
    try:
        yield thread
    finally:
        if thread is not None:
            thread.finish()
