"""Two results beside each other: what is judged, what is worse, what is only said."""

import json
import random
from typing import Any

import pytest

from septet.lab.compare import comparison_text
from septet.lab.compare.command import DEFAULT
from septet.lab.compare.comparison import BETTER, NO_DIFFERENCE, NOT_JUDGED, WORSE, Comparison, compare
from septet.lab.compare.differences import differences
from septet.lab.metrics import COMPARED
from septet.lab.results import Results
from septet.lab.statistics import ratio, repeats_for
from support.made_up_results import failed, results_of, valid, with_errors

Record = dict[str, Any]
RATES = (1000.0, 1010.0, 990.0, 1005.0, 995.0)


def runs(model: str, users: int, factor: float = 1.0, cpu: float = 1.0, **setting: str) -> list[Record]:
    """Five runs of a cell, with `factor` times the rate and `cpu` times the CPU time."""
    records = [valid(model, users, rate * factor, repeat=place, **setting) for place, rate in enumerate(RATES, 1)]
    for record in records:
        record["usage"]["cpu_s"] *= cpu
        record["usage"]["system_s"] *= cpu
    return records


def compared(a: list[Record], b: list[Record], **options: Any) -> Comparison:
    return compare(results_of(*a), results_of(*b), **{"metrics": DEFAULT, "tolerance": 0.05, **options})


def outcomes(found: Comparison, outcome: str) -> list[tuple[str, int | None, str | None]]:
    return [(row.label, row.users, metric) for row, metric in found.with_outcome(outcome)]


def test_metrics_are_figures() -> None:
    assert all(metric.figure is not None for metric in COMPARED.values())
    assert set(DEFAULT) <= COMPARED.keys()


def test_the_same_results() -> None:
    found = compared(runs("epoll", 20), runs("epoll", 20))
    (row,) = found.rows
    assert row.changes.keys() == set(DEFAULT)
    assert {change.outcome for change in row.changes.values()} == {NO_DIFFERENCE}
    assert row.changes["requests/s"].ratio.value == 1
    assert found.judged == 4
    assert not list(found.with_outcome(WORSE))


def test_slower_and_dearer_is_worse() -> None:
    found = compared(runs("epoll", 20), runs("epoll", 20, factor=0.8, cpu=1.25))
    assert outcomes(found, WORSE) == [("epoll", 20, "requests/s"), ("epoll", 20, "CPU/request")]
    change = found.rows[0].changes["requests/s"]
    assert change.ratio.value == pytest.approx(0.8)
    assert change.ratio.low is not None
    assert change.ratio.high is not None
    assert 0.75 < change.ratio.low < 0.8 < change.ratio.high < 0.85


def test_the_other_way_round_is_better() -> None:
    found = compared(runs("epoll", 20, factor=0.8, cpu=1.25), runs("epoll", 20))
    assert outcomes(found, BETTER) == [("epoll", 20, "requests/s"), ("epoll", 20, "CPU/request")]
    assert not outcomes(found, WORSE)


def test_within_the_tolerance_is_no_difference() -> None:
    a, b = runs("epoll", 20), runs("epoll", 20, cpu=1.04)
    assert not outcomes(compared(a, b), WORSE)
    assert outcomes(compared(a, b, tolerance=0.03), WORSE) == [("epoll", 20, "CPU/request")]


def test_within_noise_is_no_difference() -> None:
    slower = [valid("epoll", 20, rate, repeat=place) for place, rate in enumerate((700.0, 1100.0, 800.0), 1)]
    found = compared(runs("epoll", 20), slower, believed=frozenset({"valid", "noisy"}))
    assert found.rows[0].changes["requests/s"].ratio.value < 0.9
    assert not outcomes(found, WORSE)


def test_what_hides_in_each_cell_shows_in_the_line() -> None:
    """Each cell's repeats differ by 4 %: a change of 8 % is less than its interval, and more than that of them all."""

    def noisy(factor: float) -> list[Record]:
        return [
            valid("epoll", users, rate * factor, repeat=repeat)
            for users in (10, 20, 50, 100, 200, 500)
            for repeat, rate in enumerate((960.0, 1000.0, 1040.0), 1)
        ]

    found = compared(noisy(1), noisy(0.92), metrics=["requests/s"])
    assert outcomes(found, WORSE) == [("epoll", None, "requests/s")]


def test_many_cells_of_noise_raise_no_alarm() -> None:
    """With an interval of 95 % for each, one or two of 40 do."""
    chance = random.Random(1)  # one of the many for which that is so

    def series() -> list[float]:
        return [1000 * (1 + chance.uniform(-0.1, 0.1)) for _ in range(3)]

    a, b = ({users: series() for users in range(10, 50)} for _ in "ab")
    alone = [ratio([a[users]], [b[users]]) for users in a]
    assert any(abs(each.value - 1) > 0.05 and each.high is not None and each.high < 1 for each in alone)
    runs_a, runs_b = (
        [valid("epoll", users, rate, repeat=repeat) for users in side for repeat, rate in enumerate(side[users], 1)]
        for side in (a, b)
    )
    assert not outcomes(compared(runs_a, runs_b, metrics=["requests/s"]), WORSE)


def test_a_single_run_is_shown_and_not_judged() -> None:
    found = compared(runs("epoll", 20)[:1], runs("epoll", 20, factor=0.1)[:1])
    change = found.rows[0].changes["requests/s"]
    assert change.ratio.value == pytest.approx(0.1)
    assert change.ratio.low is change.ratio.high is None
    assert change.outcome == NOT_JUDGED
    said = comparison_text.sentences(found)
    assert "not judged (?): 1 cell that ran only once on one side, which tells nothing of noise: take --repeats" in said
    assert said[-1] == "nothing could be judged"


def marked(verdict: str) -> list[Record]:
    return [{**record, "verdict": verdict, "reason": "for a reason"} for record in runs("epoll", 20, factor=0.5)]


@pytest.mark.parametrize("verdict", ["noisy", "client-limited"])
@pytest.mark.parametrize("swapped", [False, True])
def test_cells_in_doubt_are_shown_and_not_judged(verdict: str, swapped: bool) -> None:
    a, b = (marked(verdict), runs("epoll", 20)) if swapped else (runs("epoll", 20), marked(verdict))
    found = compared(a, b)
    assert not outcomes(found, WORSE)
    assert {change.outcome for change in found.rows[0].changes.values()} == {NOT_JUDGED}
    assert f"not judged (?): 1 cell of which one side is {verdict}" in comparison_text.sentences(found)


def test_noisy_cells_are_judged_when_told() -> None:
    found = compared(runs("epoll", 20), marked("noisy"), believed=frozenset({"valid", "noisy"}))
    assert ("epoll", 20, "requests/s") in outcomes(found, WORSE)


def test_a_cell_that_newly_fails_is_worse() -> None:
    found = compared(runs("epoll", 20) + runs("epoll", 50), [*runs("epoll", 20), failed("epoll", 50, "it died")])
    assert outcomes(found, WORSE) == [("epoll", 50, None)]
    assert comparison_text.sentences(found)[0] == "worse: epoll, 50 users: was valid, is failed: it died"
    assert "failed" in comparison_text.text(found, "", [])


def test_a_cell_that_newly_has_errors_is_worse_though_it_is_faster() -> None:
    errors = [with_errors("epoll", 20, 9000, "9 of 10 requests failed")]
    assert outcomes(compared(runs("epoll", 20), errors), WORSE) == [("epoll", 20, None)]
    assert outcomes(compared(errors, runs("epoll", 20)), BETTER) == [("epoll", 20, None)]
    both = compared(errors, errors)
    assert not outcomes(both, WORSE)
    assert "not judged (?): 1 cell that failed on both sides" in comparison_text.sentences(both)


def test_cells_of_one_side_only_are_named() -> None:
    a = runs("epoll", 20) + runs("epoll", 1000) + runs("poll", 20)
    found = compared(a, runs("epoll", 20) + runs("io_uring", 20))
    assert [row.label for row in found.rows] == ["epoll"]
    assert "only in A: poll at 20 users; epoll at 1,000 users" in comparison_text.sentences(found)
    assert "only in B: io_uring at 20 users" in comparison_text.sentences(found)


def test_settings_are_compared_with_their_like() -> None:
    a = runs("epoll", 20, workers="1", threads="2") + runs("epoll", 20, workers="2", threads="2")
    b = runs("epoll", 20, threads="2", workers="2")  # swept in another order
    found = compared(a, b)
    assert [row.label for row in found.rows] == ["epoll threads=2 workers=2"]


def test_figures_that_are_not_known_are_left_out() -> None:
    a, b = runs("epoll", 20), runs("epoll", 20)
    b[0]["usage"]["pss_bytes"] = None
    a[0]["usage"]["cpu_s"] = 0.0  # nothing ran
    assert compared(a, b).rows[0].changes.keys() == {"requests/s", "p99"}
    assert "-" in comparison_text.text(compared(a, b), "", []).splitlines()[3]


def other(**changes: Any) -> Results:
    results: Results = results_of(*runs("epoll", 20))
    for part, values in changes.items():
        results[part] = {**results[part], **values}
    return results


def test_differences_are_said() -> None:
    a = other(machine={"cpu": "Fast", "packages": {"septet": "1", "h11": "1.0", "gone": "1"}})
    b = other(
        machine={"cpu": "Slow", "packages": {"septet": "2", "h11": "2.0"}},
        experiment={"app": "shop:app", "duration_s": 9.0, "users": [5], "out": "elsewhere", "seed": 99},
    )
    a["finished"] = b["finished"] = "2026-11-23T10:00:00+00:00"
    assert differences(a, a) == []
    assert differences(a, b) == [
        "processor: Fast in A, Slow in B",
        "application: septet.examples.guestbook:wsgi in A, shop:app in B",
        "seconds measured: 1.0 in A, 9.0 in B",
        "packages: gone 1 in A, not installed in B; h11 1.0 in A, 2.0 in B",
    ]
    b["finished"] = None
    assert differences(a, b)[-1] == "B was interrupted"


def test_what_an_older_version_did_not_record_is_no_difference() -> None:
    a, b = other(), other()
    del a["machine"]["governor"], b["experiment"]["profile"]
    assert not [said for said in differences(a, b) if "governor" in said or "profile" in said]


def test_another_command_behind_a_name() -> None:
    a = other(experiment={"others": [{"name": "peer", "command": "peer -w 1", "environment": {}}]})
    b = other(experiment={"others": [{"name": "peer", "command": "peer -w 2", "environment": {}}]})
    assert "command of peer: peer -w 1 in A, peer -w 2 in B" in differences(a, b)


def test_markdown_lets_nothing_of_the_application_through() -> None:
    bad = [failed("epoll", 20, "</td> | `rm`\n**boo**")]
    text = comparison_text.markdown(compared(runs("epoll", 20), bad), "A: x|y", ["kernel: 1 in A, 2 in B"])
    assert text.splitlines()[0] == "A: x\\|y"
    assert "kernel: 1 in A, 2 in B" in text.splitlines()[2]
    assert "\\</td\\> \\| \\`rm\\` \\*\\*boo\\*\\*" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows[1] == "| --- | --: | --: | --: | --: | --: |"
    assert {row.replace("\\|", "").count("|") for row in rows} == {7}


def test_markdown_marks_what_is_worse() -> None:
    text = comparison_text.markdown(compared(runs("epoll", 20), runs("epoll", 20, cpu=2)), "", [])
    assert "2.00 (2.00-2.00) **worse**" in text


def test_json_holds_everything() -> None:
    found = compared(runs("epoll", 20), runs("epoll", 20, cpu=2) + runs("poll", 20))
    plain = json.loads(comparison_text.as_json(found, "A; B", ["x"]))
    assert plain["differences"] == ["x"]
    assert plain["only_b"] == [["poll", 20]]
    (row,) = plain["rows"]
    change = row["changes"]["CPU/request"]
    assert change.pop("outcome") == "worse"
    assert change == pytest.approx({"value": 2, "low": 2, "high": 2, "repeats": 2})
    assert row["changes"]["requests/s"]["outcome"] == "no difference"


def test_what_could_have_been_seen_is_said() -> None:
    """Three runs of 10 % noise: so large a change, or so many repeats for 5 %."""
    a, b = runs("epoll", 20)[:3], runs("epoll", 20)[:3]
    for record, rate in zip([*a, *b], [900.0, 1000.0, 1100.0, 1090.0, 1010.0, 910.0], strict=True):
        record["load"]["requests_per_s"] = rate
        record["verdict"] = "valid"
    found = compared(a, b)
    for record in b:
        record["verdict"] = "noisy"
    unjudged = compared(a, b).rows[0].changes["requests/s"]
    assert (unjudged.outcome, unjudged.repeats is not None) == (NOT_JUDGED, True), "of a noisy cell it is said as well"
    change = found.rows[0].changes["requests/s"]
    assert change.visible is not None
    assert change.visible > 0.2
    assert change.repeats is not None
    assert 50 < change.repeats < 200
    (said,) = [each for each in comparison_text.sentences(found) if each.startswith("requests/s: ")]
    assert said == (
        f"requests/s: a change of less than {change.visible:.0%} in one cell could not have been seen (half of the "
        f"cells: more); to see 5% takes about {change.repeats} repeats of each side"
    )


def test_repeats_that_it_takes_are_enough() -> None:
    """With so many runs as noisy as these the interval is narrower than the change."""
    chance = random.Random(4)
    before, after = ([chance.lognormvariate(0, 0.05) for _ in range(6)] for _ in range(2))
    found = ratio([before], [after])
    repeats = repeats_for(0.05, found, 6, 0.95)
    assert repeats is not None
    many = [[chance.lognormvariate(0, 0.05) for _ in range(4 * repeats)] for _ in range(2)]
    seen = ratio([many[0]], [many[1]])
    assert seen.high is not None
    assert seen.high / seen.value - 1 < 0.05
    assert repeats_for(0.05, ratio([[1.0]], [[1.0]]), 1, 0.95) is None


def test_ratios() -> None:
    assert ratio([[1.0]], [[2.0]]) == (2.0, None, None)
    assert ratio([[1.0, 4.0]], [[1.0, 4.0]]).value == 1
    assert ratio([[1.0], [1.0]], [[2.0], [8.0]]).value == pytest.approx(4)
    # Welch's interval of the logarithms 0, 1, 2 and 1, 2, 3: 1 +- 2.776 x sqrt(2/3), with 4 degrees of freedom
    found = ratio([[1.0, 2.718281828, 7.389056099]], [[2.718281828, 7.389056099, 20.08553692]])
    assert found.low == pytest.approx(0.2818, rel=0.001)
    assert found.high == pytest.approx(26.22, rel=0.001)


def test_more_certainty_needs_a_wider_interval() -> None:
    before, after = [1.0, 1.1, 0.9], [1.0, 1.2, 0.8]
    reaches = [ratio([before], [after], level).high for level in (0.9, 0.95, 0.999)]
    assert reaches == sorted(reaches, key=lambda high: high or 0)
    assert len(set(reaches)) == 3
