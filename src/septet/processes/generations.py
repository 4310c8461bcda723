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

A generation that ends by itself is replaced, at once or, after an early end, with growing delays. A generation that is
needed and cannot start is tried again MAX_FAILED_STARTS times; then the supervisor gives up. At the first start it
gives up at once, with the exit status that the generation would have had.
"""

import logging
import os
import signal
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from time import monotonic
from types import FrameType
from typing import Any, NoReturn

from septet import forked
from septet.errors import Failed, SeptetError
from septet.pollers import READABLE, Poll
from septet.processes import crashes, orders
from septet.processes.attendant import Overseer
from septet.processes.children import exit_now, fork, handle_sigchld, unblock_orders
from septet.processes.deaths import Deaths, how_it_ended, how_many_lost, replaced_has_ended
from septet.processes.generation import Generation, Handed, Living, Plan, Report, failure_of, keep_text
from septet.processes.orders import DRAIN, Stop
from septet.processes.reload import FileWatcher, Watched
from septet.processes.senders import Senders
from septet.processes.supervisor import (
    EARLY_DEATH_S,
    KILL_MARGIN_S,
    MAX_DELAY_S,
    MAX_FAILED_STARTS,
    MIN_DELAY_S,
)
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

RECYCLE_AGAIN_S = 5.0
"""Least seconds between two replacements of the generation for its age, memory or number of requests."""


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
        self._plan = plan
        """The plan by which the generation that serves was made; before one serves, the plan of the first one."""
        self._again = again
        self._listeners = listeners
        self.living = Living()
        self.served = False
        """True once a generation has been ready. Until then the supervisor ends at once if one cannot start;
        afterwards it does not.
        """
        self._numbers = 0
        self._orders: deque[tuple[int, str]] = deque()
        """Orders that wait to be carried out: for each the number of the signal, and its cause as text for the log,
        which is the signal's name or the file that has changed.
        """
        self._poller = Poll()
        self._senders = Senders(self._poller)
        self._early_deaths = 0
        self._failed_starts = 0
        self._start_at = 0.0
        """The earliest time at which another generation is started if none serves, in seconds on the clock of
        `monotonic`.
        """
        self._recycle_at = 0.0
        self._first = ""
        """Why this program starts its first generation, as text for the log: "USR2" if this process has executed it in
        place of another program, else "".
        """
        self._upgrades_for = ""
        """The signal or order for which this program is, or was last, to be replaced by another one, as text for the
        log.
        """
        self._status = 0
        """The exit status that `run` returns: that of the generation which served when the order to stop came, or, if
        none did, of the one that ended last. It is 0 if a signal ended that generation.
        """
        self._stopped: Generation | None = None
        """The generation that served when the order to stop came; None: none did, or the order has not come."""

    def run(self) -> int:
        """Run until the order to stop has come and all generations have ended; return the exit status. Raises
        SeptetError if no generation can start.
        """
        self._handle_signals()
        self._start_watching()
        self._begin(self._plan, self._first, "reload")
        self._poller.add(self._stop.fileno(), READABLE)
        if self._overseer.fileno() >= 0:
            self._poller.add(self._overseer.fileno(), READABLE)
        try:
            while not self._stop.ordered:
                self._carry_out_orders()
                self._recycle()
                self._keep_one()
                self._wait()
        finally:
            self._poller.remove(self._stop.fileno())
            self._senders.close()
            self._end()
        return self._status

    # Signals

    def _handle_signals(self) -> None:
        self._stop.on_signals(self._kill)
        handle_sigchld(lambda number, frame: None)
        for number in (signal.SIGHUP, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU):
            if signal.getsignal(number) is not signal.SIG_IGN:
                forked.set_signal_handler(number, self._note)
        orders.pass_on_reopening = self._pass_on_reopening
        unblock_orders()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD, *orders.HANDLED_SIGNALS))

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP and orders.terminal_is_gone():
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
        except SeptetError as error:
            log.error("%s: %s; the server goes on as it is", why, error)
            self._plan.failed(str(error))
            self._overseer.ready(f"{why} failed: {error}")
            self._overseer.order_ended(f"{error}; the server goes on as it is", failed=True)
            return
        self._begin(plan, why, "reload")

    # Another program

    def _try_upgrade(self, why: str) -> None:
        self._upgrades_for = "control upgrade" if self._overseer.order_begins("upgrade") else why
        log.info("%s: the program that is to replace this one is tried in a child", self._upgrades_for)
        try:
            self._trial = Trial.start(self._plan.startup_timeout)
        except OSError as error:
            log.error("%s: the program cannot be started, and this one goes on: %s", self._upgrades_for, error.strerror)
            self._overseer.order_ended(f"the program cannot be started: {error.strerror}", failed=True)

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
            "numbers": self._numbers,
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
        self.served = True
        self._numbers = state["numbers"]
        for each in state["generations"]:
            plan = replace(self._plan, graceful_timeout=each["graceful_timeout"])
            life = plan.recycling.begin(each["pid"])
            row = each.get("row", 0)
            generation = Generation(each["number"], each["pid"], each["pipe"], plan, monotonic(), life, row)
            file = each.get("crashes", -1)
            generation.keep(file)
            self._deaths.watch(generation.pid, file)
            self._poller.add(generation.pipe, READABLE)
            if each["current"]:
                self.living.current = generation
            else:
                generation.ends_at = monotonic() + plan.graceful_timeout + 2 * KILL_MARGIN_S
                self.living.old.append(generation)
        self._first = state.get("why", "USR2")

    # One generation that serves

    def _keep_one(self) -> None:
        if self.living.current is None and self.living.next is None and monotonic() >= self._start_at:
            self._begin(self._plan, "")

    def _recycle(self) -> None:
        """If the current generation has reached a limit of `Plan.recycling`, such as its age, start another one to
        replace it. If that cannot start, this is tried again after RECYCLE_AGAIN_S seconds.
        """
        current, now = self.living.current, monotonic()
        if current is None or self.living.next is not None or now < self._recycle_at:
            return
        if why := current.life.why_over(now):
            self._recycle_at = now + RECYCLE_AGAIN_S
            self._begin(self._plan, f"{current} is replaced: {why}", current.life.reason)
            if self.living.next is not None:
                self.living.next.why = why

    def _begin(self, plan: Plan, why: str, reason: str = "") -> None:
        """Fork a generation, which will replace the current one when it is ready. `why` is the cause, for the log; "":
        nothing is logged. `reason` is the cause as one of `metrics.lanes.REASONS`; "": none of these.
        """
        try:
            generation = self._fork(plan, reason)
        except OSError as error:
            failure = Failed(f"cannot start a generation: {error.strerror}")
            if not self.served:
                raise failure from error
            log.error("%s", failure)
            self._overseer.order_ended(str(failure), failed=True)
            self._start_at = monotonic() + MAX_DELAY_S
            return
        self.living.next = generation
        generation.why = why
        if why:
            log.info("%s: %s starts", why, generation)

    def _fork(self, plan: Plan, reason: str) -> Generation:
        """Fork the process of a generation, made as `plan` says. `reason` says why it replaces the current one: one of
        `metrics.lanes.REASONS`, or "". Raises OSError.
        """
        reading, writing = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(reading, False)
        self._numbers += 1
        row, file = 0, crashes.new_file()
        try:
            row = self._overseer.allot()
            pid = fork(partial(self._work, plan, reading, writing, row, file))
        except OSError:
            os.close(reading)
            if file >= 0:
                os.close(file)
            self._overseer.retire(row)
            raise
        finally:
            os.close(writing)
        self._deaths.watch(pid, file)
        self._poller.add(reading, READABLE)
        return Generation(self._numbers, pid, reading, plan, monotonic(), plan.recycling.begin(pid), row, reason)

    def _work(self, plan: Plan, reading: int, writing: int, row: int, file: int) -> int:
        """Called in the child process that is to be a generation: run it until it ends, and return its exit status.
        `reading` and `writing` are the ends of its pipe to the supervisor, `row` is its row in the table of
        metrics, `file` a descriptor to which it writes its stacks when it crashes.
        """
        for inherited in (reading, *(each.pipe for each in self.living.all() if each.pipe >= 0)):
            os.close(inherited)
        for held in (self._watcher, self._trial):
            if held is not None:
                os.close(held.pipe)
        self._stop.close_in_child()
        self._senders.close_in_child()
        self._overseer.close_in_child()
        self._overseer.occupy(row)
        self._deaths.close_in_child()
        crashes.write_to(file)
        unblock_orders()
        return plan.run(Report(writing))

    # What happens

    def _wait(self) -> None:
        living = self.living
        watched = self._trial is not None or self._plan.recycling
        busy = living.next is not None or living.old or watched
        timeout = min(CHECK_S if busy else SELDOM_S, self._overseer.turn_s)
        if living.current is None and living.next is None:
            timeout = max(0.0, min(CHECK_S, self._start_at - monotonic()))
        with self._senders.noted():
            reporting = {found for found, _ in self._poller.wait(timeout)}
        self._stop.drain_and_check()
        self._overseer.turn()
        self._overseer.beat(self._is_alive())
        for pid, why in self._overseer.standing_still([generation.pid for generation in living.all()]):
            self._deaths.end(pid, why)
        self._read_reports(reporting)
        if self._watcher is not None and self._watcher.pipe in reporting:
            self._see_changes(self._watcher)
        self._reap()
        self._kill_late()

    def _is_alive(self) -> bool:
        """True if the server is alive as far as the supervisor knows: a generation serves; or one starts and its
        start-up time-out has not passed; or one is to be started after a delay that has not passed.
        """
        living = self.living
        starting = living.next
        if living.current is not None or starting is None:
            return living.current is not None or monotonic() < self._start_at
        return monotonic() - starting.started_at < starting.plan.startup_timeout

    def _see_changes(self, watcher: FileWatcher) -> None:
        names = watcher.changed()
        if not names:
            log.error("--reload: the process that watches files has ended, and changes are not seen")
            self._stop_watching()
            return
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        self._orders.append((signal.SIGHUP, f"{names[0]}{more}, changed"))
        starting = self.living.next
        if starting is not None and self.living.current is not None:  # it has the code before this change
            if not starting.failed:
                log.info("%s was superseded: %s%s, changed before it was ready", starting, names[0], more)
            starting.failed = True
            starting.signal(signal.SIGKILL)

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

    def _read_reports(self, reporting: set[int]) -> None:
        """Read the reports of the generations whose pipes are among `reporting`, the descriptors that are readable."""
        for generation in self.living.all():
            if generation.pipe in reporting:
                self._read(generation)

    def _read(self, generation: Generation) -> None:
        messages = generation.messages()
        for message in messages:
            if "ready" in message:
                self._is_ready(generation, message["ready"])
            elif "serves" in message:
                generation.serves = True
            elif "failed" in message:
                self._cannot_start(generation, failure_of(message))
            elif "retire" in message:
                generation.life.asked = message["retire"]
            elif "tell" in message:
                self._overseer.note(message["tell"])
        if not messages:  # it has closed the pipe
            self._forget_pipe(generation)

    def _is_ready(self, generation: Generation, workers: int) -> None:
        living = self.living
        generation.serves = True
        if generation is not living.next or self._stop.ordered:
            return
        before, living.current, living.next = living.current, generation, None
        self._plan = generation.plan
        self._plan.failed("")
        self._failed_starts = 0
        generation.ends_at = float("inf")
        generation.plan.began(workers)
        self.served = True
        if generation.plan.failed is keep_text:
            self._overseer.ready(f"{generation} serves the error page")
            log.warning("%s serves the error page and nothing else, until the application can be loaded", generation)
            return
        self._overseer.ready(f"{generation} serves")
        self._overseer.order_ended(f"{generation} serves")
        if before is None:
            if generation.number > 1:
                log.info("%s serves", generation)
            return
        log.info("%s serves; %s finishes its requests", generation, before)
        why = f": {generation.why}" if generation.why else ""
        self._overseer.has_ended(generation.reason or "exit", f"{before} was replaced by {generation}{why}")
        living.old.append(before)
        before.signal(DRAIN)
        before.ends_at = monotonic() + before.plan.graceful_timeout + 2 * KILL_MARGIN_S

    def _cannot_start(self, generation: Generation, error: SeptetError) -> None:
        """Note and log that a generation cannot start: the current one goes on, or, if there is none, another is
        started later. Raises `error` if the supervisor must end instead: at the first start, or after
        MAX_FAILED_STARTS failures.
        """
        generation.failed = True
        generation.ends_at = monotonic() + KILL_MARGIN_S
        if self._stop.ordered:
            return
        traceback = getattr(error, "traceback", "")
        generation.plan.failed(f"{traceback}{error}")
        below = f"\n{traceback.rstrip()}" if traceback else ""
        if not self.served and generation.plan.instead is not None:
            log.error("SEP113 %s cannot start, and a change of its files is waited for: %s%s", generation, error, below)
            self._overseer.order_ended(str(error), failed=True)
            self._plan = replace(generation.plan, run=generation.plan.instead, instead=None, failed=keep_text)
            return
        self._failed_starts += 1
        needed = self.living.current is None
        if not self.served or (needed and self._failed_starts >= MAX_FAILED_STARTS):
            raise error
        goes_on = "it is tried again" if needed else f"{self.living.current} goes on"
        log.error("SEP113 %s cannot start, and %s: %s%s", generation, goes_on, error, below)
        self._overseer.order_ended(f"{error}; {goes_on}", failed=True)
        if not needed:
            self._overseer.ready(f"{goes_on}, because {generation} cannot start: {error}")

    def _reap(self) -> None:
        """Take the exit status of every child process that has ended. None of them has to be left to other code:
        nothing else in this process starts children, and if this is the first process of a container, it has to do so
        for orphans as well.
        """
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if self._trial is not None and self._trial.pid == ended[0]:
                    self._trial_has_ended(self._trial, ended[1])
                for generation in self.living.all():
                    if generation.pid == ended[0]:
                        self._has_ended(generation, ended[1])

    def _has_ended(self, generation: Generation, status: int) -> None:
        living = self.living
        if generation.pipe >= 0:
            self._read(generation)  # its last words
            self._forget_pipe(generation)
        lost = self._overseer.retire(generation.row)
        if generation in living.old:
            living.old.remove(generation)
            replaced_has_ended(str(generation), self._deaths, generation.pid, status, lost, self._overseer.note)
            return
        if self._stop.ordered and generation.serves and os.WIFSIGNALED(status):
            orders.note_cut()
        if self._stopped is None or generation is self._stopped:
            self._status = os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 0
        if generation is living.next:
            living.next = None
            self._deaths.forget(str(generation), generation.pid)
            if not generation.failed:
                ended = f"the application's process ended {how_it_ended(status)} before it was ready"
                self._cannot_start(generation, Failed(ended))
            if living.current is None:
                self._delay(generation)
            return
        living.current = None
        if not self._stop.ordered:
            self._delay(generation)
            seconds = max(0.0, self._start_at - monotonic())
            death = self._deaths.explain(generation.pid, status)
            self._overseer.has_ended(death.reason, f"{generation} ended {death.text}")
            how = f"{death.text}; {how_many_lost(lost)}"
            log.error("SEP112 %s ended %sanother starts in %.1f s%s", generation, how, seconds, death.stacks)
        else:
            self._deaths.forget(str(generation), generation.pid)

    def _delay(self, generation: Generation) -> None:
        early = monotonic() - generation.started_at < EARLY_DEATH_S
        self._early_deaths = self._early_deaths + 1 if early else 0
        delay = min(MAX_DELAY_S, MIN_DELAY_S * 2 ** (self._early_deaths - 1)) if early else 0.0
        self._start_at = monotonic() + delay

    def _kill_late(self) -> None:
        now = monotonic()
        if self._trial is not None:
            self._trial.kill_if_late()
        starting, living = self.living.next, self.living
        if starting is not None and living.current is not None and not starting.failed:
            limit = starting.plan.startup_timeout
            if now - starting.started_at > limit:
                self._cannot_start(starting, Failed(f"it was not ready within {limit:g} s (--startup-timeout)"))
                starting.signal(signal.SIGKILL)
        for generation in living.all():
            if now > generation.ends_at:
                generation.ends_at = float("inf")
                log.error("%s is killed: it has not ended in time", generation)
                generation.signal(signal.SIGKILL)

    def _forget_pipe(self, generation: Generation) -> None:
        if generation.pipe >= 0:
            self._poller.remove(generation.pipe)
            os.close(generation.pipe)
            generation.pipe = -1

    # The end

    def _end(self) -> None:
        """Stop all generations gracefully, and kill those that do not end in time."""
        self._overseer.stopping()
        orders.forget_cuts()
        unanswered = self._overseer.unanswered()
        self._stopped = self.living.current
        self._stop_watching()
        self._listeners.shut()
        if self._trial is not None:
            self._trial.kill()
        for generation in self.living.all():
            if not generation.failed:  # else it ends by itself
                generation.signal(signal.SIGTERM)
            generation.signal(signal.SIGCONT)  # one that is stopped takes the order when it goes on
        longest = max((each.plan.graceful_timeout for each in self.living.all()), default=0.0)
        last = monotonic() + longest + 2 * KILL_MARGIN_S
        starting_until = monotonic() + KILL_MARGIN_S
        while self.living.all() and monotonic() < last:
            self._read_reports({found for found, _ in self._poller.wait(0)})
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
        self._signal_all(signal.SIGKILL)
        if self.served:
            now = self._overseer.unanswered()
            orders.log_stopped(None if unanswered is None or now is None else now - unanswered)

    def _pass_on_reopening(self) -> None:
        self._plan.reopens()
        self._signal_all(signal.SIGUSR1)

    def _signal_all(self, number: int) -> None:
        for generation in self.living.all():
            generation.signal(number)

    def _kill(self) -> NoReturn:
        self._overseer.ends()
        self._signal_all(signal.SIGKILL)
        exit_now(1)
