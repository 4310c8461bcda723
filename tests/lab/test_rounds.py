"""`--for`: rounds go where the ranking is open; on results that were made up, and on a clock of their own."""

import itertools
import math
import random
from pathlib import Path

from septet.lab import results, rounds
from septet.lab.experiment import Experiment, Run
from septet.lab.results import Results
from septet.lab.rounds import until_decided
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
        self._rates, self._spread, self._chance = rates, spread, random.Random(3)

    def go(self, runs: int | None = None) -> list[Run]:
        done = []
        rounds_of_runs = until_decided(self.experiment, self.recorded, self.told.append, lambda: self.now_s)
        for run in itertools.chain.from_iterable(rounds_of_runs):
            rate = self._rates[run.cell.model] * (1 + run.repeat % 2) * math.exp(self._chance.gauss(0, self._spread))
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
