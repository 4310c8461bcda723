"""Comparisons in pairs, tried on results that were made up: what is so is found, and what is not is not claimed."""

import math
import random

from septet.lab import pairs
from septet.lab.bench_command import TURNS
from septet.lab.pairs import DECIDED, EQUAL, LIMITED, OPEN, SERVER_SPREAD, Standings, standings
from septet.lab.ranking import LOOKS_MAX, LOOKS_SHARE

MODELS = {"epoll": 4000.0, "prethreaded": 3200.0, "threaded": 2500.0, "forking": 400.0}


def a_round(chance: random.Random, levels: dict[str, float], spread: float) -> dict[str, float]:
    """One run of each contender, on a machine whose speed differs by up to a factor of two from round to round."""
    speed = chance.choice([0.5, 1.0]) * chance.uniform(0.9, 1.1)
    return {label: level * speed * math.exp(chance.gauss(0, spread)) for label, level in levels.items()}


def measured(chance: random.Random, levels: dict[str, float], spread: float, rounds: int) -> Standings:
    values: dict[str, dict[int, float]] = {label: {} for label in levels}
    for place in range(rounds):
        for label, value in a_round(chance, levels, spread).items():
            values[label][place] = value
    return standings(values, True)


def test_the_order_is_found_though_the_speed_drifts() -> None:
    chance = random.Random(7)
    found = [measured(chance, MODELS, 0.03, 4) for _ in range(100)]
    assert all(each.order == tuple(MODELS) for each in found)
    decided = sum(len(each.tiers) == len(MODELS) for each in found)
    assert decided >= 95


def test_a_ratio_is_within_its_interval() -> None:
    chance = random.Random(8)
    held = 0
    for _ in range(400):
        ratio = measured(chance, {"a": 1000.0, "b": 800.0}, 0.05, 4).pair("a", "b").ratio
        assert ratio.low is not None
        assert ratio.high is not None
        held += ratio.low <= 1.25 <= ratio.high
    assert 0.92 <= held / 400 <= 0.98


def stops_when_decided(chance: random.Random, spreads: dict[str, float], rounds: int) -> bool:
    """Whether an order is claimed where there is none, after any round or at the end; what is not open is measured no
    further.

    A server of its own makes a contender a little slower or faster for the turns of a round.
    """
    values: dict[str, dict[int, float]] = {label: {} for label in spreads}
    still = set(spreads)
    for place in range(rounds):
        servers = {label: chance.gauss(0, SERVER_SPREAD) for label in still}
        for turn in range(place * TURNS + 1, place * TURNS + TURNS + 1):
            speed = chance.choice([0.5, 1.0]) * chance.uniform(0.9, 1.1)
            for label in still:
                values[label][turn] = speed * math.exp(servers[label] + chance.gauss(0, spreads[label]))
        found = standings(values, True, 1 / LOOKS_SHARE, turns=TURNS)
        if any(pair.outcome == DECIDED for pair in found.pairs.values()):
            return True
        still = {label for pair in found.neighbours if pair.outcome == OPEN for label in (pair.ahead, pair.behind)}
    found = standings(values, True, 1 / (1 - LOOKS_SHARE * LOOKS_MAX), turns=TURNS)
    return any(pair.outcome == DECIDED for pair in found.pairs.values())


def test_no_order_is_claimed_where_there_is_none() -> None:
    """Fewer than 5 of 100 experiments, though each is looked at after every round, and some contenders are noisier."""
    chance = random.Random(9)
    alarms = 0
    for _ in range(150):
        spreads = {label: chance.choice([0.03, 0.06, 0.12]) for label in "abcdefgh"}
        alarms += stops_when_decided(chance, spreads, 5)
    for _ in range(250):
        alarms += stops_when_decided(chance, {"a": 0.05, "b": 0.05}, 8)
    assert alarms < 0.05 * 400


def with_strays(chance: random.Random, levels: dict[str, float], turns: int) -> Standings:
    """Figures with noise of 4 %, of which one in eight is 1.3 to 2 times too low."""
    values: dict[str, dict[int, float]] = {label: {} for label in levels}
    for turn in range(turns):
        for label, value in a_round(chance, levels, 0.04).items():
            values[label][turn] = value / (chance.uniform(1.3, 2.0) if chance.random() < 1 / 8 else 1.0)
    return standings(values, True)


def test_no_wrong_order_beside_others_that_are_certain() -> None:
    """What the certain pairs leave to the others is theirs: two of equals, and six that are far away from all."""
    chance = random.Random(13)
    levels = {"a": 1000.0, "b": 1000.0, "c": 600.0, "d": 600.0, "e": 300.0, "f": 300.0, "g": 100.0, "h": 20.0}
    alarms = told = 0
    for _ in range(1000):
        found = measured(chance, levels, 0.03, 8).pairs.values()
        alarms += any(pair.outcome == DECIDED and levels[pair.ahead] <= levels[pair.behind] for pair in found)
        told += sum(pair.outcome == DECIDED for pair in found)
    assert alarms <= 0.065 * 1000, "5 %, and what chance may add to that in 1,000 experiments"
    assert told >= 1000 * (28 - 3)


def test_pairs_that_are_decided_leave_their_share_to_the_others() -> None:
    near, far = (pairs._Tested("a", "b", value, 1.0, 200, 8) for value in (2.5, 10.0))
    assert near.value > near.reach(pairs._holm([near, *[far] * 27], 1.0))
    assert near.value < near.reach(pairs._holm([near, *[near] * 27], 1.0))
    assert near.value < near.reach(pairs._holm([near, *[far] * 27], 5.0)), "if five rankings share the error rate"


def test_strays_neither_hide_an_order_nor_make_one() -> None:
    chance = random.Random(11)
    apart = {label: 1000.0 * 1.15**place for place, label in enumerate("abcdef")}
    told = sum(pair.outcome == DECIDED for _ in range(20) for pair in with_strays(chance, apart, 12).pairs.values())
    assert told > 0.9 * 20 * 15
    alarms = sum(
        any(pair.outcome == DECIDED for pair in with_strays(chance, dict.fromkeys("abcdef", 1000.0), 12).pairs.values())
        for _ in range(200)
    )
    assert alarms <= 0.05 * 200


def test_equals_are_called_equal() -> None:
    found = measured(random.Random(10), {"a": 1000.0, "b": 1000.0, "c": 500.0}, 0.01, 6)
    assert found.pair("a", "b").outcome == EQUAL
    assert [sorted(tier) for tier in found.tiers] == [["a", "b"], ["c"]]


def test_two_rounds_decide_nothing() -> None:
    values = {"a": {1: 10.0, 2: 20.0}, "b": {1: 1.0, 2: 2.0}}
    pair = standings(values, True).pair("a", "b")
    assert (pair.outcome, pair.rounds, pair.ratio.low) == (OPEN, 2, None)


def test_only_rounds_that_both_have_are_compared() -> None:
    """b was measured on, when the machine had become four times as fast."""
    values = {"a": {1: 100.0, 2: 102.0, 3: 99.0}, "b": {1: 50.0, 2: 50.5, 3: 50.2, 4: 200.0, 5: 201.0}}
    found = standings(values, True)
    assert found.order == ("a", "b")
    assert found.pair("a", "b").outcome == DECIDED
    assert 1.9 < found.pair("a", "b").ratio.value < 2.1


def test_less_may_be_better() -> None:
    values = {"a": {1: 10.0, 2: 20.0, 3: 11.0}, "b": {1: 31.0, 2: 61.0, 3: 33.0}}
    found = standings(values, False)
    assert found.order == ("a", "b")
    assert 2.9 < found.pair("a", "b").ratio.value < 3.2


def test_no_lead_over_what_the_load_generator_limited() -> None:
    values = {"a": {1: 100.0, 2: 102.0, 3: 99.0}, "b": {1: 50.0, 2: 50.5, 3: 50.2}}
    assert standings(values, True, at_least=frozenset("b")).pair("a", "b").outcome == LIMITED
    assert standings(values, True, at_least=frozenset("a")).pair("a", "b").outcome == DECIDED


def test_a_tier_is_ahead_of_all_later_ones() -> None:
    """c is decidedly behind b, its neighbour, and not behind a: no line is drawn between them."""
    pair = pairs.Pair("a", "b", pairs.Ratio(1.1, 0.9, 1.3), OPEN, 4)
    decided = pairs.Pair("b", "c", pairs.Ratio(1.1, 1.05, 1.2), DECIDED, 4)
    far = pairs.Pair("a", "c", pairs.Ratio(1.2, 0.9, 1.5), OPEN, 4)
    found = {frozenset((each.ahead, each.behind)): each for each in (pair, decided, far)}
    assert Standings(("a", "b", "c"), found).tiers == [["a", "b", "c"]]
    assert Standings(("b", "c"), found).tiers == [["b"], ["c"]]
