"""Experimental: a pool of interpreters, each with its own GIL; each serves one client after another.

N interpreters are made before the first client connects. Each imports the application anew, has a thread, and accepts
from the same listeners: the kernel wakes one of those that wait. They share memory as little as processes do, so they
compute on as many CPUs as there are; and they are one process, so there is one to watch, and the libraries that are
written in C are loaded once. An interpreter that crashes, as C code can, takes all others with it.

                                ┌─> interpreter 1: accept ─> serve ─> close ─┐
          clients ── backlog ───┼─> interpreter 2: accept ─> serve ─> close ─┤
                                └─> interpreter N: accept ─> serve ─> close ─┘
                                       ^ reports        orders v
                                      main interpreter: signals, log, end

    iterative.run         what each interpreter does: accept a client, serve it, accept the next
    Interpreter           makes an interpreter and a thread in it, gives it orders, and reads its reports
    isolated              what an interpreter is given, as data, and the service that it makes of that

An interpreter begins only when the one before it serves: imports of several at the same time wait for each other.
"""

import logging
from contextlib import nullcontext

from septet import isolated
from septet.errors import Failed
from septet.models import iterative
from septet.models._interpreter import Interpreter, obstacle
from septet.pollers import READABLE, Poll
from septet.processes import other_signals
from septet.processes.children import exit_despite_threads, exit_now
from septet.processes.report import failure_of
from septet.service import Service, interpreters_of

__all__ = ["obstacle", "run", "serve"]

TAKES = ("workers", "threads")
CONCURRENCY = "interpreters"

log = logging.getLogger("septet")


# In the main interpreter


def run(service: Service) -> None:
    assert service.config is not None, "a service that is not made from a configuration cannot be made again"
    count = interpreters_of(service.config)
    pool = _Pool(service)
    with service.monitor.serving(count, beats=True) if service.monitor else nullcontext():
        try:
            pool.start(count)
        except Failed as error:
            exit_despite_threads(error.exit_status)  # Python's own end would wait for interpreters that serve
            raise
        if not service.stop.ordered:
            service.ready(1)
        pool.watch()


class _Pool:
    """Starts the interpreters that serve, passes orders to them, reads their reports, and waits until they have
    ended.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stop = service.stop
        self._living: dict[int, Interpreter] = {}
        """Interpreters whose thread has not ended, by the descriptor on which their reports come."""
        self._ready: set[int] = set()
        self._poller = Poll()
        self._poller.add(self._stop.fileno(), READABLE)
        self._stop.on_order = self._pass_on_order
        other_signals.pass_on_reopening = lambda: self._order(isolated.REOPEN)

    def start(self, count: int) -> None:
        """Make `count` interpreters; each is made when the one before it serves. Returns early if the order to stop
        comes. Raises Failed if one cannot be made, or fails before it serves.
        """
        assert self._service.config is not None
        config = isolated.config_of_one(self._service.config, count)
        for number in range(count):
            try:
                interpreter = Interpreter(self._service, config, number)
            except (RuntimeError, OSError) as error:
                if self._stop.ordered:  # the listeners are closed
                    return
                raise Failed(f"cannot start interpreter {number + 1} of {count}: {error}") from None
            self._living[interpreter.fileno()] = interpreter
            self._poller.add(interpreter.fileno(), READABLE)
            while not (self._stop.ordered or interpreter.fileno() in self._ready):
                self._wait()
            if self._stop.ordered:
                self._pass_on_order()  # it may have come before the interpreter was in the pool
                return

    def watch(self) -> None:
        """Read the reports of the interpreters until the order to stop has come and all of them have ended."""
        while self._living:
            self._wait()

    def _wait(self) -> None:
        for descriptor, _ in self._poller.wait(None):
            interpreter = self._living.get(descriptor)
            if interpreter is not None:
                self._read(interpreter)
            elif self._stop.drain_and_check():
                self._poller.remove(descriptor)  # it stays readable from now on

    def _read(self, interpreter: Interpreter) -> None:
        reports = interpreter.reports()
        if reports is None:
            self._ended(interpreter)
            return
        for report in reports:
            if "failed" in report and not self._stop.ordered:
                raise failure_of(report)
            if "ready" in report:
                self._ready.add(interpreter.fileno())
            elif "cut" in report:
                self._stop.log_time_is_up()
            elif "retire" in report and self._service.retire is not None:
                self._service.retire(report["retire"])

    def _ended(self, interpreter: Interpreter) -> None:
        self._poller.remove(interpreter.fileno())
        del self._living[interpreter.fileno()]
        if self._stop.ordered:
            interpreter.close()
            return
        if interpreter.fileno() not in self._ready:
            raise Failed(f"interpreter {interpreter.number + 1} has ended before it served")
        log.critical("interpreter %d has ended, and the server ends with it", interpreter.number + 1)
        exit_now(1)

    def _pass_on_order(self) -> None:
        """Called in a signal handler when the order comes to stop, or to drain (another process takes over): close the
        main interpreter's copies of the listening sockets, and give the order to the other interpreters.
        """
        self._service.close_listeners()
        self._order(isolated.DRAIN if self._stop.draining else isolated.STOP)

    def _order(self, what: bytes) -> None:
        for interpreter in list(self._living.values()):
            interpreter.order(what)


# In each of the others


def serve(data: bytes, in_flight: memoryview, waiting: memoryview) -> None:
    """What an interpreter beside the main one does, from its start to its end: serve one client after another
    until the order to stop. The arguments are what `isolated.handover` has made for it.
    """
    isolated.serve(data, in_flight, waiting, iterative.run)
