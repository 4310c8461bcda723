"""One worker process: how it is forked, what it does from its start to its end, how it reports, and what its supervisor
(`processes.supervisor`) knows of it.

A worker reports once, on a pipe: that it is ready, or why it cannot start. Later it has one thing to say, that it wants
to be replaced: it writes a byte into memory that it shares with the supervisor, and wakes that by a signal.
"""

import logging
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from mmap import mmap
from time import monotonic
from typing import Any, Generic, Protocol, Self, TypeVar

from septet import forked
from septet.errors import Failed
from septet.metrics.monitor import Monitor
from septet.processes import crashes
from septet.processes.attendant import Attendant
from septet.processes.children import fork, run_exit_handlers, unblock_orders
from septet.processes.deaths import Deaths
from septet.processes.in_flight import SLOTS, InFlight
from septet.processes.orders import Stop
from septet.processes.recycling import ANSWERED, TIMED_OUT, Life, Recycling, RequestCount
from septet.processes.resource_exhaustion import ResourceExhaustion
from septet.processes.senders import Senders

log = logging.getLogger("septet")

READY = b"ready"

_ASKED = ("", ANSWERED, TIMED_OUT)
"""Reasons for which a worker asks to be replaced, as the metrics name them. The first, empty, means that it does not.
"""


class Readiness:
    """The writing end of a pipe on which a worker reports, once, that it is ready or why it cannot start."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        forked.register(self)

    def report(self, text: bytes) -> bool:
        """Write `text` (READY, or an exit status and a sentence) and close the pipe. Returns False, and writes nothing,
        if the worker has reported already."""
        if self._pipe < 0:
            return False
        with suppress(OSError):
            os.write(self._pipe, text[:4096])
        self.close()
        return True

    def close(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    close_in_child = close


@dataclass(slots=True)
class Worker:
    """What the supervisor knows of one worker process."""

    pid: int
    readiness: int
    """Descriptor of the reading end of the pipe on which the worker reports; -1 once it has."""
    slot: int
    """Index of the worker's slot: its place in shared memory, where it counts its requests in flight."""
    started_at: float
    life: Life
    """The limits at which the worker is replaced."""
    ready: bool = False
    drains: bool = False
    """True if the worker was told to accept no more clients and to end."""
    reported: bool = False
    """True once it has reported: that it is ready, or why it cannot start."""


class Supervised(Protocol):
    """The attributes of `service.Service` that a supervisor uses."""

    @property
    def listeners(self) -> Sequence[Any]: ...

    @property
    def stop(self) -> Stop: ...

    @property
    def ready(self) -> Callable[[int], None]: ...

    @property
    def serves(self) -> Callable[[], None]: ...

    @property
    def in_flight(self) -> InFlight: ...

    @property
    def exhaustion(self) -> ResourceExhaustion: ...

    @property
    def graceful_timeout(self) -> float: ...

    @property
    def worker_timeout(self) -> float: ...

    @property
    def monitor(self) -> Monitor | None: ...

    @property
    def endpoint(self) -> Attendant | None: ...

    @property
    def recycling(self) -> Recycling: ...

    @property
    def counted(self) -> RequestCount | None: ...

    def close_listeners(self) -> None: ...

    def for_worker(
        self, stop: Stop, ready: Callable[[int], None], workers: int, retire: Callable[[str], None]
    ) -> Self: ...


Served = TypeVar("Served", bound=Supervised)


def close_reports(workers: Sequence[Worker]) -> None:
    """Close this process's copies of the pipes on which workers report. Called in a child of the supervisor."""
    for worker in workers:
        if worker.readiness >= 0:
            os.close(worker.readiness)
            worker.readiness = -1


class WorkerFactory(Generic[Served]):
    """Forks workers, each of which calls `run(service)`. Used only by the supervisor, in its main thread.

    `deaths` is told which workers there are; `senders` are closed in each of them.
    """

    def __init__(self, service: Served, run: Callable[[Served], None], deaths: Deaths, senders: Senders | None) -> None:
        self._service = service
        self._run = run
        self._deaths = deaths
        self._senders = senders
        self._asking = mmap(-1, SLOTS)
        """Shared memory with a byte for each slot: why the worker that has the slot asks to be replaced, as an index in
        _ASKED; 0: it does not ask.
        """

    def fork(self, others: Sequence[Worker], most: int) -> Worker:
        """Fork a worker that counts its requests in a slot of its own and reports on a pipe. Raises OSError if there is
        no process, descriptor or slot for it.

        `others`: the workers that there are. `most`: how many there may be.
        """
        with ExitStack() as undo:
            reading, writing = os.pipe2(os.O_CLOEXEC)
            undo.callback(os.close, reading)
            undo.callback(os.close, writing)
            slot = self._service.in_flight.allot()
            self._asking[slot] = 0
            undo.callback(self._service.in_flight.vacate, slot)
            file = crashes.new_file()
            if file >= 0:
                undo.callback(os.close, file)
            pid = fork(partial(self._work, others, reading, writing, slot, file, most))
            undo.pop_all()
        self._deaths.watch(pid, file)
        os.close(writing)
        return Worker(pid, reading, slot, monotonic(), self._service.recycling.begin(pid))

    def asked(self, worker: Worker) -> str:
        """Return why a worker asks to be replaced, one of _ASKED; "" if it does not ask."""
        return _ASKED[self._asking[worker.slot]]

    # In the worker

    def _work(self, others: Sequence[Worker], reading: int, writing: int, slot: int, file: int, most: int) -> int:
        """Run a worker from its start to its end, in the child process, and return its exit status.

        `others`: the workers that there are. `reading`, `writing`: the ends of the pipe on which it reports. `file`: a
        descriptor to which it writes its stacks when it crashes. `most`: how many workers there may be.
        """
        os.close(reading)
        close_reports(others)
        self._service.stop.close_in_child()
        if self._senders is not None:
            self._senders.close_in_child()
        if self._service.endpoint is not None:
            self._service.endpoint.close_in_child()
        self._service.in_flight.occupy(slot)
        self._deaths.close_in_child()
        crashes.write_to(file)
        retire = partial(self._ask_for_replacement, slot, os.getppid())
        if self._service.counted is not None:
            self._service.counted.begin(retire)
        stop = Stop()
        stop.on_term()
        stop.exit_after(self._service.graceful_timeout)
        unblock_orders()
        status = self._serve(stop, Readiness(writing), most, retire)
        if forked.by_application:
            forked.exit_child()
        run_exit_handlers(status)
        return status

    def _serve(self, stop: Stop, readiness: Readiness, most: int, retire: Callable[..., None]) -> int:
        """Call `run` until the order to stop, and return the exit status."""

        def ready(_: int) -> None:
            stop.started = True
            readiness.report(READY)

        try:
            self._run(self._service.for_worker(stop, ready, most, retire))
            stop.silence_application()
        except Failed as error:
            if not readiness.report(b"%d %s" % (error.exit_status, str(error).encode())):
                log.error("%s", error)
            return error.exit_status
        except OSError as error:
            if not readiness.report(
                b"%d cannot start: %s" % (Failed.exit_status, (error.strerror or str(error)).encode())
            ):
                raise
            return Failed.exit_status
        return 0

    def _ask_for_replacement(self, slot: int, parent: int, why: str = ANSWERED) -> None:
        """Ask the supervisor, process `parent`, to replace this worker, which has the slot `slot`. `why`: one of
        _ASKED. Called in the worker, in any thread.
        """
        self._asking[slot] = _ASKED.index(why)
        with suppress(ProcessLookupError):
            os.kill(parent, signal.SIGCHLD)  # its handler does nothing, and wakes it
