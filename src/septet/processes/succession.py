"""The succession of generations: which one serves, which one starts to take its place, and which ones end.

    starts ──(ready)──> serves ──(the next one is ready)──> finishes its requests ──> has ended
       └──(cannot start)──> has ended

A generation that ends by itself is replaced, at once or, after an early end, with growing delays. A generation that is
needed and cannot start is tried again MAX_FAILED_STARTS times; then the supervisor gives up. At the first start it
gives up at once, with the exit status that the generation would have had.

What comes from outside, orders and signals, is for `generations`, which also waits for what happens.
"""

import logging
import os
import signal
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from time import monotonic
from typing import Any

from septet.errors import Failed, SeptetError
from septet.pollers import READABLE, Poll
from septet.processes import orders, resource_exhaustion
from septet.processes.attendant import Overseer
from septet.processes.deaths import Deaths, how_it_ended, how_many_lost, replaced_has_ended
from septet.processes.generation import Generation, Living, Plan, keep_text
from septet.processes.orders import DRAIN, Stop
from septet.processes.report import failure_of
from septet.processes.restarts import KILL_MARGIN_S, MAX_DELAY_S, MAX_FAILED_STARTS, RestartDelay

log = logging.getLogger("septet")

RECYCLE_AGAIN_S = 5.0
"""Least seconds between two replacements of the generation for its age, memory or number of requests."""


class Succession:
    """Keeps one generation serving, and replaces it. Used only in the main thread of the supervisor.

    `plan`: how the first generation is made. `fork`: forks a generation by a plan, for a reason of
    `metrics.lanes.REASONS` or ""; raises OSError, MemoryError. `poller`: watches the pipes on which generations report.
    """

    def __init__(
        self,
        stop: Stop,
        plan: Plan,
        overseer: Overseer,
        deaths: Deaths,
        poller: Poll,
        fork: Callable[[Plan, str], Generation],
    ) -> None:
        self._stop = stop
        self._overseer = overseer
        self._deaths = deaths
        self._poller = poller
        self._fork = fork
        self.living = Living()
        self.plan = plan
        """The plan by which the generation that serves was made; before one serves, the plan of the first one."""
        self.served = False
        """True once a generation has been ready. Until then the supervisor ends at once if one cannot start;
        afterwards it does not.
        """
        self.status = 0
        """The exit status of the supervisor: that of the generation which served when the order to stop came, or, if
        none did, of the one that ended last. It is 0 if a signal ended that generation after it had served.
        """
        self.start_at = 0.0
        """The earliest time at which another generation is started if none serves, in seconds on the clock of
        `monotonic`.
        """
        self._delay = RestartDelay()
        self._failed_starts = 0
        self._recycle_at = 0.0
        self._stopped: Generation | None = None
        """The generation that served when the order to stop came; None: none did, or the order has not come."""

    def adopt(self, handed: Iterable[Mapping[str, Any]]) -> None:
        """Take over the generations that another program in this process has started, before it has executed this one
        in its place (USR2). `handed` is what `Generation.handed_over` has returned there for each of them.
        """
        self.served = True
        for each in handed:
            plan = replace(self.plan, graceful_timeout=each["graceful_timeout"])
            life = plan.recycling.begin(each["pid"])
            row = each.get("row", 0)
            generation = Generation(each["number"], each["pid"], each["pipe"], plan, monotonic(), life, row)
            generation.serves = True
            file = each.get("crashes", -1)
            generation.keep(file)
            self._deaths.watch(generation.pid, file)
            self._poller.add(generation.pipe, READABLE)
            if each["current"]:
                self.living.current = generation
            else:
                self._let_finish(generation)

    # A generation starts

    def keep_one(self) -> None:
        """Start a generation if none serves or starts, unless it is too early for that."""
        if self.living.current is None and self.living.next is None and monotonic() >= self.start_at:
            self.begin(self.plan, "")

    def recycle(self) -> None:
        """If the current generation has reached a limit of `Plan.recycling`, such as its age, start another one to
        replace it. If that cannot start, this is tried again after RECYCLE_AGAIN_S seconds.
        """
        current, now = self.living.current, monotonic()
        if current is None or self.living.next is not None or now < self._recycle_at:
            return
        if why := current.life.why_over(now):
            self._recycle_at = now + RECYCLE_AGAIN_S
            self.begin(self.plan, f"{current} is replaced: {why}", current.life.reason)
            if self.living.next is not None:
                self.living.next.why = why

    def begin(self, plan: Plan, why: str, reason: str = "") -> None:
        """Fork a generation, which will replace the current one when it is ready. `why` is the cause, for the log; "":
        nothing is logged. `reason` is the cause as one of `metrics.lanes.REASONS`; "": none of these.
        """
        try:
            generation = self._fork(plan, reason)
        except (OSError, MemoryError) as error:
            failure = Failed(f"cannot start a generation: {resource_exhaustion.reason(error)}")
            if not self.served:
                raise failure from error
            log.error("%s", failure)
            self._overseer.order_ended(str(failure), failed=True)
            self.start_at = monotonic() + MAX_DELAY_S
            return
        self._poller.add(generation.pipe, READABLE)
        self.living.next = generation
        generation.why = why
        if why:
            log.info("%s: %s starts", why, generation)

    def supersede(self, why: str) -> None:
        """Kill the generation that starts, if there is one and another serves: the next one will have newer code."""
        starting = self.living.next
        if starting is not None and self.living.current is not None:
            if not starting.failed:
                log.info("%s was superseded: %s before it was ready", starting, why)
            starting.failed = True
            starting.signal(signal.SIGKILL)

    # It reports

    def read_reports(self, reporting: Collection[int]) -> None:
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
        self.plan = generation.plan
        self.plan.failed("")
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
        before.signal(DRAIN)
        self._let_finish(before)

    def _let_finish(self, generation: Generation) -> None:
        generation.ends_at = monotonic() + generation.plan.graceful_timeout + 2 * KILL_MARGIN_S
        self.living.old.append(generation)

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
            self.plan = replace(generation.plan, run=generation.plan.instead, instead=None, failed=keep_text)
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

    def is_alive(self) -> bool:
        """True if the server is alive as far as the supervisor knows: a generation serves; or one starts and its
        start-up time-out has not passed; or one is to be started after a delay that has not passed.
        """
        living = self.living
        starting = living.next
        if living.current is not None or starting is None:
            return living.current is not None or monotonic() < self.start_at
        return monotonic() - starting.started_at < starting.plan.startup_timeout

    # It ends

    def has_ended(self, pid: int, status: int) -> None:
        """To be called when a child process has ended: forget the generation that it was, if it was one, and decide
        when the next one starts. `status`: as waitpid(2) gives it. Raises SeptetError if the supervisor must end.
        """
        for generation in self.living.all():
            if generation.pid == pid:
                self._has_ended(generation, status)

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
            self.status = os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 0
            if self._stop.ordered and not generation.serves and os.WIFSIGNALED(status):
                self.status = Failed.exit_status  # as that of one which ends by itself while it starts
                log.error("SEP122 the application had not started when the order to stop came, and did not end")
        if generation is living.next:
            living.next = None
            self._deaths.forget(str(generation), generation.pid, status)
            if not generation.failed:
                ended = f"the application's process ended {how_it_ended(status)} before it was ready"
                self._cannot_start(generation, Failed(ended))
            if living.current is None:
                self._wait_after(generation)
            return
        living.current = None
        if not self._stop.ordered:
            self._wait_after(generation)
            seconds = max(0.0, self.start_at - monotonic())
            death = self._deaths.explain(generation.pid, status)
            self._overseer.has_ended(death.reason, f"{generation} ended {death.text}")
            how = f"{death.text}; {how_many_lost(lost)}"
            log.error("SEP112 %s ended %sanother starts in %.1f s%s", generation, how, seconds, death.stacks)
        else:
            self._deaths.forget(str(generation), generation.pid, status)

    def _wait_after(self, generation: Generation) -> None:
        self.start_at = monotonic() + self._delay.after(generation.started_at)

    def _forget_pipe(self, generation: Generation) -> None:
        if generation.pipe >= 0:
            self._poller.remove(generation.pipe)
            os.close(generation.pipe)
            generation.pipe = -1

    def kill_late(self) -> None:
        """Kill a generation that has not started in time while another serves, and those that have not ended in
        time.
        """
        now = monotonic()
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

    def stop(self) -> float:
        """Tell all generations to stop. Returns the time until which they may do so, on the clock of `monotonic`."""
        self._stopped = self.living.current
        for generation in self.living.all():
            if not generation.failed:  # else it ends by itself
                generation.signal(signal.SIGTERM)
            generation.signal(signal.SIGCONT)  # one that is stopped takes the order when it goes on
        longest = max((each.plan.graceful_timeout for each in self.living.all()), default=0.0)
        return monotonic() + longest + 2 * KILL_MARGIN_S

    def signal_all(self, number: int) -> None:
        for generation in self.living.all():
            generation.signal(number)
