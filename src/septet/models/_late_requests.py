"""How a request that exceeds `--request-timeout` is ended: implements `processes.request_watch.Running` for each kind
of model.

All methods run in the thread that watches requests, except for the functions that they post to an event loop. A thread
that runs a WSGI application cannot be stopped. Whatever the application gives after its request was ended is refused by
raising ClientGone, as if the client had left.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from contextvars import Context
from functools import partial
from socket import SHUT_RDWR, SHUT_WR
from threading import Event
from types import BuiltinMethodType, FrameType
from typing import Any

from septet.apps.asgi import MARK, TOO_LATE, Cycle
from septet.apps.asgi_websocket import WebSocketCycle
from septet.apps.site import Site
from septet.models._answer import answer
from septet.processes.request_watch import ANSWERED, CUT, LATER
from septet.processes.stacks import frame_in, frames_in, thread_in
from septet.protocol import EITHER, WRITE

TURN_S = 0.5
"""Seconds for which the end of a request waits for the threads of its application to let go of the connection
(`exchange.Delivery.turn`). They hold it while they move the session on, which does not wait for the client.
"""

OUTER_FRAMES = 8
"""How many of the outermost frames of a thread are looked at for a context: threads of an executor have four of their
own, and asgiref adds two.
"""


def thread_of(exchange: Any) -> int | None:
    """Return the identifier (`get_ident()`) of the thread that is running a WSGI application for this exchange;
    None if no thread is.
    """

    def is_it(frame: FrameType) -> bool:
        return frame.f_locals.get("exchange") is exchange

    return thread_in(answer.__code__, is_it)


def threads_that_answer() -> dict[Any, int]:
    """Return, for each exchange for which a thread of this process is running a WSGI application, the kernel's id of
    that thread.
    """
    native = {each.ident: each.native_id for each in threading.enumerate()}
    native[threading.main_thread().ident] = os.getpid()  # Python keeps the number that the thread had before a fork
    found = {}
    for ident, frame in frames_in(answer.__code__):
        if thread := native.get(ident):
            found[frame.f_locals["exchange"]] = thread
    return found


def threads_marked(mark: int) -> list[int]:
    """Return the identities of the threads in which a library calls a function for the ASGI request with this mark.

    What calls it, near the outer end of the thread's stack, holds a copy of the context of the request's task. Only
    these frames are looked into: Python keeps what it has shown of a frame's variables as long as the frame lives.
    """
    found = []
    for ident, frame in sys._current_frames().items():
        frames = [frame]
        while (outer := frames[-1].f_back) is not None:
            frames.append(outer)
        values = (value for each in frames[-OUTER_FRAMES:] for value in each.f_locals.values())
        if any(_mark_of(value) == mark for value in values):
            found.append(ident)
    return found


def _mark_of(value: Any) -> int | None:
    """Return the mark in a context, or in the context in which a function or an item of an executor's queue is called;
    None if there is none.
    """
    if type(value).__module__ == "concurrent.futures.thread":  # a _WorkItem; `task` from Python 3.14 on
        value = getattr(value, "fn", None) or next(iter(getattr(value, "task", ())), None)
    if type(value) is partial:
        value = value.func
    if type(value) is BuiltinMethodType:  # Context.run
        value = value.__self__
    return value.get(MARK) if type(value) is Context else None


def mark_requests(site: Site) -> None:
    """Have the requests of ASGI applications marked, so that `threads_marked` finds their threads."""
    for asgi in site.asgis:
        asgi.marks = True


def task_of(cycle: Any, tasks: Iterable[Any]) -> Any:
    """Return the asyncio task that runs `cycle`, the call of an ASGI application for one request; None if there is
    none. The frames of all tasks are searched, so that no request has to note its task: only those that exceed
    their time cost anything.
    """
    for task in list(tasks):
        coroutine: Any = task.get_coro()
        for _ in range(2):  # the coroutine of a spare task awaits that of the cycle: see `_tasks`
            frame = getattr(coroutine, "cr_frame", None)
            if frame is None:
                break
            if frame.f_locals.get("self") is cycle:
                return task
            coroutine = getattr(frame.f_locals.get("rest"), "work", None)
    return None


class _OnLoop:
    """Base class for ending a request whose application runs on an event loop. Finds out whether the loop still
    goes round, and which request is running on it at the moment.
    """

    begun = True
    _post: Callable[[Callable[[], Any]], Any]
    """A function that has the loop's thread call the given function soon."""

    def loop_runs(self, within_s: float) -> Event | None:
        beat = Event()
        self._post(beat.set)
        return None if beat.wait(within_s) else beat

    def holder(self) -> tuple[int, Any] | None:
        found = frame_in((Cycle.run.__code__, WebSocketCycle.run.__code__), lambda frame: True)
        return (found[0], found[1].f_locals["self"]._request) if found is not None else None


class BlockedThread:
    """Ends a request that has exceeded `--request-timeout`, where a WSGI application runs in the thread of its
    client (`_blocking`).
    """

    loop = task = None

    def __init__(self, exchange: Any) -> None:
        self._exchange = exchange

    @property
    def begun(self) -> bool:
        return self._exchange.delivery is not None

    def thread(self) -> int | None:
        return thread_of(self._exchange)

    def end(self, within_s: float, is_over: Callable[[], bool]) -> str | None:
        """Answer the client 504, or close the connection if an answer has begun, while the client's own thread is
        still in the application.

        From then on that thread is refused whatever it wants to send (the class of its `delivery` object is changed).
        Two threads must not move the session at the same time, least of all its cipher (TLS) or its table of fields
        (HTTP/2); so this one takes its turn. If it does not get it, it leaves the session alone, and ends the
        connection under it.
        """
        exchange = self._exchange
        wait = exchange.delivery
        if wait is None:  # it was answered a moment ago
            return None
        turn = wait.turn
        if not turn.acquire(timeout=TURN_S):
            wait.abandon()
            exchange.time_out()
            self._break_off(wait.sock)
            return CUT
        try:
            if is_over():
                return None
            return self._end(exchange, wait)
        finally:
            turn.release()

    def _end(self, exchange: Any, wait: Any) -> str:
        sock, session, begun = wait.sock, wait.session, exchange.status
        wait.abandon()
        exchange.time_out()
        want = exchange.lose() if begun else exchange.fail()
        try:
            while (want is WRITE or want is EITHER) and session.output:
                want = session.wrote(sock.send(session.output))
            sock.shutdown(SHUT_RDWR if begun else SHUT_WR)
        except OSError:  # BlockingIOError: an interim answer waits for a client that does not read
            self._break_off(sock)
            begun = True
        session.lose()
        return CUT if begun else ANSWERED

    @staticmethod
    def _break_off(sock: Any) -> None:
        with suppress(OSError):
            sock.shutdown(SHUT_RDWR)

    def is_stuck(self) -> bool:
        return self.thread() is not None

    def threads(self) -> list[int]:
        thread = self.thread()
        return [] if thread is None else [thread]

    def loop_runs(self, within_s: float) -> Event | None:
        return None

    def holder(self) -> tuple[int, Any] | None:
        return None


class OnReactor(_OnLoop):
    """Ends a request that has exceeded `--request-timeout`, where a loop serves its client (poll, epoll,
    io_uring). A WSGI application runs in a thread, which may be the loop's; an ASGI application runs as a task.
    """

    def __init__(
        self, exchange: Any, connection: Any, loop: Any, tasks: Iterable[Any], call_on_loop: Callable[[Any], None]
    ) -> None:
        self._exchange = exchange
        self._connection = connection
        self._post = call_on_loop
        self._cycle = connection.cycle if connection is not None else None
        self.loop = loop
        self.task = task_of(self._cycle, tasks) if self._cycle is not None else None
        self._ended = False
        self._outcome: str | None = None
        self._decided = Event()

    def thread(self) -> int | None:
        return thread_of(self._exchange)

    def end(self, within_s: float, is_over: Callable[[], bool]) -> str | None:
        if self._connection is None:
            return None
        if self._cycle is not None:
            self._post(self._end_cycle)
            return self._outcome if self._decided.wait(within_s) else LATER
        self._ended = True
        outcome: str | None = self._connection.time_out(self._exchange, is_over)
        return outcome

    def _end_cycle(self) -> None:
        self._ended = True
        self._outcome = end_cycle(self._cycle, self._exchange)
        if self._outcome is not None and self.task is not None:
            self.task.cancel(TOO_LATE)
        self._decided.set()

    def loop_runs(self, within_s: float) -> Event | None:
        if self._cycle is None:  # WSGI: with `--threads 0` the loop waits for it, but this thread can answer
            return None
        return super().loop_runs(within_s)

    def is_stuck(self) -> bool:
        return not self._ended or self.thread() is not None

    def threads(self) -> list[int]:
        thread = self.thread()
        return _threads_of_cycle(self._cycle) if thread is None else [thread]


class OnLoopThread(_OnLoop):
    """Ends a request that has exceeded `--request-timeout`, where a thread serves its client and the ASGI
    application runs on an event loop in another thread (`_asgi_in_thread`).
    """

    def __init__(self, shared: Any, cycle: Any, loop: Any, tasks: Iterable[Any], post: Callable[[Any], None]) -> None:
        self._shared = shared
        self._cycle = cycle
        self._post = post
        self.loop = loop
        self.task = task_of(cycle, tasks)
        self._ended = False

    def thread(self) -> int | None:
        return None

    def end(self, within_s: float, is_over: Callable[[], bool]) -> str | None:
        outcome: str | None = self._shared.time_out()
        if outcome is None:
            self._ended = True
        else:
            self._post(self._cancel)
        return outcome

    def _cancel(self) -> None:
        self._ended = True
        self._cycle.answered = True
        self._cycle.wake()
        if self.task is not None:
            self.task.cancel(TOO_LATE)

    def is_stuck(self) -> bool:
        return not self._ended

    def threads(self) -> list[int]:
        return _threads_of_cycle(self._cycle)


def _threads_of_cycle(cycle: Any) -> list[int]:
    mark = getattr(cycle, "mark", None)
    return [] if mark is None else threads_marked(mark)


def end_cycle(cycle: Any, exchange: Any) -> str | None:
    """End an ASGI request that has exceeded its time, unless it is answered already: answer 504, or close the
    connection if an answer has begun. Returns which of the two was done, as `Running.end` does. Runs in the loop's
    thread.
    """
    if cycle.answered:
        return None
    outcome = CUT if exchange.responding else ANSWERED
    exchange.time_out()
    cycle.fail()
    return outcome
