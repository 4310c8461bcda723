"""The capacity_search search on servers that are made up: it needs no network to be right or wrong."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.lab.advise.capacity_search import TOLERANCE, TRIALS_MAX, CapacitySearch, Outcome
from support.made_up_machine import find, holding


@pytest.mark.parametrize("capacity", [60.0, 97.0, 100.0, 104.0, 130.0, 900.0, 40.0])
def test_finds_what_the_server_holds(capacity: float) -> None:
    bracket, tried = find(CapacitySearch(100), holding(capacity))
    assert bracket.high is not None
    assert bracket.low <= capacity <= bracket.high <= bracket.low * (1 + TOLERANCE)
    assert len(tried) <= 12
    assert (bracket.at_least, bracket.in_doubt, bracket.wavered) == (False, False, False)


@given(st.floats(1, 1e6), st.floats(0.3, 3))
def test_the_bracket_holds_the_truth(capacity: float, ratio: float) -> None:
    bracket, _ = find(CapacitySearch(capacity * ratio, floor=capacity / 100), holding(capacity))
    assert bracket.low <= capacity
    assert bracket.high is None or capacity < bracket.high


def test_a_gauge_that_is_right_costs_few_trials() -> None:
    _, tried = find(CapacitySearch(92), holding(98))
    assert len(tried) <= 6


def test_the_broken_edge_is_tried_again() -> None:
    """What was broken once by a neighbour is not taken for the server's limit."""
    disturbed = [True]

    def outcome(rate: float) -> Outcome:
        if rate < 100 and disturbed:
            disturbed.pop()
            return Outcome.BROKEN
        return holding(200)(rate)

    bracket, tried = find(CapacitySearch(92), outcome)
    assert tried.count(92) >= 2
    assert bracket.low > 150


def test_noise_does_not_lead_far_astray() -> None:
    """One trial in five is broken for no reason of the server's."""
    found = []
    for seed in range(40):
        chance = random.Random(seed)
        server = holding(1000)
        bracket, _ = find(
            CapacitySearch(920), lambda rate, c=chance, s=server: Outcome.BROKEN if c.random() < 0.2 else s(rate)
        )
        assert bracket.low <= 1000
        found.append(bracket.low)
    assert sorted(found)[len(found) // 2] > 850


def test_nothing_is_held() -> None:
    bracket, tried = find(CapacitySearch(100, floor=10), holding(0))
    assert bracket.low == 0
    assert min(tried) == 10
    assert tried.count(10) == 2, "the last word is asked for twice"


def test_the_load_generator_is_the_limit() -> None:
    bracket, _ = find(CapacitySearch(100), lambda rate: Outcome.HELD if rate <= 300 else Outcome.LIMITED)
    assert bracket.at_least
    assert bracket.high is None
    assert 200 < bracket.low <= 300


def test_the_server_breaks_below_the_generators_limit() -> None:
    def outcome(rate: float) -> Outcome:
        return Outcome.LIMITED if rate > 150 else holding(120)(rate)

    bracket, _ = find(CapacitySearch(200), outcome)
    assert not bracket.at_least
    assert bracket.low <= 120 < (bracket.high or 0)


def test_a_disturbed_trial_is_repeated_and_then_doubted() -> None:
    bracket, tried = find(CapacitySearch(100), lambda rate: Outcome.DISTURBED if rate > 90 else Outcome.HELD)
    assert tried[:2] == [100, 100]
    assert bracket.in_doubt
    assert 80 < bracket.low <= 90


def test_a_rate_with_two_minds_is_asked_for_a_majority() -> None:
    answers = iter([Outcome.BROKEN, *[Outcome.HELD] * 20])
    capacity_search = CapacitySearch(100)
    capacity_search.record(100, Outcome.HELD)
    capacity_search.record(100, Outcome.BROKEN)
    assert capacity_search.next_rate() == 100
    bracket, _ = find(capacity_search, lambda rate: next(answers))
    assert bracket.wavered


def test_held_above_what_was_broken_twice_is_not_believed() -> None:
    """Outcomes that are not monotone: the lower highest_held is the one to build on."""
    capacity_search = CapacitySearch(100)
    for rate, outcome in ((80, Outcome.HELD), (100, Outcome.BROKEN), (100, Outcome.BROKEN), (120, Outcome.HELD)):
        capacity_search.record(rate, outcome)
    assert capacity_search.result().low == 80
    assert capacity_search.result().high == 100


def test_it_ends() -> None:
    chance = random.Random(1)
    for _ in range(200):
        bracket, tried = find(CapacitySearch(100), lambda rate: chance.choice(list(Outcome)))
        assert len(tried) <= TRIALS_MAX
        assert bracket.trials == len(tried)
