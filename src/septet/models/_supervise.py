"""N worker processes, kept at N: what preforked is made of, and `--workers` under every other model.

The supervisor never touches a client. It forks workers, which inherit the listeners and the loaded application,
waits for one of them to end, and puts another in its place; after a death at birth it waits a while first.
"""

import logging
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import NoReturn

from septet.errors import Failed
from septet.models._children import fork, leave
from septet.models._service import Service, Stop
from septet.pollers import READABLE, Poll

log = logging.getLogger("septet")

BIRTH_S = 1.0
"""A worker that ends within this time has died at birth."""
FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 5.0
KILL_MARGIN_S = 2.0
"""What a worker is given beyond its own graceful time-out."""

READY = b"ready"

CANNOT_START = 3
"""A worker's exit status when its application refuses to start (as in uvicorn)."""


@dataclass(slots=True)
class Worker:
    pid: int
    process: int
    """pidfd_open(2): readable when the worker has ended."""
    readiness: int
    """The reading end of a pipe on which it says that it is ready, and what keeps it from starting."""
    slot: int
    """In which it counts its requests in flight."""
    born: float


class Supervisor:
    """Keeps `count` processes running `run`. Belongs to the main thread of the parent process."""

    def __init__(self, service: Service, run: Callable[[Service], None], count: int) -> None:
        self._service = service
        self._run = run
        self._count = count
        self._workers: dict[int, Worker] = {}
        """By `process`."""
        self._silent: dict[int, Worker] = {}
        """Those that have not spoken yet, by `readiness`."""
        self._poller = Poll()
        self._announced = False
        self._deaths_at_birth = 0
        self._next_birth = 0.0

    def run(self) -> None:
        """Until the order to stop, and the end of all workers. Raises Failed if they cannot start."""
        stop = self._service.stop
        stop.on_signals(self._kill)
        stop.end_after(self._service.graceful_timeout + KILL_MARGIN_S)
        self._poller.add(stop.fileno(), READABLE)
        try:
            while not stop.ordered:
                self._fill()
                self._wait(self._next_birth - monotonic() if len(self._workers) < self._count else None)
        finally:
            self._poller.remove(stop.fileno())
            self._end()

    def _fill(self) -> None:
        while len(self._workers) < self._count and monotonic() >= self._next_birth:
            try:
                worker = self._bear()
            except OSError as error:
                self._service.shortage.tell(f"cannot start a worker: {error.strerror}")
                self._next_birth = monotonic() + LONGEST_DELAY_S
                return
            self._workers[worker.process] = self._silent[worker.readiness] = worker
            self._poller.add(worker.process, READABLE)
            self._poller.add(worker.readiness, READABLE)
            log.debug("worker %d has started", worker.pid)

    def _bear(self) -> Worker:
        """Raises OSError."""
        with ExitStack() as undo:
            reading, writing = os.pipe2(os.O_CLOEXEC)
            undo.callback(os.close, reading)
            slot = self._service.in_flight.allot()
            undo.callback(self._service.in_flight.vacate, slot)
            try:
                pid = fork(partial(self._work, writing, slot))
            finally:
                os.close(writing)
            undo.pop_all()
        return Worker(pid, os.pidfd_open(pid), reading, slot, monotonic())

    def _work(self, readiness: int, slot: int) -> int:
        """The worker's whole life; in the child."""
        for inherited in (*self._workers, *self._silent):
            os.close(inherited)
        self._service.in_flight.occupy(slot)
        stop = Stop()
        stop.on_term()
        stop.end_after(self._service.graceful_timeout)
        service = replace(self._service, stop=stop, workers=self._count, ready=lambda _: _say(readiness, READY))
        try:
            self._run(service)
        except Failed as error:
            _say(readiness, str(error).encode())
            return CANNOT_START
        return 0

    def _wait(self, timeout: float | None) -> None:
        for descriptor, _ in self._poller.wait(None if timeout is None else max(0.0, timeout)):
            if descriptor in self._silent:
                self._hear(self._silent[descriptor])
            elif descriptor in self._workers:
                self._bury(self._workers[descriptor])
            else:
                self._service.stop.heard()

    def _hear(self, worker: Worker) -> None:
        """A worker says that it is ready, or why it cannot start; or it has ended without a word."""
        said = os.read(worker.readiness, 65536)
        self._forget_pipe(worker)
        if said == READY:
            if not (self._announced or self._silent) and len(self._workers) == self._count:
                self._announced = True
                self._service.ready(self._count)
        elif said and not self._announced and not self._service.stop.ordered:
            raise Failed(said.decode(errors="replace"))
        elif said:
            log.error("worker %d: %s", worker.pid, said.decode(errors="replace"))

    def _forget_pipe(self, worker: Worker) -> None:
        if self._silent.pop(worker.readiness, None):
            self._poller.remove(worker.readiness)
            os.close(worker.readiness)

    def _bury(self, worker: Worker) -> None:
        if worker.readiness in self._silent:
            self._hear(worker)
        _, status = os.waitpid(worker.pid, 0)
        self._service.in_flight.vacate(worker.slot)
        del self._workers[worker.process]
        self._poller.remove(worker.process)
        os.close(worker.process)
        if self._service.stop.ordered:
            return
        self._deaths_at_birth = self._deaths_at_birth + 1 if monotonic() - worker.born < BIRTH_S else 0
        delay = 0.0
        if self._deaths_at_birth:
            delay = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** (self._deaths_at_birth - 1))
        self._next_birth = monotonic() + delay
        log.error("worker %d ended %s; another starts in %.1f s", worker.pid, _manner(status), delay)

    def _end(self) -> None:
        """Stop the workers gracefully; kill those that do not come to an end."""
        self._signal(signal.SIGTERM)
        self._service.shut_doors()
        last = monotonic() + self._service.graceful_timeout + KILL_MARGIN_S
        while self._workers and monotonic() < last:
            self._wait(last - monotonic())
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        for worker in self._workers.values():
            with suppress(ProcessLookupError):
                os.kill(worker.pid, number)

    def _kill(self) -> NoReturn:
        self._signal(signal.SIGKILL)
        leave(1)


def _say(pipe: int, text: bytes) -> None:
    with suppress(OSError):
        os.write(pipe, text[:4096])
        os.close(pipe)


def _manner(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"by signal {signal.Signals(os.WTERMSIG(status)).name}"
    return f"with status {os.waitstatus_to_exitcode(status)}"


def supervise(service: Service, run: Callable[[Service], None], count: int) -> None:
    """Serve with `count` processes that each call `run`. Raises Failed when they cannot start."""
    Supervisor(service, run, count).run()
