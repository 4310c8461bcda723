"""When a process is to be replaced."""

import os

from septet.metrics.proc import proportional_bytes
from septet.processes.recycling import Recycling, RequestCount


def test_age_is_drawn_anew_for_each_process() -> None:
    recycling = Recycling(age_s=1000.0)
    lives = [recycling.begin(1) for _ in range(50)]
    untils = sorted(life.until for life in lives)
    assert 1 < untils[-1] - untils[0] <= 101
    assert not lives[0].why_over(untils[0] - 1)
    assert lives[0].why_over(untils[-1])


def test_memory_is_that_of_the_process() -> None:
    used = proportional_bytes(os.getpid())
    assert used is not None
    assert used > 1 << 20
    assert Recycling(memory=used // 2).begin(os.getpid()).why_over(100.0).startswith("it uses ")
    assert not Recycling(memory=used * 2).begin(os.getpid()).why_over(100.0)
    assert proportional_bytes(0) is None


def test_nothing_is_due_without_limits() -> None:
    assert not Recycling()
    assert not Recycling().begin(os.getpid()).why_over(1e12)


def test_requests_are_counted_once() -> None:
    over: list[int] = []
    count = RequestCount(3, 2)
    count.begin(lambda: over.append(1))
    numbers = []
    for number in range(1, 20):
        count.ended(None)
        if over and not numbers:
            numbers.append(number)
    assert over == [1]
    assert 3 <= numbers[0] <= 5
