"""Figures of the last minute, with the time as an argument."""

from time import monotonic

from septet.metrics.lanes import ANSWERS, BEGUN, CAPACITY, DURATION, DURATION_NS, bucket
from septet.metrics.reader import Reader
from septet.metrics.table import Table
from septet.metrics.window import WINDOW_S

SLOW_NS = 2_000_000_000


def answer(table: Table, took_ns: int) -> None:
    row = table.row
    row[BEGUN] += 1
    row[ANSWERS] += 1
    row[DURATION + bucket(took_ns)] += 1
    row[DURATION_NS] += took_ns


def test_quantiles_are_of_the_last_minute() -> None:
    table = Table.with_row()
    reader, now = Reader(table, lambda: "ready"), monotonic()
    reader.tick(now)
    answer(table, SLOW_NS)
    for _ in range(int(WINDOW_S) - 5):
        now += 1
        reader.tick(now)
    found = reader.status()
    assert (found["window_s"], found["durations"]["count"]) == (WINDOW_S, 1)
    assert found["durations"]["p99_s"] >= 2
    for _ in range(20):
        now += 1
        reader.tick(now)
    assert reader.status()["durations"] == {"count": 0, "mean_s": None, "p50_s": None, "p90_s": None, "p99_s": None}
    answer(table, 1_000_000)
    assert reader.status()["durations"]["p99_s"] < 0.01
    assert reader.status()["requests"]["answered"] == 2


def test_figures_of_a_table_that_is_taken_over_are_of_the_last_minute_as_well() -> None:
    table = Table.with_row()
    answer(table, SLOW_NS)
    assert Reader(table, lambda: "ready").status()["durations"]["count"] == 0


def test_mean_wait_for_a_thread() -> None:
    """Ten requests in flight, four of them in threads, two answered each second: six wait, each for three seconds."""
    table = Table.with_row()
    reader, now = Reader(table, lambda: "ready"), monotonic()
    assert reader.status()["thread_wait"] is None
    table.row[CAPACITY] = 4
    assert reader.status()["thread_wait"] == {"waiting": 0, "mean_s": None}
    table.row[BEGUN] = 10
    reader.tick(now)
    for _ in range(30):
        now += 1
        for _ in range(2):
            answer(table, SLOW_NS)
        reader.tick(now)
    assert reader.status()["thread_wait"] == {"waiting": 6, "mean_s": 3.0}
