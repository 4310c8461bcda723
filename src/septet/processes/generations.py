"""The supervisor: one process that serves nobody, runs no code of the application, and never changes its pid.

    supervisor           owns the listeners; is given the orders, by signals
      generation 1       loads configuration and application; is the server, or forks workers that share its memory
        worker ...
      generation 2       HUP: begins beside the first. When it is ready, the first drains. If it cannot start, the first
                         goes on, and the log says why

Why a process between the supervisor and the workers? The application is loaded once and shared by all workers (copy on
write), and still it can be loaded anew, because the supervisor, which goes on, has never imported it. An import cannot
be undone in the process that has done it.

Why is nothing lost? Both generations accept from the same sockets. The old one stops to do so only when the new one is
ready, looks once more for a client for whom the kernel had woken it, and then ends each connection after an answer that
says `Connection: close`, or when it has been idle for a moment. A client that connects anew waits in the queue of the
socket, which the supervisor keeps open.

A generation reports to the supervisor by a pipe, in lines of JSON: that it is ready, why it cannot start, or that it
wants to be replaced. The supervisor gives it orders by signals: TERM to stop, DRAIN to drain, TTIN and TTOU for one
worker more or fewer, USR1 to open its logs anew. It dies with the supervisor (PR_SET_PDEATHSIG), and so do its workers
with it.

Which generation serves is decided by `processes.succession`. Here is the loop around it: what the supervisor waits for,
and the orders that it is given.
"""

import logging
import os
import signal
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from types import FrameType
from typing import Any, NoReturn

from septet import forked
from septet.errors import SeptetError
from septet.pollers import READABLE, Poll
from septet.processes import orders, other_signals
from septet.processes.attendant import Overseer
from septet.processes.children import exit_now, handle_sigchld, unblock_orders
from septet.processes.deaths import Deaths, how_it_ended
from septet.processes.generation import Generation, GenerationFactory, Handed, Plan
from septet.processes.orders import Stop
from septet.processes.reload import FileWatcher, Watched
from septet.processes.resource_exhaustion import reason
from septet.processes.restarts import KILL_MARGIN_S
from septet.processes.senders import Senders
from septet.processes.succession import Succession
from septet.processes.upgrade import Trial, execute
from septet.streams import flush

log = logging.getLogger("septet")

CHECK_S = 1.0
"""Seconds between two looks of the supervisor at its generations while one starts, ends or may have to be
replaced.
"""
SELDOM_S = 10.0
"""Seconds between two looks of the supervisor at its generations at all times other than those of CHECK_S, in
case a signal was missed.
"""


class Generations:
    """Keeps one generation serving (a process that loads the configuration and the application, and serves), and
    replaces it when ordered. Used only in the main thread of the supervisor.

    `plan` says how the first generation is made. `again` is called at HUP, and returns the plan for the next one;
    it raises SeptetError if the new configuration is wrong. `listeners` are the sockets, which are closed at the
    end, or handed to the program that this process executes in its place (USR2). `watched` are files whose changes
    have the same effect as HUP.
    """

    def __init__(
        self,
        stop: Stop,
        plan: Plan,
        again: Callable[[], Plan],
        listeners: Handed,
        overseer: Overseer,
        watched: Watched | None = None,
    ) -> None:
        self._stop = stop
        self._overseer = overseer
        self._deaths = Deaths()
        self._watched = watched
        self._watcher: FileWatcher | None = None
        self._trial: Trial | None = None
        self._again = again
        self._listeners = listeners
        self._orders: deque[tuple[int, str]] = deque()
        """Orders that wait to be carried out: for each the number of the signal, and its cause as text for the log,
        which is the signal's name or the file that has changed.
        """
        self._poller = Poll()
        self._senders = Senders(self._poller)
        self._factory = GenerationFactory(stop, overseer, self._deaths, self._senders)
        self._succession = Succession(stop, plan, overseer, self._deaths, self._poller, self._fork)
        self.living = self._succession.living
        self._first = ""
        """Why this program starts its first generation, as text for the log: "USR2" if this process has executed it in
        place of another program, else "".
        """
        self._upgrades_for = ""
        """The signal or order for which this program is, or was last, to be replaced by another one, as text for the
        log.
        """

    def run(self) -> int:
        """Run until the order to stop has come and all generations have ended; return the exit status. Raises
        SeptetError if no generation can start.
        """
        self._handle_signals()
        self._start_watching()
        self._succession.begin(self._succession.plan, self._first, "reload")
        self._poller.add(self._stop.fileno(), READABLE)
        if self._overseer.fileno() >= 0:
            self._poller.add(self._overseer.fileno(), READABLE)
        try:
            while not self._stop.ordered:
                self._carry_out_orders()
                self._succession.recycle()
                self._succession.keep_one()
                self._wait()
        finally:
            self._poller.remove(self._stop.fileno())
            self._senders.close()
            self._end()
        return self._succession.status

    def _fork(self, plan: Plan, cause: str) -> Generation:
        holders = (*self.living.all(), self._watcher, self._trial)
        return self._factory.fork(plan, cause, [each.pipe for each in holders if each is not None and each.pipe >= 0])

    # Signals

    def _handle_signals(self) -> None:
        self._stop.on_signals(self._kill)
        handle_sigchld(lambda number, frame: None)
        for number in (signal.SIGHUP, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU):
            if signal.getsignal(number) is not signal.SIG_IGN:
                forked.set_signal_handler(number, self._note)
        other_signals.pass_on_reopening = self._pass_on_reopening
        unblock_orders()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD, *other_signals.HANDLED_SIGNALS))

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP and other_signals.terminal_is_gone():
            self._stop.order()
        else:
            self._orders.append((number, signal.Signals(number).name.removeprefix("SIG")))

    def _carry_out_orders(self) -> None:
        # Else when the next generation is ready or has failed, or the trial of another program is over.
        while self._orders and self.living.next is None and self._trial is None:
            number, why = self._orders.popleft()
            if number in (signal.SIGHUP, signal.SIGUSR2):  # of several of a kind, one is enough
                for again in [each for each in list(self._orders) if each[0] == number]:  # a handler may add to them
                    self._orders.remove(again)
            if number == signal.SIGHUP:
                self.reload(why)
            elif number == signal.SIGUSR2:
                self._try_upgrade(why)
            elif number in (signal.SIGTTIN, signal.SIGTTOU) and self.living.current is not None:
                self.living.current.signal(number)

    def reload(self, why: str) -> None:
        """Start a new generation, with the configuration read anew. `why` is the cause, for the log."""
        if self._overseer.order_begins("reload"):
            why = "control reload"
        self._overseer.reloading(f"{why}: loads configuration and application")
        try:
            plan = self._again()
        except (SeptetError, OSError, MemoryError) as error:  # none of them may end a server that serves
            log.error("SEP114 %s: %s; the server goes on as it is", why, error)
            self._succession.plan.failed(str(error))
            self._overseer.ready(f"{why} failed: {error}")
            self._overseer.order_ended(f"{error}; the server goes on as it is", failed=True)
            return
        self._succession.begin(plan, why, "reload")

    # Another program

    def _try_upgrade(self, why: str) -> None:
        self._upgrades_for = "control upgrade" if self._overseer.order_begins("upgrade") else why
        log.info("%s: the program that is to replace this one is tried in a child", self._upgrades_for)
        try:
            self._trial = Trial.start(self._succession.plan.startup_timeout)
        except (OSError, MemoryError) as error:
            why = reason(error)
            log.error("%s: the program cannot be started, and this one goes on: %s", self._upgrades_for, why)
            self._overseer.order_ended(f"the program cannot be started: {why}", failed=True)

    def _trial_has_ended(self, trial: Trial, status: int) -> None:
        self._trial = None
        succeeded = trial.has_succeeded(status)
        trial.close()
        if self._stop.ordered:
            return
        if not succeeded:
            ended = how_it_ended(status)
            log.error("%s: the program that was tried ended %s, and this one goes on", self._upgrades_for, ended)
            why = f"the new program ended {ended} when it was tried, and says why on standard error"
            self._overseer.order_ended(why, failed=True)
        elif self.living.current is None or self.living.next is not None:
            self._orders.append((signal.SIGUSR2, self._upgrades_for))  # not now: one that starts is not handed over
        else:
            self._upgrade()

    def _upgrade(self) -> None:
        living = [each for each in self.living.all() if each.pipe >= 0]
        state = {
            "listeners": self._listeners.hand_over(),
            "generations": [
                each.handed_over(each is self.living.current, self._deaths.file_of(each.pid)) for each in living
            ],
            "numbers": self._factory.numbers,
            "overseer": self._overseer.hand_over(),
            "why": self._upgrades_for,
        }
        self._stop_watching()
        self._overseer.reloading(f"{self._upgrades_for}: the program is replaced")
        flush()
        try:
            execute(state, self._stop)
        except OSError as error:
            log.error(
                "%s: the program cannot be executed, and this one goes on: %s", self._upgrades_for, error.strerror
            )
            self._overseer.ready(f"{self._upgrades_for} failed: {error.strerror}")
            self._overseer.order_ended(f"the program cannot be executed: {error.strerror}", failed=True)
        self._listeners.keep()
        self._overseer.keep()
        for each in living:
            each.keep(self._deaths.file_of(each.pid))
        self._start_watching()

    def adopt(self, state: dict[str, Any]) -> None:
        """Take over the generations that are running, after another program in this process has executed this one in
        its place (USR2). `state` is what that program has handed over.
        """
        self._factory.numbers = state["numbers"]
        self._succession.adopt(state["generations"])
        self._first = state.get("why", "USR2")

    # What happens

    def _wait(self) -> None:
        living = self.living
        watched = self._trial is not None or self._succession.plan.recycling
        busy = living.next is not None or living.old or watched
        timeout = min(CHECK_S if busy else SELDOM_S, self._overseer.turn_s)
        if living.current is None and living.next is None:
            timeout = max(0.0, min(CHECK_S, self._succession.start_at - monotonic()))
        with self._senders.noted():
            reporting = {found for found, _ in self._poller.wait(timeout)}
        self._stop.drain_and_check()
        self._overseer.turn()
        self._overseer.beat(self._succession.is_alive())
        for pid, why in self._overseer.standing_still([generation.pid for generation in living.all()]):
            self._deaths.end(pid, why)
        self._succession.read_reports(reporting)
        if self._watcher is not None and self._watcher.pipe in reporting:
            self._see_changes(self._watcher)
        self._reap()
        if self._trial is not None:
            self._trial.kill_if_late()
        self._succession.kill_late()

    def _see_changes(self, watcher: FileWatcher) -> None:
        names = watcher.changed()
        if not names:
            log.error("--reload: the process that watches files has ended, and changes are not seen")
            self._stop_watching()
            return
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        self._orders.append((signal.SIGHUP, f"{names[0]}{more}, changed"))
        self._succession.supersede(f"{names[0]}{more}, changed")  # one that starts has the code before this change

    def _start_watching(self) -> None:
        if self._watched is not None:
            self._watcher = FileWatcher(self._watched)
            log.info("--reload is on: a change of a file below %s loads all anew", ", ".join(self._watched.directories))
            self._poller.add(self._watcher.pipe, READABLE)

    def _stop_watching(self) -> None:
        if self._watcher is not None:
            self._poller.remove(self._watcher.pipe)
            self._watcher.stop()
            self._watcher = None

    def _reap(self) -> None:
        """Take the exit status of every child process that has ended. None of them has to be left to other code:
        nothing else in this process starts children, and if this is the first process of a container, it has to do so
        for orphans as well.
        """
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if self._trial is not None and self._trial.pid == ended[0]:
                    self._trial_has_ended(self._trial, ended[1])
                self._succession.has_ended(*ended)

    # The end

    def _end(self) -> None:
        """Stop all generations gracefully, and kill those that do not end in time."""
        self._overseer.stopping()
        if not self._stop.ordered:  # no generation can start: what was cut before is of no concern here
            orders.forget_cuts()
        unanswered = self._overseer.unanswered()
        self._stop_watching()
        self._listeners.shut()
        if self._trial is not None:
            self._trial.kill()
        last = self._succession.stop()
        starting_until = monotonic() + KILL_MARGIN_S
        while self.living.all() and monotonic() < last:
            self._succession.read_reports({found for found, _ in self._poller.wait(0)})
            self._reap()
            starting = self.living.next
            if starting is not None and not starting.serves and monotonic() > starting_until:
                starting.signal(signal.SIGKILL)  # an import that never returns to Python
            if self.living.all():
                attendant = self._overseer if self._overseer.fileno() >= 0 else None
                wait_s = min(CHECK_S, self._overseer.turn_s, max(0.0, last - monotonic()))
                self._stop.wait_for_signal(wait_s, attendant)
                self._overseer.beat(True)
        if self.living.all():
            orders.note_cut()
        self._succession.signal_all(signal.SIGKILL)
        if self._succession.served:
            now = self._overseer.unanswered()
            orders.log_stopped(None if unanswered is None or now is None else now - unanswered)

    def _pass_on_reopening(self) -> None:
        self._succession.plan.reopens()
        self._succession.signal_all(signal.SIGUSR1)

    def _kill(self) -> NoReturn:
        self._overseer.ends()
        self._succession.signal_all(signal.SIGKILL)
        exit_now(1)
