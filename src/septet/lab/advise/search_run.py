"""Runs a search: measures the workload profile (whether the application waits or computes), then takes the steps that
`search.next_step` proposes, until the time is up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from septet.errors import Failed
from septet.lab.advise.candidates import POOL, PROCESSES, Candidate, Finding, Look, Search, Situation, Step
from septet.lab.advise.capacity_search import CapacitySearch, Outcome
from septet.lab.advise.measure import ANSWERS, SATURATED_TIMEOUT_S, TrialRunner, duration_s
from septet.lab.advise.search import next_step
from septet.lab.advise.trial import Trial, outcome
from septet.lab.advise.workload_profile import WorkloadProfile, profile_with_others, workload_profile

START = 0.92
"""A capacity search begins at this share of the rate in the saturation run (under as much load as the candidate can
serve): the capacity is near that rate, unless latency is the limit.
"""
FLOOR = 0.1
"""A capacity search tries no rate below this share of the candidate's rate in the saturation run (under as much load as
the candidate can serve).
"""
USERS_MIN = 8
ARRIVAL_S = 1.0
NOISY_RUNS_MAX = 4
"""Largest number of saturation runs of one candidate (runs under as much load as it can serve). A run that other
programs disturbed is repeated up to this number, as long as the rate improves (see NOISY_GAIN).
"""
NOISY_GAIN = 1.05
"""If other programs disturb a repeated saturation run too, it is repeated once more only if its rate was more than this
many times the best rate so far.
"""
SEVERAL = 32
"""Number of simultaneous users with whom the workload profile (whether the application waits or computes) is measured:
enough to keep a CPU from going to sleep between two requests.
"""
WINDOW = 3
"""A saturation run lasts at least this many times as long as a single request takes, or it would see no answer."""
FAILURES_MAX = 2
"""A capacity search ends after this many failed trials (without any figures) in a row: a lower rate would not help."""
CHECK_SHARE = 0.3
"""Share of the search's time that is kept for checking the two best candidates."""
CHECK_ANSWERS = 3 * ANSWERS
CHECK_MAX_S = 6.0
STEPS_BACK = (1.0, 0.94, 0.85, 0.7)
"""A check repeats the result of a capacity search on a fresh server: it tries these shares of the rate that was found,
in this order, until the latency target is met at one of them.
"""
BELOW = 0.5
"""A check, which repeats the result of a capacity search on a fresh server, offers a second rate as well: this share of
the rate that it has confirmed. The target must be met there, too.
"""

clock = time.monotonic


class SearchObserver(Protocol):
    """Receives the events of a search as they happen, to display them."""

    def profile(self, found: WorkloadProfile) -> None: ...

    def step(self, step: Step) -> None: ...

    def saturated(self, finding: Finding) -> None: ...

    def tried(self, rate: float, how: Outcome, why: str) -> None: ...

    def found(self, finding: Finding) -> None: ...

    def dropped(self, finding: Finding, why: str) -> None: ...


class SearchRun:
    """One search on one machine. When `budget_s` seconds have passed, it finishes the present trial and ends."""

    def __init__(
        self,
        runner: TrialRunner,
        target_s: float,
        budget_s: float,
        observer: SearchObserver,
        spent_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`spent_s`: a function that returns how many seconds of `budget_s`, the time for the search, an interrupted
        search has used already. `target_s`: the latency target in seconds.
        """
        self._runner = runner
        self._spent_s = spent_s
        self._target_s = target_s
        self._observer = observer
        self._begun = clock()
        self._budget_s = budget_s

    def begin(self) -> None:
        """Start counting the time. Waiting for a quiet machine before this is not part of the budget."""
        self._begun = clock()

    def profile(self, model: str, asynchronous: bool) -> WorkloadProfile:
        """Measure the workload profile (whether the application waits or computes) under `model`, which has an event
        loop: with one user alone and, if requests wait, with several.

        Raises Failed when the application gives no right answer.
        """
        alone = self._runner.saturate(Candidate(model), 1)
        if alone.failure is None and not alone.answers and not alone.errors:  # the first answer has not come yet
            alone = self._runner.saturate(Candidate(model), 1, at_least_s=SATURATED_TIMEOUT_S)
        if alone.failure is not None:
            raise Failed(alone.failure)
        if not alone.answers:
            raise Failed(f"a single user had no right answer: {alone.reason}")
        found = workload_profile(alone, asynchronous)
        if found.waits and found.wall_s < self._target_s:  # else no search is made
            candidate = Candidate(model, threads=SEVERAL if found.blocks else None)
            found = profile_with_others(found, alone, self._runner.saturate(candidate, SEVERAL, WINDOW * found.wall_s))
        self._observer.profile(found)
        return found

    def run(self, search: Search, keep: Callable[[], None]) -> None:
        """Take the steps of `next_step` until the time is up; `keep` is called after each to store the findings."""
        while (step := next_step(search, in_time=not self._late(1.0 - CHECK_SHARE))) is not None:
            if self._late(1.0) and search.knows_a_capacity:
                break
            self._take(search, step)
            keep()

    def _take(self, search: Search, step: Step) -> None:
        self._observer.step(step)
        finding = search.of(step.candidate)
        measure = {Look.SATURATION: self._saturate, Look.CAPACITY: self._search_capacity, Look.CHECK: self._check}
        measure[step.look](search, finding)

    def _late(self, share: float) -> bool:
        return clock() - self._begun + self._spent_s() > share * self._budget_s

    def _saturate(self, search: Search, finding: Finding) -> None:
        users = _saturating_users(finding.candidate, search.situation)
        finding.saturation = self._most_of_several(finding.candidate, users, WINDOW * search.situation.profile.wall_s)
        if finding.saturation.answered_nothing:
            self._observer.dropped(finding, finding.saturation.failure or finding.saturation.reason or "no answer")
        else:
            self._observer.saturated(finding)

    def _most_of_several(self, candidate: Candidate, users: int, window_s: float) -> Trial:
        """Make a saturation run (under as much load as the candidate can serve) and return its trial. If other programs
        disturb the run, repeat it as long as its rate improves, and return the best of the trials, because no
        disturbance makes a server faster than it is.

        A single disturbed run must not decide, because a candidate with a low rate is dropped.
        """
        best = self._runner.saturate(candidate, users, window_s)
        for _ in range(NOISY_RUNS_MAX - 1):
            if not best.is_disturbed or best.failure is not None:
                break
            again = self._runner.saturate(candidate, users, window_s)
            if again.failure is not None:
                break
            gained = again.answered_per_s > NOISY_GAIN * best.answered_per_s
            best = max(best, again, key=lambda trial: trial.answered_per_s)
            if not gained and again.is_disturbed:
                break
        return best

    def _search_capacity(self, search: Search, finding: Finding) -> None:
        self._drive(CapacitySearch(START * finding.most, FLOOR * finding.most), finding, search.situation)
        self._observer.found(finding)

    def _drive(self, capacity_search: CapacitySearch, finding: Finding, situation: Situation) -> None:
        """Run the trials that `capacity_search` asks for; then set in `finding` the bracket (the two rates between
        which the capacity lies) and the trials at both of them.
        """
        trials: dict[float, Trial] = {}
        failures = 0
        while (rate := capacity_search.next_rate()) is not None:
            trial = self._offer(finding.candidate, rate, situation.users)
            how, why = outcome(trial, self._target_s)
            self._observer.tried(rate, how, why)
            capacity_search.record(rate, how)
            failures = failures + 1 if trial.failure is not None else 0
            if failures == FAILURES_MAX:
                break
            if how is Outcome.HELD or rate not in trials:
                trials[rate] = trial
            if how is Outcome.HELD and self._late(1.0):
                break
            if how is not Outcome.HELD:
                self._runner.replace_server()
        bracket = capacity_search.result()
        finding.highest_held = trials.get(bracket.low)
        above = [rate for rate in trials if rate > bracket.low]
        finding.lowest_failed = trials[min(above)] if above else None
        finding.bracket = replace(bracket, in_doubt=bracket.in_doubt or _disturbed(finding.lowest_failed))

    def _offer(self, candidate: Candidate, rate: float, users: int) -> Trial:
        return self._runner.offer(candidate, rate, users, duration_s(rate, self._target_s))

    def _check(self, search: Search, finding: Finding) -> None:
        """Check the result of a capacity search: on a fresh server, and for longer than before, offer the highest rate
        at which the latency target was met. If the target is missed in each of two trials, try lower rates.

        The target must also be met at half of the confirmed rate. That does not follow by itself: a pool with fewer
        threads than kept connections may serve these connections while they are busy, and let them wait for each other
        when they are not.
        """
        assert finding.bracket is not None, "only candidates with a bracket are checked"
        bracket, before = finding.bracket, finding.highest_held
        low, finding.highest_held, refuted = self._confirmed(finding, bracket.low, search.situation.users)
        if not low and _disturbed(finding.lowest_failed):
            # Nobody can check it on this machine, now. What was held before was held all the same.
            finding.bracket, finding.highest_held = replace(bracket, in_doubt=True, unchecked=True), before
        elif not low:  # the result of the search is refuted, and the capacity unknown
            finding.bracket = replace(bracket, low=0.0, high=refuted, at_least=False, refuted=True)
        elif refuted is not None:
            in_doubt = bracket.in_doubt or _disturbed(finding.lowest_failed)
            finding.bracket = replace(bracket, low=low, high=refuted, at_least=False, wavered=True, in_doubt=in_doubt)
        finding.checked = True
        self._observer.found(finding)

    def _confirmed(self, finding: Finding, found: float, users: int) -> tuple[float, Trial | None, float | None]:
        """Try the rate `found` on a fresh server, and lower rates until the latency target is met at one. Returns that
        rate, its trial, and the last rate before it at which the target was missed, or None.

        If the target was met at no rate, or was then missed at half of the rate, the first two values are 0 and None.
        """
        refuted = None
        for share in STEPS_BACK:
            if refuted is not None and self._late(1.0) and share != STEPS_BACK[-1]:
                continue  # there is time for the last share only
            rate = share * found
            trial = self._held_longer(finding, rate, users)
            if trial is None:
                refuted = rate
            elif self._held_longer(finding, BELOW * rate, users) is None:
                return 0.0, None, BELOW * rate
            else:
                return rate, trial, refuted
        return 0.0, None, refuted

    def _held_longer(self, finding: Finding, rate: float, users: int) -> Trial | None:
        """Offer the rate for longer than the search did, each time to a fresh server, until the latency target is met;
        return that trial, or None after two failures.

        If other programs may be the reason for the second failure, and there is time, a third trial is made. The last
        trial that failed is kept in `finding.lowest_failed`.
        """
        window_s = duration_s(rate, self._target_s, CHECK_ANSWERS, CHECK_MAX_S)
        for attempt in range(3):
            if attempt == 2 and (not _disturbed(finding.lowest_failed) or self._late(1.0)):
                break
            self._runner.replace_server()
            trial = self._runner.offer(finding.candidate, rate, users, window_s)
            how, why = outcome(trial, self._target_s)
            self._observer.tried(rate, how, why)
            if how is Outcome.HELD:
                return trial
            finding.lowest_failed = trial
        return None


def _disturbed(trial: Trial | None) -> bool:
    """True if there is a trial and other programs may be the reason why it did not meet the target."""
    return trial is not None and trial.is_disturbed


def _saturating_users(candidate: Candidate, situation: Situation) -> int:
    """Return a number of users that keeps the candidate busy, but is small enough for all to have a first answer within
    about a second.
    """
    slots = candidate.at_once(situation.profile.asynchronous, situation.users, situation.cpus)
    if candidate.model in (POOL, PROCESSES):
        wanted = slots  # with one more the pool would close connections to serve the last one
    elif situation.profile.waits:
        wanted = 2 * slots
    else:
        wanted = int(ARRIVAL_S / situation.profile.wall_s)
    return max(USERS_MIN, min(situation.users, wanted))
