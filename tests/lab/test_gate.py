"""`septet bench --gate`: what fails it, and what does not."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from septet.errors import Failed, UsageError
from septet.lab import results
from septet.lab.compare.comparison import WORSE, compare
from septet.lab.experiment import Experiment
from septet.lab.gate import gate
from support.commands import septet, septet_here
from support.made_up_results import Record, failed, results_of, valid
from support.marks import draws

RATES = (1000.0, 1010.0, 990.0, 1005.0)


def runs(rate: float = 1.0, cpu: float = 1.0, verdict: str = "valid") -> list[Record]:
    """Four runs of a cell, with so many times the usual rate and CPU time of a request."""
    found = [valid("epoll", 20, each * rate, repeat=place) for place, each in enumerate(RATES, 1)]
    for place, record in enumerate(found):
        record["usage"]["cpu_s"] *= cpu * (1 + 0.002 * place)
        record["verdict"] = verdict
    return found


def written(path: Path, records: list[Record], **experiment: Any) -> Path:
    recorded = results_of(*records, **experiment)
    results.finish(recorded)
    path.mkdir()
    return results.write(recorded, path)


def measuring(*rounds: list[Record]) -> tuple[Callable[[Experiment, Any], None], list[Path]]:
    """What stands for a measurement: gives the records of one round after the other; and where each was to go."""
    left, places = iter(rounds), list[Path]()

    def measure(experiment: Experiment, recorded: Any) -> None:
        places.append(experiment.out)
        recorded["runs"] += next(left)
        results.finish(recorded)

    return measure, places


def gated(tmp_path: Path, *rounds: list[Record], before: Iterable[Record] = ()) -> tuple[int, list[Path]]:
    baseline = written(tmp_path / "baseline", list(before) or runs())
    measure, places = measuring(*rounds)
    return gate(baseline, tmp_path / "out", 1, 0.05, measure), places


def test_nothing_got_worse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, places = gated(tmp_path, runs(1.01, 1.01))
    assert (status, places) == (0, [tmp_path / "out"])
    told = capsys.readouterr().out
    assert "nothing got worse beyond noise" in told
    assert {"CPU/probe", "memory", "requests/s", "p99"} <= set(told.split())


def test_what_is_worse_twice_fails(tmp_path: Path) -> None:
    with pytest.raises(Failed) as caught:
        gated(tmp_path, runs(0.7, 1.4), runs(0.72, 1.35))
    assert "results.json at both looks: epoll, 20 users: CPU/probe; epoll, 20 users: requests/s" in str(caught.value)


def test_what_is_worse_once_does_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, places = gated(tmp_path, runs(0.7, 1.4), runs())
    assert status == 0
    assert places == [tmp_path / "out", tmp_path / "out" / "again"]
    assert "what was worse at the first look was not at the second" in capsys.readouterr().out


def test_another_figure_that_is_worse_the_second_time_does_not(tmp_path: Path) -> None:
    assert gated(tmp_path, runs(0.7, 1.0), runs(1.0, 1.4))[0] == 0


def test_on_a_disturbed_machine_the_rate_does_not_fail_it(tmp_path: Path) -> None:
    """It changes with what others do; CPU time in units of fixed work does not."""
    assert gated(tmp_path, runs(0.5, 1.0, "noisy"))[0] == 0
    with pytest.raises(Failed, match=r"CPU/probe$"):
        gate(tmp_path / "baseline", tmp_path / "b", 1, 0.05, measuring(*[runs(0.5, 2.0, "noisy")] * 2)[0])


def test_sittings_differ_more_than_the_repeats_of_one_show(tmp_path: Path) -> None:
    """Its repeats differ by less than 1 %; a gate that takes that for all would find 8 % worse."""
    assert gated(tmp_path, runs(1.0, 1.08), runs(1.0, 1.08))[0] == 0
    alone = compare(results_of(*runs()), results_of(*runs(1.0, 1.08)), ("CPU/probe",), 0.05)
    assert list(alone.with_outcome(WORSE))


def test_what_fails_is_worse(tmp_path: Path) -> None:
    dead = [failed("epoll", 20, "it ended", repeat=place) for place in range(1, 4)]
    with pytest.raises(Failed, match="epoll, 20 users: it fails, or has errors"):
        gated(tmp_path, dead, dead)


def test_a_tolerance(tmp_path: Path) -> None:
    baseline = written(tmp_path / "baseline", runs())
    assert gate(baseline, tmp_path / "out", 1, 0.5, measuring(runs(0.7, 1.4))[0]) == 0


def test_where_nothing_can_be_judged(tmp_path: Path) -> None:
    dead = [failed("epoll", 20, "it ended", repeat=place) for place in range(1, 4)]
    with pytest.raises(UsageError, match="nothing could be judged"):
        gated(tmp_path, dead, before=dead)


@pytest.mark.parametrize(
    ("records", "experiment", "said"),
    [
        (runs()[:1], {}, "has a cell that ran only once, which tells nothing of noise: take --repeats 5"),
        (runs(), {"for_s": 60.0}, "was measured with --for; a baseline is measured with --repeats 5"),
        (runs(), {"pinned": ((4000,), (0,))}, "used CPU 4000, which is not usable here"),
    ],
)
def test_baselines_that_cannot_be_used(
    records: list[Record], experiment: dict[str, Any], said: str, tmp_path: Path
) -> None:
    baseline = written(tmp_path / "baseline", records, **experiment)
    with pytest.raises(UsageError, match=said):
        gate(baseline, tmp_path / "out", 1, 0.05, measuring()[0])


@draws
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--gate", "nowhere"], "'nowhere' does not exist"),
        (["--gate", "empty"], "--gate: empty/results.json is not there"),
        (["hello", "--gate", "empty"], "--gate measures as its baseline did, so without APP"),
        (["--gate", "empty", "--users", "5"], "so without --users"),
        (["--tolerance", "5"], "--tolerance: it is that of --gate"),
    ],
)
def test_usage_errors(words: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = septet_here("bench", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr


@draws
@pytest.mark.timeout(300)
def test_a_gate_measures_what_its_baseline_measured(app: str, tmp_path: Path) -> None:
    """Where the baseline is made to say that a request took a twentieth of its CPU time, the gate fails."""
    times = ["--duration", "0.3", "--warmup", "0.1", "--warmup-max", "0.1", "--repeats", "2"]
    begun = septet("bench", app, "--models", "epoll", "--users", "2", *times, "--out", "before", cwd=tmp_path)
    assert begun.returncode == 0, begun.stderr
    path = tmp_path / "before" / "results.json"
    baseline = json.loads(path.read_text())
    for record in baseline["runs"]:
        record["usage"]["cpu_s"] /= 20
    path.write_text(json.dumps(baseline))
    done = septet("bench", "--gate", "before", "--out", "after", cwd=tmp_path)
    told = json.loads((tmp_path / "after" / "results.json").read_text())
    same = ("app", "models", "users", "repeats", "duration_s", "mode")
    assert {name: told["experiment"][name] for name in same} == {name: baseline["experiment"][name] for name in same}
    assert len(told["runs"]) == 2
    if told["runs"][0]["usage"]["probe_us"] is not None and "failed" not in {run["verdict"] for run in told["runs"]}:
        assert done.returncode in (0, 1), done.stderr
        assert "CPU/probe" in done.stdout
