"""From the first look at the application to the answer: measures what the search asks for, until the time is up."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from septet.errors import Failed
from septet.lab.advise.candidates import POOL, PROCESSES, Candidate, Finding, Look, Search, Situation, Step
from septet.lab.advise.capacity_search import Knee, Outcome
from septet.lab.advise.measure import ANSWERS, SATURATED_TIMEOUT_S, Bench, duration_s
from septet.lab.advise.search import next_step
from septet.lab.advise.trial import Trial, outcome
from septet.lab.advise.workload_profile import Nature, amid_others, nature

START = 0.92  # of what a gauge showed: the knee is near it, unless the latency is the limit
FLOOR = 0.1  # of the same: who does not hold that holds nothing
USERS_MIN = 8
ARRIVAL_S = 1.0
SEVERAL = 32  # users who are enough to keep a CPU from going to sleep between two of them
WINDOW = 3  # times what a request takes: a gauge that is shorter sees nobody answered
FAILURES_MAX = 2  # in a row: then it is not the load that the server died of
GROUND = 0.3  # of the time is kept for checking the first two
CHECK_ANSWERS = 3 * ANSWERS
CHECK_MAX_S = 6.0
STEPS_BACK = (1.0, 0.94, 0.85, 0.7)  # of the edge: where it is tried while it is not held

BELOW = 0.5  # of the edge: what is held there must be held here

clock = time.monotonic


class Listener(Protocol):
    """Is told what happens."""

    def nature(self, found: Nature) -> None: ...

    def step(self, step: Step) -> None: ...

    def gauged(self, finding: Finding) -> None: ...

    def tried(self, rate: float, how: Outcome, why: str) -> None: ...

    def found(self, finding: Finding) -> None: ...

    def dropped(self, finding: Finding, why: str) -> None: ...


class Course:
    """One search on one machine. `budget_s` bounds it; the trial that is under way is finished."""

    def __init__(self, bench: Bench, target_s: float, budget_s: float, listener: Listener) -> None:
        self._bench = bench
        self._target_s = target_s
        self._listener = listener
        self._begun = clock()
        self._budget_s = budget_s

    def look_at(self, model: str, asynchronous: bool) -> Nature:
        """One user alone; where he waits, several at once. `model` is a loop. Raises Failed when he has no answer."""
        alone = self._bench.saturate(Candidate(model), 1)
        if alone.failure is None and not alone.answers and not alone.errors:  # the first answer is still to come
            alone = self._bench.saturate(Candidate(model), 1, at_least_s=SATURATED_TIMEOUT_S)
        if alone.failure is not None:
            raise Failed(alone.failure)
        if not alone.answers:
            raise Failed(f"a single user had no right answer: {alone.reason}")
        found = nature(alone, asynchronous)
        if found.waits and found.wall_s < self._target_s:  # else there is nothing to search for
            candidate = Candidate(model, threads=SEVERAL if found.blocks else None)
            found = amid_others(found, alone, self._bench.saturate(candidate, SEVERAL, WINDOW * found.wall_s))
        self._listener.nature(found)
        return found

    def run(self, search: Search, keep: Callable[[], None]) -> None:
        """Every step that the search asks for, for as long as the time lasts; `keep` is called after each."""
        while (step := next_step(search, in_time=not self._late(1.0 - GROUND))) is not None:
            if self._late(1.0) and search.knows_a_knee:
                break
            self._take(search, step)
            keep()

    def _take(self, search: Search, step: Step) -> None:
        self._listener.step(step)
        finding = search.of(step.candidate)
        {Look.GAUGE: self._gauge, Look.KNEE: self._knee, Look.CHECK: self._check}[step.look](search, finding)

    def _late(self, share: float) -> bool:
        return clock() - self._begun > share * self._budget_s

    def _gauge(self, search: Search, finding: Finding) -> None:
        users = _saturating_users(finding.candidate, search.situation)
        finding.gauge = self._bench.saturate(finding.candidate, users, WINDOW * search.situation.nature.wall_s)
        if finding.gauge.answered_nothing:
            self._listener.dropped(finding, finding.gauge.failure or finding.gauge.reason or "no answer")
        else:
            self._listener.gauged(finding)

    def _knee(self, search: Search, finding: Finding) -> None:
        self._drive(Knee(START * finding.most, FLOOR * finding.most), finding, search.situation)
        self._listener.found(finding)

    def _drive(self, knee: Knee, finding: Finding, situation: Situation) -> None:
        """Try what the knee asks for; the finding gets its bracket and the trials at both ends of it."""
        trials: dict[float, Trial] = {}
        failures = 0
        while (rate := knee.next_rate()) is not None:
            trial = self._offer(finding.candidate, rate, situation.users)
            how, why = outcome(trial, self._target_s)
            self._listener.tried(rate, how, why)
            knee.told(rate, how)
            failures = failures + 1 if trial.failure is not None else 0
            if failures == FAILURES_MAX:
                break
            if how is Outcome.HELD or rate not in trials:
                trials[rate] = trial
            if how is Outcome.HELD and self._late(1.0):
                break
            if how is not Outcome.HELD:
                self._bench.replace_server()
        bracket = finding.bracket = knee.result()
        finding.edge = trials.get(bracket.low)
        above = [rate for rate in trials if rate > bracket.low]
        finding.beyond = trials[min(above)] if above else None

    def _offer(self, candidate: Candidate, rate: float, users: int) -> Trial:
        return self._bench.offer(candidate, rate, users, duration_s(rate, self._target_s))

    def _check(self, search: Search, finding: Finding) -> None:
        """A longer run at the edge, on a fresh server; what is not held twice is tried at a lower rate.

        Far below the edge it must hold as well. That is no matter of course: a pool with fewer threads than there are
        kept connections may serve them while they are busy, and let them wait for each other when they are not.
        """
        assert finding.bracket is not None, "only what has a knee is checked"
        bracket = finding.bracket
        low, finding.edge, refuted = self._confirmed(finding, bracket.low, search.situation.users)
        if not low:  # what the search had found is not so, and what is so nobody knows
            finding.bracket = replace(bracket, low=0.0, high=refuted, at_least=False, refuted=True)
        elif refuted is not None:
            finding.bracket = replace(bracket, low=low, high=refuted, at_least=False, wavered=True)
        finding.checked = True
        self._listener.found(finding)

    def _confirmed(self, finding: Finding, edge: float, users: int) -> tuple[float, Trial | None, float | None]:
        """The highest rate that fresh servers hold, 0 without one; its trial; and the lowest that they did not hold."""
        refuted = None
        for share in STEPS_BACK:
            if refuted is not None and self._late(1.0) and share != STEPS_BACK[-1]:
                continue  # there is time for the last one
            rate = share * edge
            trial = self._held_longer(finding, rate, users)
            if trial is None:
                refuted = rate
            elif self._held_longer(finding, BELOW * rate, users) is None:
                return 0.0, None, BELOW * rate
            else:
                return rate, trial, refuted
        return 0.0, None, refuted

    def _held_longer(self, finding: Finding, rate: float, users: int) -> Trial | None:
        """The trial that was held, the first or the second."""
        window_s = duration_s(rate, self._target_s, CHECK_ANSWERS, CHECK_MAX_S)
        for _ in range(2):
            self._bench.replace_server()
            trial = self._bench.offer(finding.candidate, rate, users, window_s)
            how, why = outcome(trial, self._target_s)
            self._listener.tried(rate, how, why)
            if how is Outcome.HELD:
                return trial
            finding.beyond = trial
        return None


def _saturating_users(candidate: Candidate, situation: Situation) -> int:
    """Enough to keep it busy, and no more than come to their first answers within about a second."""
    places = candidate.at_once(situation.nature.asynchronous, situation.users)
    if candidate.model in (POOL, PROCESSES):
        wanted = places  # one more, and it would let go of connections to serve him
    elif situation.nature.waits:
        wanted = 2 * places
    else:
        wanted = int(ARRIVAL_S / situation.nature.wall_s)
    return max(USERS_MIN, min(situation.users, wanted))
