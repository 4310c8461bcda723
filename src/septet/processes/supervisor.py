"""N worker processes, kept at N: for preforked, and for `--workers` under every other model.

The supervisor serves no client. It forks workers (`processes.worker`), which inherit the listeners and the loaded
application, waits for one of them to end, and forks another in its place; after a worker that ended early it waits for
a while (`processes.restarts`).
"""

import logging
import os
import signal
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import partial
from time import monotonic, sleep
from types import FrameType
from typing import Generic, NoReturn

from septet import forked
from septet.errors import Failed, Refused
from septet.metrics.lanes import WORKER
from septet.metrics.standstill import StandstillWatch
from septet.pollers import READABLE, Poll
from septet.processes import orders, other_signals
from septet.processes.attendant import TURN_S
from septet.processes.children import exit_now, handle_sigchld, unblock_orders
from septet.processes.deaths import Deaths, how_it_ended, how_many_lost, replaced_has_ended
from septet.processes.orders import DRAIN, is_readable
from septet.processes.recycling import SPREAD
from septet.processes.resource_exhaustion import reason
from septet.processes.restarts import KILL_MARGIN_S, MAX_DELAY_S, MAX_FAILED_STARTS, RestartDelay
from septet.processes.scaling import WorkerScaling, workers_are_wanted
from septet.processes.senders import Senders
from septet.processes.worker import READY, Served, Worker, WorkerFactory, close_reports

log = logging.getLogger("septet")

INTERRUPTED_PAUSE_S = 0.25
"""Seconds. The supervisor waits so long after an exception, which may come again at once: it must not fill the log."""

CHECK_WORKERS_S = 5.0
"""Seconds between two looks for ended workers, in case a signal was missed."""


class Supervisor(Generic[Served]):
    """Keeps `count` worker processes running, each of which calls `run`. For the main thread of the parent process.

    The signal SIGCHLD wakes the parent, which waits for the order to stop (`Stop`), when a worker has ended.
    (pidfd_open(2), with which a poller could watch a worker, is not permitted everywhere.)
    """

    def __init__(self, service: Served, run: Callable[[Served], None], count: int, most: int) -> None:
        self._service = service
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
        self._orders: deque[int] = deque()
        """Signals TTIN and TTOU that have come, each an order that is not yet carried out; the oldest first."""
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
        self._delay = RestartDelay()
        self._failed_starts = 0
        """Number of workers in a row that ended without having been ready. At MAX_FAILED_STARTS the server may end."""
        self._next_start_at = 0.0
        self._deaths = Deaths()
        self._factory = WorkerFactory(service, run, self._deaths, self._senders)
        forked.register(self)

    def close_in_child(self) -> None:
        """Close the descriptors by which the supervisor hears of its workers. Called in a child that the application
        has forked here, in a thread or in a signal handler.
        """
        close_reports(self._workers)
        self._deaths.close_in_child()

    def run(self) -> None:
        """Fork workers and replace those that end, until the order to stop; then stop them all. Raises Failed if they
        cannot start."""
        stop = self._service.stop
        stop.on_signals(self._kill)
        if self._service.monitor is not None:
            self._service.monitor.supervise()
        handle_sigchld(lambda number, frame: None)
        for number in (signal.SIGTTIN, signal.SIGTTOU):
            forked.set_signal_handler(number, self._note_order)
        other_signals.pass_on_reopening = partial(self._signal, signal.SIGUSR1)
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
                    with suppress(Exception):  # the next one
                        sleep(INTERRUPTED_PAUSE_S)
        finally:
            self._poller.remove(stop.fileno())
            if self._senders is not None:
                self._senders.close()
            self._end()
        if self._not_started:
            raise Failed(f"a worker ended {self._not_started} before it was ready")

    def _keep(self) -> None:
        while not self._service.stop.ordered:
            self._carry_out_orders()
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

    def _note_order(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal that changes the number of workers. It also wakes the supervisor, so the order is carried out
        at once, but not here: what this interrupts may be computing the number.
        """
        self._orders.append(number)

    def _carry_out_orders(self) -> None:
        """Change the number of workers as signals have ordered. TTIN: one worker more. TTOU: one fewer, but at least
        one.
        """
        while self._orders:
            count = max(1, self._count + (1 if self._orders.popleft() == signal.SIGTTIN else -1))
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
            try:
                worker = self._factory.fork(self._workers, max(self._count, self._most))
            except (OSError, MemoryError) as error:
                if not self._announced:
                    raise Failed(f"cannot start a worker: {reason(error)}") from error
                self._service.exhaustion.report(f"cannot start a worker: {reason(error)}")
                self._next_start_at = monotonic() + MAX_DELAY_S
                return
            self._workers.append(worker)
            self._poller.add(worker.readiness, READABLE)
            if self._count > self._logged_count:
                log.info("worker %d has started: %s", worker.pid, workers_are_wanted(self._count))
            else:
                log.debug("worker %d has started", worker.pid)
        if len(self._serving) == self._wanted:
            self._logged_count = self._count

    def _recycle(self) -> None:
        """Begin to replace a worker, if one has reached its limits and all the others serve."""
        if self._retiring is not None or len(self._serving) != self._count:
            return
        for worker in self._serving:
            if asked := self._factory.asked(worker):
                worker.life.asked = asked
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
        delay = self._delay.after(worker.started_at)
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
                    self._deaths.forget(f"worker {pid}", pid, status)
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


def supervise(service: Served, run: Callable[[Served], None], count: int, most: int | None = None) -> None:
    """Serve with `count` worker processes, each of which calls `run(service)`, until the order to stop. `most`: the
    number of workers may follow the load up to this number; None: it is always `count`. Raises Failed if workers cannot
    start.
    """
    Supervisor(service, run, count, most or count).run()
