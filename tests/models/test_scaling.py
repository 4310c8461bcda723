"""How many workers there are to be, if `--workers` is a range: decisions, without processes."""

import logging

import pytest

from septet.processes.scaling import AIM, FULL_S, GROW_S, HIGH, HOLD_S, LOW, SHRINK_S, Balance, Scaling


class Run:
    """A server in which each worker does as much as its share of the load."""

    def __init__(self, least: int, most: int) -> None:
        self.scaling = Scaling(least, most)
        self.count = least
        self.now = 1000.0
        self.counts: list[int] = []

    def under(self, load: float, seconds: float) -> list[int]:
        """Load: in workers. Gives the number after each second."""
        for _ in range(round(seconds)):
            self.now += 1
            self.count = self.scaling.wanted(self.count, min(1.0, load / self.count), self.now)
            self.counts.append(self.count)
        return self.counts[-round(seconds) :]


@pytest.fixture
def run() -> Run:
    return Run(1, 8)


def test_grows_under_load_and_shrinks_without(run: Run) -> None:
    assert run.under(0.3, 100) == [1] * 100
    run.under(4.0, 60)
    assert 4 / HIGH <= run.count < 4 / LOW
    assert run.under(0.0, SHRINK_S * 8)[-1] == 1


def test_never_above_the_most_nor_below_the_least() -> None:
    run = Run(2, 3)
    assert max(run.under(100.0, 100)) == 3
    assert min(run.under(0.0, 200)) == 2


def test_noise_of_a_moment_changes_nothing(run: Run) -> None:
    for _ in range(20):
        run.under(1.0, GROW_S / 2)
        run.under(0.2, GROW_S)
    assert set(run.counts) == {1}
    run.under(3.0, 60)
    before = run.count
    for _ in range(5):
        run.under(0.0, SHRINK_S / 6)
        run.under(before * AIM, SHRINK_S)
    assert run.counts[-1] == before


@pytest.mark.parametrize("load", [0.5, 0.79, 0.81, 1.0, 1.5, 2.2, 3.0, 4.1, 5.0, 6.3])
def test_steady_load_does_not_swing(run: Run, load: float) -> None:
    run.under(load, 120)
    assert len(set(run.under(load, 600))) == 1


def test_grows_to_the_double_at_most(run: Run) -> None:
    run.under(8.0, 60)
    steps = sorted(set(run.counts))
    assert steps == [1, 2, 4, 7, 8] or steps == [1, 2, 4, 8]


def test_order_is_kept_for_a_while(run: Run) -> None:
    run.count = run.scaling.ordered(5, run.now)
    assert run.under(0.0, HOLD_S - 1) == [5] * round(HOLD_S - 1)
    assert run.under(0.0, SHRINK_S * 8)[-1] == 1


@pytest.mark.parametrize(("ordered", "count"), [(0, 1), (9, 8)])
def test_order_outside_of_the_range(run: Run, ordered: int, count: int) -> None:
    assert run.scaling.ordered(ordered, run.now) == count


def found(balance: Balance, shares: dict[int, float], seconds: float, begin: float = 1000.0) -> list[float]:
    """After how many seconds worker 1 is to be replaced."""
    times = []
    for second in range(round(seconds)):
        if worker := balance.overloaded(shares, begin + second):
            assert worker == 1
            times.append(second)
    return times


def test_worker_that_is_busy_alone_is_replaced_ever_more_seldom() -> None:
    times = found(Balance(), {1: 1.0, 2: 0.1, 3: 0.3}, 80)
    assert times == [GROW_S, GROW_S + 1 + 2 * GROW_S, GROW_S + 2 + 6 * GROW_S, GROW_S + 3 + 14 * GROW_S]


@pytest.mark.parametrize("shares", [{1: 1.0}, {1: 0.9, 2: 0.6}, {1: 0.7, 2: 0.0}])
def test_workers_in_balance_stay(shares: dict[int, float]) -> None:
    assert not found(Balance(), shares, 100)


def test_balance_after_a_change() -> None:
    balance = Balance()
    assert len(found(balance, {1: 1.0, 2: 0.1}, 20)) == 2
    balance.reset()
    assert found(balance, {1: 1.0, 2: 0.1}, GROW_S + 1, 2000.0) == [GROW_S]


def test_the_limit_is_told_once(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "septet"):
        run.under(20.0, 60 + 3 * FULL_S)
        assert caplog.text.count("SEP132") == 1
        run.under(1.0, 20)
        run.under(20.0, 60 + 3 * FULL_S)
        assert caplog.text.count("SEP132") == 2
    assert "SEP131 2 workers are wanted: the one was busy for 100 % of 5 s" in caplog.text
