"""The comparison with other servers: that what it would print is right. The measuring itself needs the other servers
and a quiet machine, and is left to `make bench-peers`."""

import os
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

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


def test_a_budget_may_speak_of_another_contender_than_the_first() -> None:
    results, scenarios = import_module("results"), import_module("scenarios")
    outcome = outcome_of(results, septet=[9.0], other=[2.0], peer=[1.0])
    assert results.judge(outcome, scenarios.Budget(("peer",), 2.0, of="other")).met
    outcome = outcome_of(results, septet=[9.0], other=[], peer=[1.0])
    verdict = results.judge(outcome, scenarios.Budget(("peer",), 2.0, of="other"))
    assert verdict.why == "other was not measured"


def test_no_two_contenders_of_a_scenario_share_a_name() -> None:
    """A row is found by the name of its contender."""
    for scenario in import_module("scenarios").SCENARIOS:
        names = [contender.name for contender in scenario.contenders]
        assert len(set(names)) == len(names), scenario.name


def test_a_late_generator_is_named() -> None:
    results, scenarios, report = import_module("results"), import_module("scenarios"), import_module("report")
    outcome = outcome_of(results, septet=[1.0], peer=[1.0])
    outcome.scenario = replace(outcome.scenario, mix=scenarios.Mix("mixed.toml", 300), metric=scenarios.QUICK_P99)
    outcome.rows[1].blocks[0]["late_p99_us"] = 2500
    text = report.scenario_text(outcome)
    assert "which is in the latencies of: peer (2.50 ms)" in text
    assert "quick p50 ms" in text


@contextmanager
def served(app: Callable[..., Any]) -> Iterator[int]:
    """A WSGI application under the standard library's server with a thread for each connection; gives its port."""

    class Threads(socketserver.ThreadingMixIn, WSGIServer):
        daemon_threads = True

    class Silent(WSGIRequestHandler):
        def log_message(self, format: str, *args: Any) -> None: ...

    with make_server("127.0.0.1", 0, app, Threads, Silent) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def the_scenario(name: str) -> Any:
    return next(scenario for scenario in import_module("scenarios").SCENARIOS if scenario.name == name)


@pytest.mark.parametrize("name", ["mixed", "mixed-closed"])
def test_latencies_of_a_mix_are_those_of_its_quick_requests(name: str, tmp_path: Path) -> None:
    apps, measure = import_module("apps"), import_module("measure")
    bench = measure.Bench(1, 0, max(os.sched_getaffinity(0)), tmp_path)
    with served(apps.wsgi_mixed) as port:
        block = measure._septet_load(bench, the_scenario(name), port, 1, 12)
    assert sum(block["errors"].values()) == 0
    assert 0.8 < block["quick_requests"] / block["requests"] < 0.97
    assert 0 < block["p50_us"] <= block["p99_us"]
    assert block["bytes"] >= block["requests"] * len(apps.HELLO)
    assert measure.figures(block | {"cpu_user_s": 0.0, "cpu_system_s": 0.0})["p50_ms"] == block["p50_us"] / 1e3


@pytest.mark.parametrize("name", ["wsgi-hello", "wsgi-post", "wsgi-stream"])
def test_an_answer_is_compared_byte_by_byte(name: str, tmp_path: Path) -> None:
    """A server whose application gives other bytes of the same length is not measured."""
    contenders, servers = import_module("contenders"), import_module("servers")
    serve = (
        "import apps; from wsgiref.simple_server import make_server; "
        "make_server('127.0.0.1', {port}, apps.{name}).serve_forever()"
    )

    def command(site: Any) -> list[str]:
        return [sys.executable, "-c", serve.format(port=site.port, name=site.app.removeprefix("apps:"))]

    scenario, contender = the_scenario(name), contenders.Contender("wsgiref", command)
    site = contenders.Site(scenario.app, servers.free_port(), tmp_path, tmp_path)
    cpu = min(os.sched_getaffinity(0))
    with servers.started(contender, scenario, site, cpu) as pid:
        assert pid > 0
    other = replace(scenario, answer=scenario.answer.swapcase())
    with pytest.raises(servers.BlockFailed, match="that all must give"):
        with servers.started(contender, other, replace(site, port=servers.free_port()), cpu):
            pass


def test_processor_time_includes_threads() -> None:
    """Of a thread that has ended and of one that still runs, in a process whose main thread does nothing."""
    procfs = import_module("procfs")
    work = (
        "import threading, time\n"
        "def burn():\n"
        "    while time.thread_time() < 0.2: pass\n"
        "def stay():\n"
        "    burn(); print('done', flush=True); time.sleep(60)\n"
        "first = threading.Thread(target=burn); first.start(); first.join()\n"
        "threading.Thread(target=stay, daemon=True).start(); input()\n"
    )
    command = [sys.executable, "-c", work]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        spent = procfs.cpu_time(process.pid)
        process.communicate("\n")
    assert spent.user_s + spent.system_s > 0.35


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


EPOLL = {"model": "epoll", "workers": None, "threads": None}
THREADED = {**EPOLL, "model": "threaded"}


@pytest.mark.parametrize(
    ("held", "other", "values", "right"),
    [
        (1000.0, 900.0, {}, True),
        (1080.0, 900.0, {}, False),  # above the interval
        (1080.0, 900.0, {"at_least": True}, True),
        (1000.0, 1300.0, {}, False),  # another one was better
        (1000.0, 1300.0, {"not_told_apart": [THREADED]}, True),
        (1000.0, 1300.0, {"unfinished": THREADED}, True),
        (500.0, 400.0, {}, False),  # below the interval, on a quiet machine
    ],
)
def test_an_advice_is_judged_by_the_grid(
    held: float, other: float, values: dict[str, Any], right: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = import_module("advise_sweep")
    file = sweep.File(tmp_path / "sweep.jsonl")
    advice = {"candidate": EPOLL, "bracket": {"low": 980.0, "high": 1040.0}, "at_least": False}
    advice |= {"not_told_apart": [], "unfinished": None, **values}
    file.add(kind="advice", advice={"advice": advice}, disturbed=False, busy=False, said=[])
    for options, rate in (("--model epoll", held), ("--model threaded", other)):
        file.add(kind="saturated", options=options, requests_per_s=1.1 * rate, others=0.0)
        for place in range(2):
            cell = {"options": options, "share": 0.9, "round": place, "others": 0.01}
            file.add(kind="trial", rate=rate, held=True, **cell)
            file.add(kind="trial", rate=2000.0, held=False, **cell)
            file.add(kind="trial", rate=970.0, held=held > 970, **{**cell, "options": "--model epoll"})
    again = sweep.File(tmp_path / "sweep.jsonl")
    assert again.records == file.records
    assert sweep.judge("wait", again) is right
    told = capsys.readouterr().out
    assert ("WRONG" in told) is not right
    assert f"| `--model epoll` | {1.1 * held:,.0f} | {held:,.0f} | {held:,.0f} |" in told


def test_a_gain_compares_cells_of_one_round() -> None:
    gil = import_module("gil")

    def cell(number: int, setting: str, per_s: float, cpu_ms: float) -> dict[str, Any]:
        told = {"round": number, "python": "3.13t", "page": "table", "setting": setting}
        return {
            **told,
            "per_s": per_s,
            "ready_per_s": 2 * per_s if setting == two else per_s,
            "cpu_ms": cpu_ms,
            "cpus": 1,
            "client_cpus": 0,
            "others_cpus": 0,
        }

    one, two = gil.SETTINGS[0].name, gil.SETTINGS[1].name
    cells = [cell(1, one, 100, 10), cell(1, two, 190, 11), cell(2, one, 50, 10), cell(2, two, 80, 12)]
    alone, both = gil.summarise([*cells, cell(3, one, 90, 10), cell(3, two, 180, 10)])
    assert "gain" not in alone
    assert alone["per_s"] == 90
    assert both["gain"] == [1.9, 1.6, 2.0]
    assert both["ready_gain"] == [3.8, 3.2, 4.0]
    assert both["dearer"] == 1.1
    row = "| 3.13t | table | prethreaded, 2 threads | 180 | 11.00 | 1.90 (1.60 to 2.00) | 3.80 |"
    assert row in gil.table([both])


def test_a_lock_bounds_what_many_threads_do() -> None:
    simulate = import_module("contention").simulate
    alone = simulate(9_000, [1_000], 1)
    assert alone == pytest.approx(100_000, rel=0.03)
    assert simulate(9_000, [1_000], 64) == pytest.approx(1_000_000, rel=0.03)  # the lock is always held
    assert simulate(9_000, [], 64) == pytest.approx(64 * 1e9 / 9_000, rel=0.03)
    assert 1.8 < simulate(9_000, [1_000], 2) / alone < 2.0


def test_locks_are_timed_while_they_are_held() -> None:
    contention = import_module("contention")
    lock = contention.TimedLock(threading.RLock(), "")
    with lock:
        with lock:
            sum(range(100_000))
        assert lock.count == 0
    assert lock.count == 1
    assert lock.held_ns > 100_000
    condition = threading.Condition(lock)
    with condition:
        assert not condition.wait(0.01)
    assert lock.count == 3  # it was free while the condition waited
