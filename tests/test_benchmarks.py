"""The comparison with other servers: that what it would print is right. The measuring itself needs the other servers
and a quiet machine, and is left to `make bench-peers`."""

import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(autouse=True)
def _own_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The scripts import each other by plain names, such as `apps`, which must not stay for other tests."""
    before = dict(sys.modules)
    for script in BENCHMARKS.glob("*.py"):
        sys.modules.pop(script.stem, None)
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    sys.modules.clear()
    sys.modules.update(before)


def load(**changes: Any) -> dict[str, Any]:
    """A raw block of 100,000 requests at 10 µs in 2 s."""
    block = {"requests": 100_000, "duration_us": 2_000_000, "bytes": 1, "p50_us": 1, "p99_us": 1500, "errors": {}}
    return block | {"cpu_user_s": 0.6, "cpu_system_s": 0.4} | changes


def outcome_of(results: ModuleType, **cpu_user_s: list[float]) -> Any:
    """An outcome in which each contender (`septet`, `peer`, `other`) ran once for each of its user times."""
    scenarios, contenders = import_module("scenarios"), import_module("contenders")
    names = {name: contenders.Contender(name, lambda site: []) for name in cpu_user_s}
    scenario = scenarios.Scenario("s", "t", tuple(names.values()), (), b"Hello, world")
    rows = [
        results.Row(names[name], "1.0", blocks=[load(cpu_user_s=second, cpu_system_s=0.0) for second in seconds])
        for name, seconds in cpu_user_s.items()
    ]
    return results.Outcome(scenario, rows)


def test_a_block_gives_cost_rate_and_use() -> None:
    figures = import_module("measure").figures(load(errors={"read": 2, "status": 3}))
    assert figures["cpu_us"] == pytest.approx(10)
    assert figures["requests_per_s"] == pytest.approx(50_000)
    assert figures["busy_percent"] == pytest.approx(50)
    assert figures["p99_ms"] == 1.5
    assert figures["errors"] == 5


def test_a_budget_compares_medians_with_the_best_peer() -> None:
    results, scenarios = import_module("results"), import_module("scenarios")
    outcome = outcome_of(results, septet=[1.2, 9.0, 1.1], peer=[1.0, 1.0, 5.0], other=[2.0, 2.0, 2.0])
    verdict = results.judge(outcome, scenarios.Budget(("other", "peer"), 1.25))
    assert verdict.figure == pytest.approx(1.2)
    assert verdict.met
    assert not results.judge(outcome, scenarios.Budget(("peer",), 1.1)).met


def test_more_requests_a_second_are_better() -> None:
    results, scenarios = import_module("results"), import_module("scenarios")
    outcome = outcome_of(results, septet=[1.0], peer=[1.0])
    assert results.judge(outcome, scenarios.Budget(("peer",), 1.0, scenarios.RATE)).met
    assert not results.judge(outcome, scenarios.Budget(("peer",), 3.0, scenarios.RATE)).met


def test_errors_are_judged_by_the_worst_round() -> None:
    results, scenarios = import_module("results"), import_module("scenarios")
    outcome = outcome_of(results, septet=[1.0, 1.0, 1.0])
    outcome.rows[0].blocks[1]["errors"] = {"timeout": 7}
    assert results.judge(outcome, scenarios.Budget((), 0, scenarios.ERRORS)).figure == 7


def test_a_missing_server_is_unknown_and_named() -> None:
    results, scenarios, report = import_module("results"), import_module("scenarios"), import_module("report")
    outcome = outcome_of(results, septet=[1.0], peer=[])
    outcome.rows[1].problem = "not installed: no compiler"
    verdict = results.judge(outcome, scenarios.Budget(("peer",), 1.0))
    assert verdict.met is None
    assert "peer" in verdict.why
    assert "- peer: not measured: not installed: no compiler" in report.scenario_text(outcome)


def test_a_shortfall_is_told_as_a_factor() -> None:
    results, scenarios, report = import_module("results"), import_module("scenarios"), import_module("report")
    outcome = outcome_of(results, septet=[3.0], peer=[1.0])
    budgets = (scenarios.Budget(("peer",), 2.0), scenarios.Budget(("peer",), 3.5, goal=True))
    outcome.scenario = scenarios.Scenario("s", "t", outcome.scenario.contenders, budgets, b"Hello, world")
    text = report.budget_text([outcome])
    assert "short by 1.50 x" in text
    assert "pass" in text


def test_a_budget_against_a_stranger_is_refused() -> None:
    scenarios = import_module("scenarios")
    with pytest.raises(ValueError, match="do not take part"):
        scenarios.Scenario("s", "t", (scenarios.EPOLL,), (scenarios.Budget(("nobody",), 1.0),), b"Hello, world")


def test_processor_time_includes_children() -> None:
    """A shell whose child, and not itself, has used up some time."""
    procfs = import_module("procfs")
    work = f"{sys.executable} -c 'for i in range(10**7): pass'; echo done; read line"
    with subprocess.Popen(["sh", "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        assert shell.stdout.readline() == "done\n"
        spent = procfs.cpu_time(shell.pid)
        shell.communicate("\n")
    assert spent.user_s > 0.05


def test_living_descendants_belong_to_the_tree() -> None:
    procfs = import_module("procfs")
    with subprocess.Popen(["sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        sleeper = int(shell.stdout.readline())
        assert sleeper in procfs.tree(shell.pid)
        assert procfs.memory_kib(shell.pid) > 0
        subprocess.run(["kill", str(sleeper)], check=True)


def test_the_list_names_every_scenario() -> None:
    """Runs the command itself, as `make bench-peers` does: with whatever Python is there and nothing installed."""
    command = [sys.executable, str(BENCHMARKS / "peers.py"), "--list"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for scenario in import_module("scenarios").SCENARIOS:
        assert f"{scenario.name} " in done.stdout


@pytest.mark.parametrize(
    ("best", "right"),
    [(1000.0, True), (1200.0, True), (1400.0, False)],
)
def test_an_advice_is_judged_by_the_sweep(best: float, right: bool, capsys: pytest.CaptureFixture[str]) -> None:
    advice = import_module("advice")
    found = {"--model epoll": 1000.0, "--model threaded": best, "--model preforked --workers 2": 0.0}
    conclusion = {
        "advice": {"serve": "septet serve a:b --model epoll", "requests_per_s": 980.0, "limit": {"what": "CPU"}},
        "findings": [{"candidate": {"model": "epoll", "workers": None, "threads": None}, "requests_per_s": 980.0}],
    }
    assert advice.tell("wait", conclusion, found, 1.15) is right
    assert "| `--model epoll` | 1,000 | 980 |" in capsys.readouterr().out
