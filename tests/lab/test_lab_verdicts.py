"""Whether figures may be believed: the verdicts on runs and cells, and what the statistics say."""

from typing import Any

import pytest

from septet.lab.statistics import estimate, variation
from septet.lab.summary import summaries
from septet.lab.verdicts import judge, judge_all
from support.made_up_results import failed, results_of, valid

CPUS = 4


def changed(**parts: dict[str, Any]) -> dict[str, Any]:
    """A valid run with other values in its load or usage."""
    record = valid("epoll", 20, 1000)
    for part, values in parts.items():
        record[part] = {**record[part], **values}
    return record


@pytest.mark.parametrize(
    ("load", "verdict", "reason"),
    [
        ({}, "valid", None),
        ({"errors": {"reset": 1}}, "valid", None),
        (
            {"errors": {"reset": 1, "time-out": 2}, "answers": 997},
            "errors",
            "3 of 1,000 requests failed: 1 x reset, 2 x time-out",
        ),
        ({"errors": {"refused": 5}, "answers": 0}, "failed", "no request was answered as it should be: 5 x refused"),
        (
            {"answers": 0, "unanswered": 20, "longest_unanswered_us": 2_500_000},
            "failed",
            "no request was answered as it should be: 20 users still waited after 2.5 s",
        ),
        ({"users_never_answered": 4}, "errors", "4 users had no answer by the end"),
        (
            {"users_never_answered": 4, "answers": 16},
            "errors",
            "4 users had no answer by the end: a longer --duration would serve them",
        ),
        (
            {"client": {"cpu_share": 0.9, "user_s": 0.0, "system_s": 0.0}},
            "client-limited",
            "the load generator used more than 85% of a CPU and may be the limit",
        ),
        (
            {"send_late_us": {"p99": 1500}},
            "client-limited",
            "the load generator sent requests more than 1 ms too late",
        ),
        (
            {"latency_us": {"mean": 15_000}},
            "noisy",
            "rate times latency makes 15 users, not 20 (Little's law): some stood still",
        ),
    ],
)
def test_verdict_on_a_run(load: dict[str, Any], verdict: str, reason: str | None) -> None:
    assert judge(changed(load=load), CPUS) == (verdict, reason)


def test_littles_law_is_for_the_closed_loop_and_many_answers() -> None:
    wrong = {"latency_us": {"mean": 15_000}}
    assert judge(changed(load={**wrong, "plan": {"rate": 100.0, "users": 20}}), CPUS)[0] == "valid"
    assert judge(changed(load={**wrong, "answers": 100}), CPUS)[0] == "valid"


def test_a_busy_machine_is_named() -> None:
    """Half of the CPUs' time in the window of 1 s went to neither the server nor the generator."""
    verdict, reason = judge(changed(usage={"machine_busy_s": 2.1}), CPUS)
    assert verdict == "noisy"
    assert "other programs took more than a quarter of the CPUs" in str(reason)
    verdict, reason = judge(changed(usage={"machine_steal_s": 0.1}), CPUS)
    assert (verdict, reason) == ("noisy", "the hypervisor took more than 2% of the CPUs away")


def repeated(*rates: float) -> list[dict[str, Any]]:
    return [valid("epoll", 20, rate, repeat=place) for place, rate in enumerate(rates, 1)]


def test_verdict_on_a_cell() -> None:
    assert judge_all(repeated(1000, 1010, 990)) == ("valid", None)
    assert judge_all(repeated(1000, 500, 1500)) == ("noisy", "the repeats differ by 50% of their mean")
    assert judge_all(repeated(*[900, 1000, 1100] * 2)) == ("valid", None)
    assert judge_all(repeated(*[800, 1000, 1200] * 2)) == ("noisy", "the repeats differ by 18% of their mean")
    assert judge_all(repeated(*[800, 1000, 1200] * 4)) == ("valid", None)  # their mean is as certain as that of few
    one_noisy = [*repeated(1000, 1010), {**valid("epoll", 20, 1000), "verdict": "noisy", "reason": "x"}]
    assert judge_all(one_noisy) == ("valid", None)  # the median is not that one's
    two_failed = [*repeated(1000), failed("epoll", 20, "it died"), failed("epoll", 20, "it died")]
    assert judge_all(two_failed) == ("failed", "it died")
    one_failed = [*repeated(1000, 1010), failed("epoll", 20, "it died")]
    assert judge_all(one_failed) == ("errors", "1 of 3 runs failed: it died")


def test_summary_of_a_cell() -> None:
    (cell,) = summaries(results_of(*repeated(1000, 1010, 990)))
    assert cell.runs == 3
    assert cell.figures["requests_per_s"] == (1000, 990, 1010)
    assert cell.latencies.count == 3000
    assert cell.median("cpu_us") == pytest.approx(50)
    assert cell.median("voluntary_switches") == pytest.approx(0.8)
    assert cell.median("p99.99_us") is not None
    assert cell.median("no such figure") is None


def test_a_failed_cell_has_no_figures() -> None:
    (cell,) = summaries(results_of(failed("epoll", 20, "x"), failed("epoll", 20, "x", repeat=2)))
    assert cell.figures == {}
    assert cell.latencies.count == 0


def test_settings_are_cells_of_their_own() -> None:
    cells = summaries(results_of(valid("epoll", 20, 1000, backlog="10"), valid("epoll", 20, 900)))
    assert [cell.label for cell in cells] == ["epoll backlog=10", "epoll"]


def test_estimates() -> None:
    assert estimate([]) is None
    assert estimate([5.0]) == (5.0, None, None)
    assert estimate([5.0, 6.0]) == (5.5, None, None)
    assert estimate([7.0] * 5) == (7.0, 7.0, 7.0)
    found = estimate([float(value) for value in range(100)])
    assert found is not None
    assert found.median == 49.5
    assert found.low is not None
    assert found.high is not None
    assert 30 < found.low < 45 < 55 < found.high < 70  # 49.5 ± 1.96 x 1.25 x 29 / sqrt(100), nearly


def test_variation() -> None:
    assert variation([]) == variation([5.0]) == variation([3.0, 3.0]) == 0.0
    assert variation([90.0, 110.0]) == pytest.approx(0.1414, abs=0.001)


def test_more_cpus_for_the_load_generator_are_not_asked_for_where_others_use_its_own() -> None:
    late = {"send_late_us": {"p99": 1500}, "plan": {"rate": None, "users": 20, "cpus": [1]}}
    alone = changed(load=late, usage={"client_cpus_busy_s": 0.05, "client_cpus_steal_s": 0.0})
    assert judge(alone, CPUS)[0] == "client-limited"
    shared = changed(load=late, usage={"client_cpus_busy_s": 0.6, "client_cpus_steal_s": 0.0})
    verdict, reason = judge(shared, CPUS)
    assert (verdict, reason) == (
        "noisy",
        "other programs took 57% of the load generator's CPUs: repeat this when nothing else runs",
    )
