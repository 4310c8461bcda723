"""N worker processes, kept at N: for preforked, and for `--workers` under every other model.

The supervisor serves no client. It forks workers, which inherit the listeners and the loaded application, waits for one
of them to end, and forks another in its place; after a worker that ended within EARLY_DEATH_S it waits for a while.
"""

import logging
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from mmap import mmap
from time import monotonic
from types import FrameType
from typing import Any, Generic, NoReturn, Protocol, Self, TypeVar

from septet import forked
from septet.errors import Failed, Refused
from septet.metrics.lanes import WORKER
from septet.metrics.monitor import Monitor
from septet.metrics.standstill import StandstillWatch
from septet.pollers import READABLE, Poll
from septet.processes import crashes, orders
from septet.processes.attendant import TURN_S, Attendant
from septet.processes.children import exit_now, fork, handle_sigchld, run_exit_handlers, unblock_orders
from septet.processes.deaths import Deaths, how_it_ended, how_many_lost, replaced_has_ended
from septet.processes.in_flight import SLOTS, InFlight
from septet.processes.orders import DRAIN, Stop, is_readable
from septet.processes.recycling import ANSWERED, SPREAD, TIMED_OUT, Life, Recycling, RequestCount
from septet.processes.resource_exhaustion import ResourceExhaustion
from septet.processes.scaling import WorkerScaling, workers_are_wanted
from septet.processes.senders import Senders

log = logging.getLogger("septet")

EARLY_DEATH_S = 1.0
"""Seconds. A worker that ends within this time after its start has ended early: the next one starts after a delay."""
MIN_DELAY_S = 0.1
"""Seconds of delay after one early end. The delay doubles with each early end in a row, up to MAX_DELAY_S."""
MAX_DELAY_S = 5.0
CHECK_WORKERS_S = 5.0
"""Seconds between two looks for ended workers, in case a signal was missed."""
KILL_MARGIN_S = 2.0
"""Seconds. A worker that was told to stop and has not ended this long after `--graceful-timeout` is killed by
the supervisor.
"""

READY = b"ready"

MAX_FAILED_STARTS = 8
"""Number of workers. If this many in a row ended before they were ready, and no worker is left that serves, the
server ends.
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


class Supervisor(Generic[Served]):
    """Keeps `count` worker processes running, each of which calls `run`. For the main thread of the parent process.

    The signal SIGCHLD wakes the parent, which waits for the order to stop (`Stop`), when a worker has ended.
    (pidfd_open(2), with which a poller could watch a worker, is not permitted everywhere.)
    """

    def __init__(self, service: Served, run: Callable[[Served], None], count: int, most: int) -> None:
        self._service = service
        self._run = run
        self._count = count
        self._most = most
        self._scaling: WorkerScaling | None = None
        monitor = service.monitor
        self._standstill = StandstillWatch(monitor.table, WORKER, self._tell) if monitor is not None else None
        if monitor is not None:
            monitor.workers_between(count, most)
            if most > count:
                self._scaling = WorkerScaling(count, most, monitor.table, service.listeners)
                self._count = self._scaling.first(monitor.serving_workers())
        self._logged_count = count
        """The number of workers that ran when the wanted number was reached last. While the wanted number, `_count`, is
        larger, a worker that starts is an additional one and is logged at level INFO; one that takes another's place,
        at DEBUG.
        """
        self._workers: list[Worker] = []
        self._retiring: Worker | None = None
        """The worker that is being replaced: it serves until its replacement is ready. None: no worker is being
        replaced.
        """
        self._retires_for = ""
        """Why the worker `_retiring` is replaced, for the log and the console."""
        self._poller = Poll()
        self._senders = None if service.stop.has_supervisor else Senders(self._poller)
        self._announced = False
        self._served = False
        """True once a worker has been ready."""
        self._not_started: str | None = None
        """If the order to stop came before any worker had been ready, and a worker then ended with an exit status other
        than 0: how it ended, such as "by signal SIGKILL". The server then ends with this as its error. None: nothing of
        the kind.
        """
        self._early_deaths = 0
        """Number of workers in a row that ended within EARLY_DEATH_S seconds after their start."""
        self._failed_starts = 0
        """Number of workers in a row that ended without having been ready. At MAX_FAILED_STARTS the server may end."""
        self._next_start_at = 0.0
        self._deaths = Deaths()
        self._asking = mmap(-1, SLOTS)
        """Shared memory with a byte for each slot: why the worker that has the slot asks to be replaced, as an index in
        _ASKED; 0: it does not ask.
        """
        forked.register(self)

    def run(self) -> None:
        """Fork workers and replace those that end, until the order to stop; then stop them all. Raises Failed if they
        cannot start."""
        stop = self._service.stop
        stop.on_signals(self._kill)
        if self._service.monitor is not None:
            self._service.monitor.supervise()
        handle_sigchld(lambda number, frame: None)
        for number in (signal.SIGTTIN, signal.SIGTTOU):
            forked.set_signal_handler(number, self._change_count)
        orders.pass_on_reopening = partial(self._signal, signal.SIGUSR1)
        unblock_orders()
        self._poller.add(stop.fileno(), READABLE)
        if self._service.endpoint is not None:
            self._poller.add(self._service.endpoint.fileno(), READABLE)
        try:
            while not stop.ordered:
                try:
                    self._keep()
                except Failed:
                    raise
                except Exception:  # a signal handler that the application has set when it was imported
                    log.exception("the supervisor was interrupted, and goes on")
        finally:
            self._poller.remove(stop.fileno())
            if self._senders is not None:
                self._senders.close()
            self._end()
        if self._not_started:
            raise Failed(f"a worker ended {self._not_started} before it was ready")

    def _keep(self) -> None:
        while not self._service.stop.ordered:
            if self._announced:
                self._recycle()
                self._scale()
            self._fill()
            serving = self._serving
            if len(serving) < self._wanted:
                self._wait(self._next_start_at - monotonic())
            elif self._retiring is None and all(worker.ready for worker in serving):
                self._wait(min(worker.life.until for worker in serving) - monotonic())
            else:
                self._wait(None)

    def _change_count(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal that changes the number of workers. TTIN: one worker more. TTOU: one fewer, but at least one.
        The signal also wakes the supervisor, so the change is carried out at once.
        """
        count = max(1, self._count + (1 if number == signal.SIGTTIN else -1))
        self._count = count if self._scaling is None else self._scaling.ordered(count, monotonic())

    @property
    def _serving(self) -> list[Worker]:
        """The workers that have not been told to finish and end; they may still be starting."""
        return [worker for worker in self._workers if not worker.drains]

    @property
    def _wanted(self) -> int:
        """The number of workers that should run now: the one that the configuration, an operator or the load asks for,
        and one more while a worker is being replaced.
        """
        return self._count + (self._retiring is not None)

    def _fill(self) -> None:
        for worker in self._serving[self._wanted :]:
            self._drain(worker, workers_are_wanted(self._count))
        while len(self._serving) < self._wanted and monotonic() >= self._next_start_at:
            count = self._count  # an order may change it while the worker is forked
            try:
                worker = self._fork_worker()
            except OSError as error:
                if not self._announced:
                    raise Failed(f"cannot start a worker: {error.strerror}") from error
                self._service.exhaustion.report(f"cannot start a worker: {error.strerror}")
                self._next_start_at = monotonic() + MAX_DELAY_S
                return
            self._workers.append(worker)
            self._poller.add(worker.readiness, READABLE)
            if count > self._logged_count:
                log.info("worker %d has started: %s", worker.pid, workers_are_wanted(count))
            else:
                log.debug("worker %d has started", worker.pid)
        if len(self._serving) == self._wanted:
            self._logged_count = self._count

    def _recycle(self) -> None:
        """Begin to replace a worker, if one has reached its limits and all the others serve."""
        if self._retiring is not None or len(self._serving) != self._count:
            return
        for worker in self._serving:
            if asked := self._asking[worker.slot]:
                worker.life.asked = _ASKED[asked]
            if worker.ready and (why := worker.life.why_over(monotonic())):
                self._retiring, self._retires_for = worker, why
                log.info("worker %d is replaced: %s", worker.pid, why)
                return

    def _scale(self) -> None:
        """Change the number of workers if `--workers` is a range and all wanted workers serve."""
        serving = self._serving
        settled = self._retiring is None and len(serving) == self._count and all(worker.ready for worker in serving)
        if self._scaling is not None and settled:
            count, self._count = self._count, self._scaling.wanted([worker.pid for worker in serving])
            for worker in serving:
                if worker.pid == self._scaling.overloaded:
                    worker.life.asked = SPREAD
            if count != self._count:
                self._tell(self._scaling.reason)

    def _tell(self, text: str) -> None:
        if self._service.monitor is not None:
            self._service.monitor.tell(text)

    def _ask_for_replacement(self, slot: int, parent: int, why: str = ANSWERED) -> None:
        """Ask the supervisor, process `parent`, to replace this worker, which has the slot `slot`. `why`: one of
        _ASKED. Called in the worker, in any thread.
        """
        self._asking[slot] = _ASKED.index(why)
        with suppress(ProcessLookupError):
            os.kill(parent, signal.SIGCHLD)  # its handler does nothing, and wakes it

    def _fork_worker(self) -> Worker:
        """Fork a worker that counts its requests in a slot of its own and reports on a pipe. Raises OSError if there is
        no process, descriptor or slot for it.
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
            pid = fork(partial(self._work, reading, writing, slot, file))
            undo.pop_all()
        self._deaths.watch(pid, file)
        os.close(writing)
        return Worker(pid, reading, slot, monotonic(), self._service.recycling.begin(pid))

    def _work(self, reading: int, writing: int, slot: int, file: int) -> int:
        """Run a worker from its start to its end, in the child process, and return its exit status. reading, writing:
        the ends of the pipe on which the worker reports to the supervisor that it is ready, or why it cannot start.
        file: a descriptor to which it writes its stacks when it crashes.
        """
        os.close(reading)
        self.close_in_child()
        self._service.stop.close_in_child()
        if self._senders is not None:
            self._senders.close_in_child()
        if self._service.endpoint is not None:
            self._service.endpoint.close_in_child()
        self._service.in_flight.occupy(slot)
        crashes.write_to(file)
        if self._service.counted is not None:
            self._service.counted.begin(partial(self._ask_for_replacement, slot, os.getppid()))
        stop = Stop()
        stop.on_term()
        stop.exit_after(self._service.graceful_timeout)
        unblock_orders()
        readiness = Readiness(writing)

        def ready(_: int) -> None:
            stop.started = True
            readiness.report(READY)

        status = 0
        try:
            retire = partial(self._ask_for_replacement, slot, os.getppid())
            self._run(self._service.for_worker(stop, ready, max(self._count, self._most), retire))
            stop.silence_application()
        except Failed as error:
            if not readiness.report(b"%d %s" % (error.exit_status, str(error).encode())):
                log.error("%s", error)
            status = error.exit_status
        except OSError as error:
            if not readiness.report(
                b"%d cannot start: %s" % (Failed.exit_status, (error.strerror or str(error)).encode())
            ):
                raise
            status = Failed.exit_status
        if forked.by_application:
            forked.exit_child()
        run_exit_handlers(status)
        return status

    def close_in_child(self) -> None:
        """Close the descriptors by which the supervisor hears of its workers: in a worker, and in a child that the
        application has forked here, in a thread or in a signal handler."""
        for worker in self._workers:
            if worker.readiness >= 0:
                os.close(worker.readiness)
                worker.readiness = -1
        self._deaths.close_in_child()

    def _wait(self, timeout: float | None) -> None:
        endpoint = self._service.endpoint
        monitor = self._service.monitor
        often = endpoint is not None or monitor is not None
        most = TURN_S if often else CHECK_WORKERS_S
        most = min(most, monitor.on_beat_s) if monitor is not None else most
        longest = most if timeout is None else max(0.0, min(timeout, most))
        with nullcontext() if self._senders is None else self._senders.noted():
            reporting = {descriptor for descriptor, _ in self._poller.wait(longest)}
        if endpoint is not None:
            endpoint.turn()
        if monitor is not None and monitor.on_beat is not None:
            monitor.on_beat()
        self._service.stop.drain_and_check()
        for worker in self._workers:
            if worker.readiness in reporting:
                self._read_readiness(worker)
        self._check_beats()
        self._reap()

    def _check_beats(self) -> None:
        """Log which workers stand still, and end those that have made no progress for `--worker-timeout`: send them the
        signal ABRT, at which they write the stacks of their threads to standard error, and KILL if that does not end
        them.
        """
        if self._standstill is not None:
            pids = [worker.pid for worker in self._workers]
            for pid, why in self._standstill.look(pids, self._service.worker_timeout):
                self._deaths.end(pid, why)

    def _reap(self) -> None:
        for worker in list(self._workers):
            pid, status = _ended(worker.pid)
            if pid:
                self._remove(worker, status)

    def _read_readiness(self, worker: Worker) -> None:
        """Read from its pipe what a worker reports: that it is ready, why it cannot start, or nothing if it has ended.
        If it is ready and takes another worker's place, that one is told to finish. Raises Failed if a worker could not
        start and the server must end for that.
        """
        report = os.read(worker.readiness, 65536)
        self._forget_pipe(worker)
        if report == READY:
            worker.ready = True
            self._failed_starts = 0
            if not self._served:
                self._served = True
                self._service.serves()
            all_ready = len(self._serving) == self._wanted and all(each.ready for each in self._serving)
            if self._retiring is not None and all_ready:
                self._count_restart(
                    self._retiring.life.reason, f"worker {self._retiring.pid} was replaced: {self._retires_for}"
                )
                self._drain(self._retiring, "its replacement is ready")
            if not self._announced and all_ready and not self._service.stop.ordered:
                self._announced = True
                self._service.ready(self._count)
        worker.reported = bool(report)
        if report and report != READY:
            status, _, sentence = report.decode(errors="replace").partition(" ")
            self._cannot_start(worker, sentence, Refused if int(status) == Refused.exit_status else Failed)

    def _cannot_start(self, worker: Worker, why: str, kind: type[Failed] = Failed) -> None:
        """Count a worker that could not start, and log `why`. If not all workers have been ready once yet, or
        MAX_FAILED_STARTS workers in a row could not start and none is ready, raise `kind` with `why` instead, by which
        the server ends.
        """
        self._failed_starts += 1
        if self._service.stop.ordered:
            return
        if not self._announced or (
            self._failed_starts >= MAX_FAILED_STARTS and not any(w.ready for w in self._workers)
        ):
            raise kind(why)
        log.error("worker %d: %s", worker.pid, why)

    def _forget_pipe(self, worker: Worker) -> None:
        if worker.readiness >= 0:
            self._poller.remove(worker.readiness)
            os.close(worker.readiness)
            worker.readiness = -1

    def _remove(self, worker: Worker, status: int) -> None:
        """Forget a worker that has ended with `status`, as waitpid(2) gives it, and decide when the next one starts.
        Raises Failed if the worker ended before it was ready and the server must end for that.
        """
        self._workers.remove(worker)
        monitor = self._service.monitor
        lost = self._service.in_flight.vacate(worker.slot)
        if monitor is None or monitor.requests is None:
            lost = None  # requests are not counted
        if worker.readiness >= 0:
            if is_readable(worker.readiness):  # else a child of the worker still has the other end open
                self._read_readiness(worker)
            self._forget_pipe(worker)
        if worker is self._retiring:
            self._retiring = None
        if worker.drains:
            replaced_has_ended(f"worker {worker.pid}", self._deaths, worker.pid, status, lost, self._tell)
            return
        death = self._deaths.explain(worker.pid, status)
        if not worker.reported:
            if death.stacks:
                log.error("worker %d ended %s%s", worker.pid, death.text, death.stacks)
                death = death._replace(stacks="")
            self._cannot_start(worker, f"a worker ended {death.text} before it was ready")
        if self._service.stop.ordered:
            return
        self._count_restart(death.reason, f"worker {worker.pid} ended {death.text}")
        self._early_deaths = self._early_deaths + 1 if monotonic() - worker.started_at < EARLY_DEATH_S else 0
        delay = 0.0
        if self._early_deaths:
            delay = min(MAX_DELAY_S, MIN_DELAY_S * 2 ** (self._early_deaths - 1))
        self._next_start_at = monotonic() + delay
        how = f"{death.text}; {how_many_lost(lost)}"
        log.error("SEP112 worker %d ended %sanother starts in %.1f s%s", worker.pid, how, delay, death.stacks)

    def _count_restart(self, reason: str, text: str) -> None:
        if self._service.monitor is not None:
            self._service.monitor.restarted(reason, text)

    def _end(self) -> None:
        """Tell all workers to stop or, if the supervisor drains, to finish; wait for them; and send KILL to those that
        have not ended KILL_MARGIN_S seconds after `--graceful-timeout`.
        """
        stop = self._service.stop
        draining = stop.draining
        self._signal(DRAIN if draining else signal.SIGTERM)
        self._signal(signal.SIGCONT)  # a worker that is stopped takes the order when it goes on
        self._service.close_listeners()
        last = monotonic() + self._service.graceful_timeout + KILL_MARGIN_S
        while self._workers and monotonic() < last:
            stop.wait_for_signal(min(last - monotonic(), CHECK_WORKERS_S), self._service.endpoint)
            if draining and not stop.draining:  # the order to stop has followed
                draining = False
                self._signal(signal.SIGTERM)
            for worker in list(self._workers):
                if worker.readiness >= 0 and is_readable(worker.readiness):
                    self._read_readiness(worker)
                pid, status = _ended(worker.pid)
                if pid:
                    self._workers.remove(worker)
                    self._deaths.forget(f"worker {pid}", pid)
                    if status and not self._served:
                        self._not_started = how_it_ended(status)
                    if os.WIFSIGNALED(status):
                        orders.note_cut()
        if self._workers:
            orders.note_cut()
        self._signal(signal.SIGKILL)

    def _drain(self, worker: Worker, why: str) -> None:
        worker.drains = True
        if worker is self._retiring:
            self._retiring = None
        log.info("worker %d finishes its requests: %s", worker.pid, why)
        with suppress(ProcessLookupError):
            os.kill(worker.pid, DRAIN)

    def _signal(self, number: int) -> None:
        for worker in self._workers:
            with suppress(ProcessLookupError):
                os.kill(worker.pid, number)

    def _kill(self) -> NoReturn:
        self._signal(signal.SIGKILL)
        exit_now(1)


def _ended(pid: int) -> tuple[int, int]:
    """Return what waitpid(2) gives for a worker: its pid and status if it has ended, else zeros. If the application has
    waited for all children of this process, the worker counts as ended with status 0.
    """
    try:
        return os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return pid, 0


_ASKED = ("", ANSWERED, TIMED_OUT)
"""Reasons for which a worker asks to be replaced, as the metrics name them. The first, empty, means that it does not.
"""


def supervise(service: Served, run: Callable[[Served], None], count: int, most: int | None = None) -> None:
    """Serve with `count` worker processes, each of which calls `run(service)`, until the order to stop. `most`: the
    number of workers may follow the load up to this number; None: it is always `count`. Raises Failed if workers cannot
    start.
    """
    Supervisor(service, run, count, most or count).run()
