"""`--for`: rounds go where the ranking is open; on results that were made up, and on a clock of their own."""

import itertools
import json
import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from septet.lab import results, rounds
from septet.lab.experiment import Experiment, Run
from septet.lab.pinning import Pinning
from septet.lab.results import Results
from septet.lab.rounds import until_decided, with_short_windows
from support.made_up_results import valid

RUN_S = 2.0


class Bench:
    """Carries out runs that take RUN_S each, of models with these rates, on a machine that drifts."""

    def __init__(self, rates: dict[str, float], for_s: float, spread: float = 0.02) -> None:
        self.experiment = Experiment(
            out=Path("out"), models=tuple(rates), users=(20, 100), for_s=for_s, turns=2, seed=5
        )
        self.recorded: Results = results.begin(self.experiment, ["septet", "bench"])
        self.told: list[str] = []
        self.now_s = 0.0
        self.factors: dict[tuple[int, str], float] = {}
        """By number of users and model, for which the rate differs by this factor."""
        self._rates, self._spread, self._chance = rates, spread, random.Random(3)

    def go(self, runs: int | None = None) -> list[Run]:
        done = []
        rounds_of_runs = until_decided(self.experiment, self.recorded, self.told.append, lambda: self.now_s)
        for run in itertools.chain.from_iterable(rounds_of_runs):
            rate = self._rates[run.cell.model] * self.factors.get((run.cell.users, run.cell.model), 1.0)
            rate *= (1 + run.repeat % 2) * math.exp(self._chance.gauss(0, self._spread))
            record = valid(run.cell.model, run.cell.users, rate, repeat=run.repeat)
            self.recorded["runs"].append({**record, "took_s": RUN_S})
            self.now_s += RUN_S
            done.append(run)
            if len(done) == runs:
                break
        return done


def test_it_ends_when_all_is_decided() -> None:
    bench = Bench({"epoll": 4000, "threaded": 2000, "forking": 400}, 3600)
    done = bench.go()
    assert bench.recorded["ended"] == rounds.DECIDED
    assert 2 * 6 <= len(done) <= 4 * 6
    for turn in (1, 2):
        assert {run.cell for run in done if run.repeat == turn} == {*bench.experiment.cells()}


def test_rounds_go_where_it_is_open() -> None:
    bench = Bench({"epoll": 4000, "poll": 3600, "forking": 400}, 3600, 0.05)
    done = bench.go()
    assert bench.recorded["ended"] == rounds.DECIDED
    assert max(run.repeat for run in done) > 4
    assert {run.cell.model for run in done if run.repeat > 4} == {"epoll", "poll"}
    assert any("of 4 pairs of neighbours decided, open: " in told and "epoll ~ poll" in told for told in bench.told)


def test_the_next_round_is_for_the_users_with_most_to_decide() -> None:
    """At 20 users one pair is open, at 100 three; what is shared by neighbours is not decided in the time."""
    rates = {"epoll": 4000.0, "poll": 4000.0, "io_uring": 4000.0, "forking": 4000.0}
    bench = Bench(rates, 400, 0.2)
    bench.factors = {(20, "poll"): 0.01, (20, "io_uring"): 0.0001}
    took = Counter(run.cell.users for run in bench.go())
    assert took[100] > 2 * took[20]


def test_short_windows_have_a_round_of_more_turns() -> None:
    """A page of 100 us: 20 users wait 2 ms, and 40 answers take 80 ms; 1,000 users wait 0.1 s."""
    experiment = Experiment(out=Path("out"), models=("epoll", "poll"), users=(20, 60, 1000), turns=3, duration_s=0.8)
    shorter = with_short_windows(experiment, {"least_us": 150, "cpu_us": 100})
    assert shorter.short == ((20, 0.2), (60, 0.24))
    assert [shorter.short_s(users) for users in experiment.users] == [0.2, 0.24, None]
    assert Experiment.from_values(json.loads(json.dumps(shorter.values()))).short == shorter.short
    for block in shorter.round(shorter.cells(), 2):
        users = block[0].cell.users
        assert sorted({run.repeat for run in block}) == ([4, 5, 6] if users == 1000 else [*range(13, 25)])
        assert {shorter.place(run) for run in block} == {2}


@pytest.mark.parametrize(
    ("changed", "alone"),
    [
        ({}, {}),
        ({}, {"least_us": 20_000, "cpu_us": 100}),  # the page waits
        ({"cluster": "ssh:anna"}, {"least_us": 150, "cpu_us": 100}),
        ({"pinned": Pinning((0,), (1, 2))}, {"least_us": 150, "cpu_us": 100}),
    ],
)
def test_windows_that_are_not_shorter(changed: dict[str, Any], alone: dict[str, float]) -> None:
    experiment = Experiment(out=Path("out"), models=("epoll",), users=(20,), duration_s=0.8, **changed)
    assert with_short_windows(experiment, alone).short == ()


def test_time_is_up() -> None:
    bench = Bench({"epoll": 4000, "poll": 4000}, 100, 0.3)
    bench.go()
    assert bench.recorded["ended"] == rounds.TIME
    assert bench.now_s == 100


def test_every_cell_is_visited_whatever_it_takes() -> None:
    bench = Bench({"epoll": 4000, "poll": 4000}, 1)
    assert {run.cell for run in bench.go()} == {*bench.experiment.cells()}
    assert bench.recorded["ended"] == rounds.TIME


def test_the_first_round_is_finished_if_little_lacks() -> None:
    """Two models, two numbers of users, two turns: eight runs."""
    assert len(Bench({"epoll": 4000, "poll": 4000}, 7 * RUN_S - 1, 0.3).go()) == 8
    assert len(Bench({"epoll": 4000, "poll": 4000}, 6 * RUN_S - 1, 0.3).go()) == 7


def test_it_is_resumed_where_it_was() -> None:
    bench = Bench({"epoll": 4000, "poll": 4000}, 100, 0.3)
    first = bench.go(runs=9)
    bench.now_s = 5000.0
    rest = bench.go()
    assert not {*first} & {*rest}
    assert first[8].repeat == rest[0].repeat == 3
    assert len(first) + len(rest) == 100 / RUN_S, "time that was spent counts"


def test_who_is_compared_is_near_in_time() -> None:
    """A round has one number of users, and each of its turns all models."""
    experiment = Experiment(out=Path("out"), models=tuple("abcd"), users=(1, 10, 100), turns=3, repeats=2, seed=3)
    blocks = experiment.round(experiment.cells(), 7)
    assert len(blocks) == 3
    for block in blocks:
        assert len({run.cell.users for run in block}) == 1
        for at in range(0, len(block), 4):
            assert {run.cell.model for run in block[at : at + 4]} == {*"abcd"}
        assert sorted({run.repeat for run in block}) == [19, 20, 21]
    runs = experiment.runs()
    for at in range(0, len(runs), 4):
        assert len({(run.cell.users, run.repeat) for run in runs[at : at + 4]}) == 1


def test_turns_are_in_an_order_drawn_by_lot() -> None:
    experiment = Experiment(out=Path("out"), models=tuple("abcdefgh"), users=(20,), turns=2)
    cells = experiment.cells()
    ((*one,),) = experiment.round(cells, 1)
    assert [run.cell for run in one[:8]] != [run.cell for run in one[8:]]
    assert {run.cell for run in one[:8]} == {run.cell for run in one[8:]} == {*cells}
    assert [one] == experiment.round(cells, 1)
