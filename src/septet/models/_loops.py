"""Several event loops in one process, each in a thread of its own: `--loops`.

On a Python without a global lock (the GIL) threads run at the same time, so N loops use N CPUs. They do so in one
process: all of them serve the same application object, with its caches, its pools of threads and the files in memory.

      main thread   waits for signals and for the loops' ends
      loop 1        accept ─ bytes ─ application ─ bytes ─ ...
      loop 2        accept ─ bytes ─ application ─ bytes ─ ...        each with a Reactor, as one loop has it

What belongs to a loop is there once for each: its clients, their tasks, the threads of a WSGI application, and an ASGI
application's lifespan with its state, because pools of connections belong to the loop that has opened them. The
lifespans start one after the other, and clients are accepted when all have started. All else of the process is shared.

The loops accept from the same listeners, as workers do. One that has more clients than another gives it the next.
"""

import logging
import os
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import replace
from threading import Barrier, BrokenBarrierError, Lock

from septet import forked
from septet.errors import Failed
from septet.models._leaders import LOOP_THREADS
from septet.models._reactor import Reactor
from septet.service import Service
from septet.thread import ServerThread

log = logging.getLogger("septet")

MakeReactor = Callable[[Service], Reactor]
"""Makes a loop and its reactor, in the thread that will run it."""


def run_on_loops(service: Service, make: MakeReactor) -> None:
    """Serve on as many loops as the service asks for, until the order to stop. Raises Failed."""
    if service.loops == 1:
        make(service).run()
    else:
        _Loops(service, make).run()


class _Loops:
    """The loops of one process, and the threads that run them. The main thread makes it and calls `run`; the
    methods under "In a loop's thread" are called by the loops' threads. It is an `Attendant`, so that the main
    thread, while it waits for the order to stop, is also woken when a loop has ended.
    """

    def __init__(self, service: Service, make: MakeReactor) -> None:
        self._service = service
        self._make = make
        self._reactors: list[Reactor] = []
        self._failure: BaseException | None = None
        self._turn = Lock()
        """Held while the application starts or ends on a loop, so that this happens on one loop at a time."""
        self._started = Barrier(service.loops, self._arrange)
        """Barrier at which each loop waits once the application has started on it; all loops go on when all have
        reached it. It is broken if the application did not start on one of them: then no loop serves.
        """
        self._ready = 0
        """Number of loops that accept clients. Changed while `_turn` is held."""
        self._changed = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        """Descriptor of an eventfd that is readable when a loop has ended."""
        forked.register(self)

    def run(self) -> None:
        """Start the loops and wait for their ends. Raises what the first one that failed has raised."""
        stop = self._service.stop
        context = copy_context()  # in which the application was imported, and may have set variables
        threads = [
            ServerThread(context.copy().run, f"{LOOP_THREADS}{number}", (self._run_loop,))
            for number in range(1, self._service.loops + 1)
        ]
        try:
            for thread in threads:
                thread.start()
        except (RuntimeError, MemoryError) as error:
            self._fail(Failed(f"cannot start a thread for each of {self._service.loops} event loops: {error}"))
        stop.wait(lambda: self._failure is not None or not any(thread.is_alive() for thread in threads), self)
        if self._failure is not None and stop.started and not stop.ordered:
            stop.order()  # the other loops answer what they have, and end
        for thread in threads:
            _join(thread)
        if self._service.request_watch is not None:
            self._service.request_watch.stop()
        os.close(self._changed)
        self._changed = -1
        if self._failure is not None:
            raise self._failure
        stop.silence_application()

    # The attendant of the main thread

    def fileno(self) -> int:
        return self._changed

    def turn(self) -> None:
        try:
            os.eventfd_read(self._changed)
        except BlockingIOError:
            pass

    def close_in_child(self) -> None:
        if self._changed >= 0:
            os.close(self._changed)

    # In a loop's thread

    def _run_loop(self) -> None:
        """What the thread of one loop does from its start to its end: it makes the loop, starts the application on it,
        serves until the order to stop, and ends the application.
        """
        try:
            reactor = self._make(self._for_this_loop())
            try:
                self._reactors.append(reactor)
                if self._start(reactor):
                    reactor.serve()
                    with self._turn:
                        reactor.end_application()
            finally:
                reactor.close()
        except BaseException as error:
            if forked.by_application:
                forked.exit_child(error)
            self._fail(error)
        finally:
            os.eventfd_write(self._changed, 1)

    def _for_this_loop(self) -> Service:
        service = self._service
        return replace(service, site=service.site.for_another_loop(), ready=self._count_ready)

    def _start(self, reactor: Reactor) -> bool:
        """Start the application on this reactor's loop, and wait until it has started on all loops. Returns False if
        the order to stop came first, or if the application could not be started on another loop. Raises Failed if it
        cannot be started on this one.
        """
        with self._turn:
            if self._started.broken:
                return False
            started = False
            try:
                started = reactor.start_application()
            finally:
                if not started:
                    self._started.abort()
        if not started:
            return False
        try:
            self._started.wait()
        except BrokenBarrierError:
            with self._turn:
                reactor.end_application()
            return False
        return True

    def _arrange(self) -> None:
        """Tell the reactor of each loop of all the others (`Reactor.peers`). Called by the barrier `_started`, in one
        of the threads, before any of them goes on.
        """
        for reactor in self._reactors:
            reactor.peers = tuple(self._reactors)

    def _count_ready(self, _: int) -> None:
        with self._turn:
            self._ready += 1
            all_are = self._ready == self._service.loops
        if all_are:
            self._service.ready(1)

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._started.abort()


def _join(thread: ServerThread) -> None:
    """Wait for the end of a thread. If a signal handler of the application raises an exception meanwhile, that is
    logged, and the wait goes on.
    """
    while True:
        try:
            _join_and_log(thread)
            return
        except BaseException as error:  # it has come while `_join_and_log` handled the one before
            if forked.by_application:
                forked.exit_child(error)


def _join_and_log(thread: ServerThread) -> None:
    while True:
        try:
            if not thread.is_alive():
                return
            thread.join()
        except BaseException as error:
            if forked.by_application:
                forked.exit_child(error)
            log.exception("a signal handler of the application raised")
