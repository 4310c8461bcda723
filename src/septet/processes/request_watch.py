"""`--request-timeout`: finds requests that run too long, logs what they were doing, and ends them.

An observer notes when each request of the process began, and a thread looks at the running requests from time to time.
This is the same in every model. Ending a request is up to the model, which owns the connection; it does so by the
methods of `Running`:

    the time is up      the client is answered 504, or, if its answer has begun, its connection (under HTTP/2 its
                        stream) is ended in the middle; the task of an ASGI application is cancelled
                        one record in the log: the request, since when, the process, what has become of it, and the
                        stacks of all threads and tasks as they were before, or of this request alone if the others
                        were logged a moment ago
    GRACE_S later       if a thread still runs the request, it cannot be stopped: the process asks for a replacement,
                        takes no new requests, and ends when the others are answered

A request that blocks the event loop makes all others late, too. Then one record names that request and has the stacks,
and each late request has one line.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from signal import SIG_BLOCK, pthread_sigmask, valid_signals
from threading import Event, Lock
from typing import Any, Protocol

from septet.processes.recycling import TIMED_OUT
from septet.processes.stacks import HOLDS_LOOP, dump, dump_of
from septet.thread import ServerThread

log = logging.getLogger("septet")

GRACE_S = 2.0
"""Seconds after a request was ended because of `--request-timeout`. If a thread still runs it then, or its event loop
does not run, this process asks to be replaced.
"""

LOOKS = 10
"""How often the running requests are looked at within the time of `--request-timeout`. The seconds between two looks
are at least MIN_LOOK_S and at most MAX_LOOK_S.
"""
MIN_LOOK_S = 0.05
MAX_LOOK_S = 1.0


SWITCHED = 101
"""Status 101: the exchange has become a WebSocket, which has no time limit."""

ANSWERED = "its client is answered 504"
CUT = "its client is cut off in the middle of the answer"
LATER = "nothing can be answered while the event loop stands still, see SEP104"
MEANWHILE = "it was answered before it could be ended"

STILL_S = 0.25
"""Seconds. An event loop that does not make a call within this time after it was asked to is taken to stand still, and
that is logged with the request that blocks it.
"""

DECIDE_S = 0.25
"""Seconds for which the record of a request waits until its event loop, which runs, has ended it, so that it says what
has become of the request.
"""

LOG_S = 1.0
"""Seconds for which the end of a process waits until a request that was ended is logged."""

AGAIN_S = 10.0
"""Seconds. After a record in the log with the stacks of all threads and tasks, records within this time have only the
stacks of their own request.
"""


class Running(Protocol):
    """A running request, as its process model knows it: for `--request-timeout`, what may be asked about it, and how it
    is ended.
    """

    loop: Any
    """The event loop on which the application runs; None for a WSGI application."""
    task: Any
    """The request's task on the event loop; None if it is not known."""

    @property
    def begun(self) -> bool:
        """False if the application was not called yet, because another request of the connection is served first."""

    def thread(self) -> int | None:
        """Identity of the thread that runs a WSGI application for this request now; None if none does."""

    def end(self, within_s: float, is_over: Callable[[], bool]) -> str | None:
        """End the request: answer the client 504, or break off its connection or HTTP/2 stream if the answer has begun.
        If an ASGI application handles the request, its task is cancelled. Returns which of the two happens, ANSWERED or
        CUT; LATER if that is for the event loop to do, and it has not within `within_s` seconds; None if the request
        was answered a moment ago: then nothing is done. `is_over` tells that, and is to be called where no other thread
        uses the connection.
        """

    def is_stuck(self) -> bool:
        """True if a thread still runs the application for this request, or if the request's event loop stands still. It
        is asked some time after `end`, to find out whether `end` has helped.
        """

    def threads(self) -> list[int]:
        """Identities of the threads that run the application, or functions that it has had called in a thread, for this
        request now.
        """

    def loop_runs(self, within_s: float) -> Event | None:
        """Ask the event loop to make a call, and wait for it for `within_s` seconds at most. Returns None if the loop
        has made the call, or if this request depends on no loop; else an event that is set when the loop makes the call
        after all.
        """

    def holder(self) -> tuple[int, Any] | None:
        """If a thread of this process is inside an ASGI application at this moment, so that its event loop does nothing
        else, return the thread's identity and the request which the application is handling; else None.
        """


FindRunning = Callable[[Any], Running]
"""A function of the process model: for an exchange that is being answered, it returns the object by which the request
can be examined and ended.
"""


@dataclass(slots=True)
class _Late:
    """A request that has exceeded its time. Its client was answered 504, or its connection was ended in the middle of
    the answer; the application may still run.
    """

    running: Running
    request: Any
    name: str
    """The request and its client, as `_name` returns it."""
    began_ns: int
    check_at: float


class RequestWatch:
    """Finds the requests of a process that exceed `--request-timeout`, logs them, and ends them. Implements
    `rules.Observer`, by which sessions tell it of requests. It is made before worker processes are forked, and started
    in each process that serves.
    """

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._begun: dict[Any, int] = {}
        """When each request began, by its exchange, in nanoseconds of CLOCK_MONOTONIC."""
        self._late: list[_Late] = []
        self._left: list[_Late] = []
        """Requests that were ended, and for which threads still ran when that was looked at last."""
        self._counted_left = (0, 0)
        """What `start`'s `count_left` was called with last."""
        self._find: FindRunning | None = None
        self._retire: Callable[[str], None] | None = None
        self._count: Callable[[], None] = lambda: None
        self._count_left: Callable[[int, int], None] = lambda count, serving: None
        self._retiring = False
        self._stalls: dict[Any, Event] = {}
        """For each event loop that did not respond when it was last tried: an event that is set when it runs again."""
        self._all_shown_at = float("-inf")
        """When the stacks of all threads and tasks were logged last, on the clock of `time.monotonic`."""
        self._stall_told = False
        """True if it was logged that the event loop stands still and that there is no supervisor to replace this
        process. It is logged only once for each standstill.
        """
        self._over = Event()
        self._ending = Lock()
        """Held while a request is ended and that is logged, so that the process does not end in between (`stop`)."""

    # For sessions

    def began(self, exchange: Any) -> None:
        exchange.observer_state = self._begun[exchange] = time.monotonic_ns()

    def ended(self, exchange: Any) -> None:
        exchange.observer_state = None
        self._begun.pop(exchange, None)

    def closed(self, exchange: Any) -> None:
        exchange.observer_state = None
        self._begun.pop(exchange, None)

    # For the model

    def start(
        self,
        find: FindRunning,
        retire: Callable[[str], None] | None,
        count: Callable[[], None],
        count_left: Callable[[int, int], None],
    ) -> None:
        """Start the thread that watches the requests of this process.

        `find`: returns the object by which the request of an exchange is examined and ended. `retire`: called with a
        reason to have this process replaced; None if there is no supervisor. `count`: called for each request that
        exceeds its time. `count_left`: called with the number of threads that still run for requests that were ended,
        and how many of these serve clients otherwise, whenever one of them changes.
        """
        self._find, self._retire, self._count, self._count_left = find, retire, count, count_left
        ServerThread(self._watch, "septet-request-watch").start()

    def stop(self) -> None:
        """Watch no longer. Called before the process ends: a child that was forked for a client ends with its
        connection, and so as soon as the request is ended.
        """
        self._over.set()
        if self._ending.acquire(timeout=LOG_S):
            self._ending.release()

    # In its thread

    def _watch(self) -> None:
        pthread_sigmask(SIG_BLOCK, valid_signals())  # they are for the main thread
        interval_s = min(MAX_LOOK_S, max(MIN_LOOK_S, self.timeout_s / LOOKS))
        while not self._over.wait(interval_s):
            try:
                self._look()
            except Exception:
                log.exception("watching the requests failed, and goes on")

    def _look(self) -> None:
        now_ns = time.monotonic_ns()
        for exchange, began_ns in list(self._begun.items()):
            if self._begun.get(exchange) != began_ns:
                continue  # it has ended while another one was looked at, and the exchange may serve the next request
            since_ns = self._since(exchange, began_ns)
            if since_ns and now_ns - since_ns >= self.timeout_s * 1e9:
                assert self._find is not None, "`start` comes first"
                running, request, name = self._find(exchange), exchange.request, _name(exchange)
                if not running.begun:
                    continue  # it is ended when it has begun
                # Only now is it sure that all this was of the late request: finding it may take milliseconds.
                if self._take(exchange, began_ns) and not (exchange.answered or exchange.status == SWITCHED):
                    self._end(exchange, _Late(running, request, name, since_ns, now_ns / 1e9 + GRACE_S))
        now = time.monotonic()
        for late in [late for late in self._late if now >= late.check_at]:
            self._late.remove(late)
            threads = late.running.threads()
            if threads:
                self._left.append(late)
            if late.running.is_stuck():
                self._is_stuck(late)
            elif threads:
                self._goes_on(late, threads)
        if self._left or any(self._counted_left):
            self._look_at_left()

    def _take(self, exchange: Any, began_ns: int) -> bool:
        """Remove the request that began then from those that are watched. Returns False, and removes nothing, if it
        has ended: the exchange may serve the next request.
        """
        found = self._begun.pop(exchange, None)
        if found is not None and found != began_ns:
            self._begun.setdefault(exchange, found)
        return found == began_ns

    def _look_at_left(self) -> None:
        """Count the threads that still run for requests that were ended."""
        count = serving = 0
        for late in list(self._left):
            threads = late.running.threads()
            count += len(threads)
            serving += late.running.thread() in threads
            if not threads:
                self._left.remove(late)
        if (count, serving) != self._counted_left:
            self._counted_left = count, serving
            self._count_left(count, serving)

    def _since(self, exchange: Any, began_ns: int) -> int:
        """Return when the request's time began, in nanoseconds of CLOCK_MONOTONIC; 0 if it has not begun. It begins
        with the complete head, or, for a request with a body, when the application is called, because receiving a body
        has deadlines of its own.
        """
        return int(getattr(exchange, "called_ns", began_ns)) if exchange.request.has_body else began_ns

    def _end(self, exchange: Any, late: _Late) -> None:
        def is_over() -> bool:
            """True if the exchange is idle, or serves the next request, which may be the same object if its head is the
            same. Only while no other thread uses the connection does it stay so.
            """
            return exchange in self._begun or exchange.answered or exchange.request is not late.request

        running = late.running
        described = f"{late.name}, {_since(late.began_ns)}, in process {os.getpid()}"
        self._late.append(late)
        still = self._stands_still(running)
        stacks = "" if still else "\n" + self._stacks(running)  # before anything is ended
        self._count()
        with self._ending:
            # It may have been answered while the stacks were read.
            outcome = None if is_over() else running.end(0.0 if still else DECIDE_S, is_over)
            if outcome is None:
                self._late.remove(late)
            late.check_at = time.monotonic() + GRACE_S
            log.error(
                "SEP101 a request exceeds --request-timeout %g: %s; %s%s",
                self.timeout_s,
                described,
                outcome or MEANWHILE,
                stacks,
            )

    def _stacks(self, running: Running) -> str:
        """Return the stacks of all threads and tasks; of this request alone if the others were logged a moment ago."""
        now = time.monotonic()
        thread, task = running.thread(), running.task
        if now - self._all_shown_at >= AGAIN_S:
            self._all_shown_at = now
            return dump(running.loop, thread, task)
        at = time.strftime("%H:%M:%S", time.localtime(time.time() - (now - self._all_shown_at)))
        return f"{dump_of(thread, task)}\nthe other threads and tasks are in the record of {at}"

    def _stands_still(self, running: Running) -> bool:
        """True if the event loop of this request stands still. When the loop is first found so, that is logged, with
        the request that blocks it.
        """
        known = self._stalls.pop(running.loop, None)
        if known is not None and not known.is_set():
            self._stalls[running.loop] = known
            return running.loop_runs(0) is not None
        stall = running.loop_runs(STILL_S)
        if stall is None:
            return False
        self._stalls[running.loop] = stall
        self._stall_told = False
        thread, request = running.holder() or (None, None)
        what = "no ASGI request runs on its thread, and the stacks say what does"
        if request is not None:
            what = f"{self._described(request)} blocks it"
        stacks = dump(running.loop, thread, None, HOLDS_LOOP, everything=thread is None)
        log.error("SEP104 the event loop of process %d stands still: %s\n%s", os.getpid(), what, stacks)
        return True

    def _described(self, request: Any) -> str:
        """Return a request with its client and since when it runs; without these if it has ended for the watch."""
        for late in self._late:
            if late.request is request:
                return f"{late.name}, {_since(late.began_ns)}"
        for exchange, began_ns in list(self._begun.items()):
            if exchange.request is request:
                return f"{_name(exchange)}, {_since(began_ns)}"
        return f"{request.method} {request.target.decode('ascii')}"

    def _goes_on(self, late: _Late, threads: list[int]) -> None:
        """Log that threads in which the application has had functions called go on though their request was ended."""
        log.warning(
            "SEP106 %s, %s, in process %d: its task was cancelled, but %s, and cannot be stopped: %s",
            late.name,
            _since(late.began_ns),
            os.getpid(),
            "a thread goes on for it" if len(threads) == 1 else "threads go on for it",
            ", ".join(map(_named, threads)),
        )

    def _is_stuck(self, late: _Late) -> None:
        thread = late.running.thread()
        described = f"{late.name}, {_since(late.began_ns)}, in process {os.getpid()}"
        what = "the event loop does not run" if thread is None else f"its thread {_named(thread)} cannot be stopped"
        if self._retire is None:
            if thread is None and self._stall_told:
                return
            self._stall_told = thread is None
            log.error(
                "SEP103 %s: %s; there is no supervisor to replace this process, so the thread is lost until the "
                "application returns",
                described,
                what,
            )
        elif not self._retiring:
            self._retiring = True
            log.error(
                "SEP102 %s: %s; process %d is replaced: it lets the others finish, and takes no new requests then",
                described,
                what,
                os.getpid(),
            )
            self._retire(TIMED_OUT)


def _named(ident: int) -> str:
    """Return the name of a thread, and the number by which the kernel knows it."""
    if ident == threading.main_thread().ident:  # Python keeps the number that it had before a fork
        return f"{threading.main_thread().name} ({os.getpid()})"
    found = next((each for each in threading.enumerate() if each.ident == ident), None)
    return f"{found.name} ({found.native_id})" if found is not None else f"({ident})"


def _name(exchange: Any) -> str:
    request = exchange.request
    client = request.client or exchange.client
    return (
        f"{request.method} {request.target.decode('ascii')} of {client[0] if client else 'a client on a unix socket'}"
    )


def _since(began_ns: int) -> str:
    """Return since when, and for how long, something runs that began at this time of CLOCK_MONOTONIC."""
    took_s = (time.monotonic_ns() - began_ns) / 1e9
    return f"since {time.strftime('%H:%M:%S', time.localtime(time.time() - took_s))} ({took_s:.1f} s)"
