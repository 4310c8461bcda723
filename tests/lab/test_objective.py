"""Objectives: how they are written, what a run misses of them, and the search for the highest rate that holds one."""

import math
import random
from dataclasses import replace
from typing import Any

import pytest

from septet.errors import UsageError
from septet.lab.load import Histogram, Plan
from septet.lab.objective.gauge import Gauge, Gauger, judged
from septet.lab.objective.interval import interval
from septet.lab.objective.objective import ERRORS, Objective, Term, figure, read
from septet.lab.objective.search import GAUGES_MAX, Found, Outcome, Search
from septet.lab.objective.told import as_csv, remarks, table, verdict

URL = "http://127.0.0.1/"


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("p99<50ms,errors<0.1%", [Term("p99", 50_000, False), Term(ERRORS, 0.001, False)]),
        ("p(95)<200ms, errors<0.01", [Term("p95", 200_000, False), Term(ERRORS, 0.01, False)]),
        ("avg<=1.5ms,errors<=0", [Term("mean", 1500, True), Term(ERRORS, 0, True)]),
        ("med<800us,max<2s,errors<5%", [Term("p50", 800), Term("max", 2e6), Term(ERRORS, 0.05)]),
        ("p99.9<1s", [Term("p99.9", 1e6), Term(ERRORS, 0.001, True)]),
    ],
)
def test_how_an_objective_is_written(text: str, terms: list[Term]) -> None:
    found = read(text)
    assert list(found.terms) == [replace(term, limit=pytest.approx(term.limit)) for term in terms]
    assert read(found.text) == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fast", "'fast' is no condition such as p99<50ms,errors<0.1%"),
        ("p99<50", "'p99<50' is a time, and needs a unit"),
        ("p99>50ms", "'p99>50ms' is no condition"),
        ("p99<50ms,p(99)<60ms", "names a figure twice"),
        ("p101<50ms", "at most 100"),
        ("errors<2ms", "errors are a share of all requests"),
        ("errors<120%", "errors are a share"),
        ("errors<0%", "errors<=0 allows none"),
        ("p99<0ms", "cannot be met"),
        ("p99<50%", "needs a unit"),
        ("", "'' is no condition"),
    ],
)
def test_what_is_no_objective(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(text)
    assert words in str(caught.value)


def load_of(latencies_us: list[int], errors: int = 0, rate: float = 100.0, **changes: Any) -> dict[str, Any]:
    histogram = Histogram()
    for us in latencies_us:
        histogram.record(us)
    due = len(latencies_us) + errors
    return {
        "latency_us": histogram.summary(),
        "histogram_us": histogram.sparse(),
        "answers": len(latencies_us),
        "errors": {"time-out": errors} if errors else {},
        "unanswered": 0,
        "due": due,
        "requests_per_s": rate * len(latencies_us) / due,
        "window_s": due / rate,
        "no_free_connection": 0,
        "send_late_us": {"p99": 50},
        "client": {"cpu_share": 0.2},
        **changes,
    }


def test_what_of_it_a_run_misses() -> None:
    objective = read("p50<2ms,p95<10ms,max<1s,errors<1%")
    good = load_of([1000] * 96 + [9000] * 4)
    assert objective.missed(good) == []
    assert figure(good, "p95") == 1003
    assert objective.missed(load_of([1000] * 90 + [20_000] * 10, errors=2)) == ["p95 20 ms", "errors 2%"]
    assert objective.missed(load_of([2000] * 100)) == ["p50 2 ms"], "2,000 us are in the bucket up to 2,007"
    assert objective.missed(load_of([], errors=5)) == ["no answer", "errors 1e+02%"]


def gauge_of(load: dict[str, Any], slo: str = "p99<50ms,errors<1%", users: int = 50, **machine: float) -> Gauge:
    plan = Plan(URL, rate=100.0, users=users)
    return judged(plan, load, read(slo), machine.get("others", 0.0), machine.get("steal", 0.0))


SLOW = [1000] * 90 + [80_000] * 10


def test_a_gauge_says_who_was_the_limit() -> None:
    assert gauge_of(load_of([1000] * 100)).outcome is Outcome.HELD
    assert gauge_of(load_of(SLOW)).outcome is Outcome.MISSED
    busy = gauge_of(load_of(SLOW, client={"cpu_share": 0.97}))
    assert (busy.outcome, busy.reason) == (Outcome.LIMITED, "p99 80 ms; the load generator used 97% of its CPU")
    few = gauge_of(load_of(SLOW, no_free_connection=40), users=2)
    assert few.outcome is Outcome.LIMITED
    assert "all 2 connections were busy: take more --users" in few.reason
    enough = gauge_of(load_of(SLOW, no_free_connection=40), users=50)
    assert enough.outcome is Outcome.MISSED, "so many busy connections are a latency above the limit"


def test_a_gauge_says_whether_others_had_the_cpus() -> None:
    others = gauge_of(load_of(SLOW), others=0.6)
    assert (others.outcome, others.reason) == (Outcome.DISTURBED, "p99 80 ms; other programs used 60% of the CPUs")
    assert gauge_of(load_of(SLOW), steal=0.1).outcome is Outcome.DISTURBED
    assert gauge_of(load_of(SLOW, send_late_us={"p99": 20_000})).outcome is Outcome.DISTURBED
    assert gauge_of(load_of([1000] * 100), others=0.9).outcome is Outcome.HELD, "nothing makes a server faster"


def test_wrong_answers_have_no_excuse() -> None:
    wrong = gauge_of(load_of([1000] * 90) | {"errors": {"status 503": 10}}, others=0.9)
    assert (wrong.outcome, wrong.reason) == (Outcome.MISSED, "errors 10%; 10 x status 503")
    assert gauge_of(load_of([1000] * 90, errors=10), others=0.9).outcome is Outcome.DISTURBED


def test_a_growing_queue_is_a_miss() -> None:
    """Requests of the last second may all be answered in time, and the next ones will not be."""
    slow = gauge_of(load_of([1000] * 1000, requests_per_s=90.0))
    assert (slow.outcome, slow.reason) == (Outcome.MISSED, "only 90/s were answered")


def test_a_gauge_has_connections_and_time_enough() -> None:
    gauger = Gauger(Plan(URL, duration_s=3.0), read("p99<100ms,errors<0.1%"), lambda plan: {})
    assert gauger.plan(5000).users == 500
    assert gauger.plan(100).users == 50
    assert gauger.plan(100).duration_s == 10.0, "1,000 requests have ten beyond the p99"
    assert gauger.plan(5000).duration_s == 3.0
    assert gauger.plan(1).duration_s == 30.0
    assert gauger.plan(100).timeout_s == 1.0
    own = Gauger(Plan(URL), read("p99<1s"), lambda plan: {}, users=7, duration_s=2.0, timeout_is_given=True).plan(5000)
    assert (own.users, own.duration_s, own.timeout_s) == (7, 2.0, 10.0)


# The search.


def searched(outcome: Any, start: float) -> tuple[Found, int]:
    """The result against `outcome`, a function of the rate, and how many gauges that took."""
    search, count = Search(start), 0
    while (rate := search.next_rate()) is not None:
        search.record(rate, outcome(rate))
        count += 1
    return search.result(), count


def up_to(capacity: float) -> Any:
    return lambda rate: Outcome.HELD if rate <= capacity else Outcome.MISSED


@pytest.mark.parametrize("capacity", [1.0, 9.0, 87.0, 1000.0, 25_000.0])
@pytest.mark.parametrize("start", [1.0, 70.0, 900.0, 20_000.0])
def test_the_search_ends_at_the_capacity(capacity: float, start: float) -> None:
    found, count = searched(up_to(capacity), start)
    assert found.high is not None
    assert found.low <= capacity < found.high
    assert found.high <= found.low * 1.0501 or count == GAUGES_MAX
    assert found.interval[0] < found.low
    assert found.interval[1] is not None
    assert found.interval[1] > found.high
    assert not found.limited
    assert count < GAUGES_MAX


def test_a_good_start_takes_few_gauges() -> None:
    counts = [searched(up_to(capacity), 700.0)[1] for capacity in (500.0, 650.0, 750.0, 900.0, 1100.0)]
    assert max(counts) <= 15


def test_no_miss_decides_alone_and_no_hold_ends_alone() -> None:
    search = Search(100.0)
    search.record(100.0, Outcome.MISSED)
    assert search.next_rate() == 100.0
    search.record(100.0, Outcome.HELD)
    assert search.next_rate() == 100.0, "one against one"
    search.record(100.0, Outcome.HELD)
    assert search.next_rate() > 100.0
    seen: list[float] = []

    def note(rate: float) -> Outcome:
        seen.append(rate)
        return up_to(1000.0)(rate)

    found, _ = searched(note, 700.0)
    assert seen.count(found.low) >= 2
    assert seen.count(found.high) >= 2


@pytest.mark.parametrize("scatter", [0.01, 0.1])
def test_the_interval_holds_the_capacity_where_gauges_scatter(scatter: float) -> None:
    """In 95 of 100 searches; of 40 in less than 34 by a chance of one in a thousand."""
    chance, inside = random.Random(4), 0
    for _ in range(40):

        def noisy(rate: float) -> Outcome:
            return Outcome.HELD if chance.gauss(math.log(1000 / rate), scatter) > 0 else Outcome.MISSED

        found, _ = searched(noisy, 700.0)
        low, high = found.interval
        assert high is not None
        assert high < 1.6 * low
        inside += low <= 1000 <= high
    assert inside >= 34


def test_an_interval_has_no_end_where_nothing_was_seen() -> None:
    assert interval([(100.0, True), (200.0, True)]) == (pytest.approx(200.0), None)
    assert interval([(100.0, False)]) == (0.0, pytest.approx(100.0))


def test_the_load_generator_is_a_lower_bound() -> None:
    found, _ = searched(lambda rate: Outcome.HELD if rate <= 1000 else Outcome.LIMITED, 700.0)
    assert found.limited
    assert 800 <= found.low <= 1000


def test_disturbance_is_repeated_once_and_leaves_a_doubt() -> None:
    seen: list[float] = []

    def disturbed(rate: float) -> Outcome:
        seen.append(rate)
        return Outcome.HELD if rate <= 1000 else Outcome.DISTURBED

    found, _ = searched(disturbed, 700.0)
    assert found.in_doubt
    assert seen.count(found.high) == 3
    found, _ = searched(up_to(1000.0), 700.0)
    assert not found.in_doubt


def test_nothing_is_held() -> None:
    found, count = searched(lambda rate: Outcome.MISSED, 700.0)
    assert found.low == 0
    assert found.high == 1.0
    assert count <= 20


# What is told.


def gauges_of(*rates: tuple[float, Outcome, str]) -> list[Gauge]:
    plain = gauge_of(load_of([1000] * 100))
    return [replace(plain, rate=rate, outcome=outcome, reason=reason) for rate, outcome, reason in rates]


SLO: Objective = read("p99<50ms,errors<1%")


def test_the_sentences() -> None:
    found = Found(1000.0, 1050.0, (950.0, 1050.0), limited=False, in_doubt=False)
    gauges = gauges_of((1000.0, Outcome.HELD, ""), (1050.0, Outcome.MISSED, "p99 80 ms"))
    assert verdict(SLO, found, gauges) == "p99<50ms,errors<1% is held up to 1,000 requests/s, and not at 1,050"
    assert remarks(found, gauges)[0] == ("95 % interval of that rate: 950 to 1,050 requests/s")
    assert "the machine was quiet" in remarks(found, gauges)[1]
    limited = gauges_of((1050.0, Outcome.LIMITED, "p99 80 ms; the load generator used 97% of its CPU"))
    assert verdict(SLO, replace(found, limited=True), limited).endswith(
        "maybe at more: at 1,050 the load generator used 97% of its CPU"
    )
    assert any("more CPUs" in each for each in remarks(found, limited))
    busy = [replace(each, others_share=0.6) for each in gauges]
    assert any("disturbed in 2 of 2 gauges" in each for each in remarks(found, busy))
    doubted = verdict(SLO, replace(found, in_doubt=True), gauges)
    assert doubted.endswith(
        "held at 1,000 requests/s and maybe at more: at 1,050 it was missed while other programs had the CPUs"
    )
    nothing = Found(0.0, 1.0, (0.0, 1.0), limited=False, in_doubt=False)
    assert "is not held, even at 1,000" in verdict(SLO, nothing, gauges)


def test_the_table_and_the_values() -> None:
    gauges = gauges_of((1000.0, Outcome.HELD, ""), (1000.0, Outcome.MISSED, "x, y"), (900.0, Outcome.HELD, ""))
    lines = table(gauges).splitlines()
    assert lines[0].split() == ["requests/s", "carried", "p50", "p99", "errors", "held"]
    assert lines[1].startswith("900")
    assert lines[2].endswith("1 of 2")
    values = as_csv(gauges).splitlines()
    assert values[0].startswith("rate,outcome,p50_us,p99_us,errors,reason,carried")
    assert values[2].startswith('1000.0,missed,1000,1000,0.0,"x, y"')
