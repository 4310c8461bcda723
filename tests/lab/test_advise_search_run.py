"""What is found is checked on a fresh server, and nothing is said to be held that was not."""

from dataclasses import replace
from typing import Any, cast

import pytest

from septet.lab.advise.advice_text import capacity, not_held, table
from septet.lab.advise.bottleneck import bottleneck
from septet.lab.advise.candidates import Candidate, Finding, Look, Search, Step
from septet.lab.advise.capacity_search import Bracket, Outcome
from septet.lab.advise.measure import TrialRunner
from septet.lab.advise.search_run import STEPS_BACK, SearchRun
from septet.lab.advise.trial import Trial, outcome
from septet.lab.advise.workload_profile import WorkloadProfile
from support.made_up_machine import World, trial

TARGET_S = 0.05
FOUND = 1000.0
EPOLL = Candidate("epoll")
NATURE = WorkloadProfile(asynchronous=False, wall_s=0.001, cpu_s=0.001)


class Fresh:
    """A `TrialRunner` whose fresh servers hold this rate and no higher one; counts them."""

    def __init__(self, holds: float, from_rate: float = 0.0) -> None:
        self._holds = holds
        self._from_rate = from_rate
        self.servers = 0

    def replace_server(self) -> None:
        self.servers += 1

    def offer(self, candidate: Candidate, rate: float, users: int, window_s: float) -> Any:
        return trial(rate=rate, answered_per_s=rate, p99_s=0.02 if self._from_rate <= rate <= self._holds else 0.2)


class Silent:
    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def checked(holds: float, budget_s: float, from_rate: float = 0.0) -> tuple[Search, Finding, Fresh]:
    """What becomes of a bracket that began at 1,000/s."""
    search = World(NATURE, carries=lambda _: 2000.0).search()
    finding = search.of(EPOLL)
    finding.bracket, finding.highest_held = Bracket(low=FOUND, high=1100.0), trial(rate=FOUND, p99_s=0.02)
    fresh = Fresh(holds, from_rate)
    SearchRun(cast(TrialRunner, fresh), TARGET_S, budget_s, cast(Any, Silent()))._take(
        search, Step(EPOLL, Look.CHECK, "")
    )
    return search, finding, fresh


@pytest.mark.parametrize("budget_s", [60.0, 0.0])
@pytest.mark.parametrize("holds", [2000.0, 1000.0, 960.0, 900.0, 750.0, 500.0])
def test_what_is_said_to_be_held_was_held_by_a_fresh_server(holds: float, budget_s: float) -> None:
    _, finding, _ = checked(holds, budget_s)
    assert finding.checked
    assert finding.bracket is not None
    assert finding.capacity <= holds
    if finding.capacity:
        assert finding.highest_held is not None
        assert finding.highest_held.rate == finding.capacity
    if finding.capacity < FOUND:
        assert finding.bracket.high is not None
        assert holds < finding.bracket.high <= FOUND


def test_what_is_held_is_not_tried_again() -> None:
    _, finding, fresh = checked(FOUND, 60.0)
    assert (finding.capacity, fresh.servers) == (FOUND, 2)  # there, and far below


def test_what_no_fresh_server_holds_is_refuted() -> None:
    search, finding, fresh = checked(STEPS_BACK[-1] * FOUND - 1, 60.0)
    assert finding.bracket is not None
    assert finding.bracket.refuted
    assert finding.highest_held is None
    assert fresh.servers == 2 * len(STEPS_BACK)
    assert search.best is None
    assert "?" in table(search)[-1]
    assert "fresh servers did not hold" in not_held(search, TARGET_S)


def test_without_time_only_the_lowest_rate_is_tried_still() -> None:
    _, finding, fresh = checked(STEPS_BACK[-1] * FOUND, 0.0)
    assert (finding.capacity, fresh.servers) == (STEPS_BACK[-1] * FOUND, 4)


def test_what_is_held_at_the_edge_and_not_far_below_is_refuted() -> None:
    _, finding, _ = checked(FOUND, 60.0, from_rate=0.6 * FOUND)
    assert finding.bracket is not None
    assert finding.bracket.refuted
    assert (finding.capacity, finding.highest_held) == (0.0, None)


def test_the_stand_in_holds_what_it_says() -> None:
    assert outcome(Fresh(10).offer(EPOLL, 10, 1, 1), TARGET_S)[0] is Outcome.HELD
    assert outcome(Fresh(10).offer(EPOLL, 11, 1, 1), TARGET_S)[0] is Outcome.BROKEN


class Noisy:
    """A `TrialRunner` whose saturation runs are these, one after the other."""

    def __init__(self, *runs: tuple[float, str]) -> None:
        self.runs = [trial(answered_per_s=rate, verdict=verdict) for rate, verdict in runs]

    def saturate(self, candidate: Candidate, users: int, window_s: float) -> Any:
        return self.runs.pop(0)


@pytest.mark.parametrize(
    ("runs", "most", "left"),
    [
        ([(568, "noisy"), (1900, "valid"), (9, "valid")], 1900, 1),
        ([(568, "noisy"), (570, "noisy"), (9, "valid")], 570, 1),
        ([(568, "noisy"), (900, "noisy"), (800, "noisy"), (9, "valid")], 900, 1),
        ([(568, "valid"), (1900, "valid")], 568, 1),
    ],
)
def test_a_noisy_saturation_run_decides_nothing_alone(runs: list[tuple[float, str]], most: float, left: int) -> None:
    search = World(NATURE, carries=lambda _: 2000.0).search()
    noisy = Noisy(*runs)
    SearchRun(cast(TrialRunner, noisy), TARGET_S, 60.0, cast(Any, Silent()))._take(
        search, Step(EPOLL, Look.SATURATION, "")
    )
    assert search.of(EPOLL).most == most
    assert len(noisy.runs) == left


def test_what_other_programs_may_have_broken_is_no_upper_bound() -> None:
    """A rate that was not held on a busy machine says nothing: then the capacity is a lower bound, and in doubt."""

    class Busy(Fresh):
        def offer(self, candidate: Candidate, rate: float, users: int, window_s: float) -> Any:
            return replace(super().offer(candidate, rate, users, window_s), verdict="noisy", reason="others")

    search = World(NATURE, carries=lambda _: 2000.0).search()
    finding = search.of(EPOLL)
    finding.saturation = trial(answered_per_s=2000.0)
    SearchRun(cast(TrialRunner, Busy(1000.0)), TARGET_S, 60.0, cast(Any, Silent()))._take(
        search, Step(EPOLL, Look.CAPACITY, "")
    )
    assert finding.bracket is not None
    assert finding.bracket.in_doubt
    assert finding.bracket.is_lower_bound
    assert capacity(finding, TARGET_S).startswith("at least ")
    assert "between" not in capacity(finding, TARGET_S)


def test_time_that_others_had_is_not_said_to_be_used() -> None:
    found = _limit(trial(server_share=1.0, used_share=0.32, others_share=0.66, verdict="noisy"))
    assert found == "it used 32% of its CPU and wanted more, which other programs (66%) had"
    assert _limit(trial(server_share=0.97, used_share=0.95)) == "it uses 95% of its CPU"


def _limit(saturated: Trial) -> str:
    search = World(NATURE, carries=lambda _: 2000.0).search()
    finding = search.of(EPOLL)
    finding.saturation = saturated
    found = bottleneck(finding, search.situation)
    assert found.what == "CPU"
    return found.sentence
