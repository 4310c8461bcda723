"""Cells and whole experiments against a stand-in server: what goes wrong becomes a record, and nobody is left."""

import json
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from septet.errors import Failed, UsageError
from septet.lab import bench, client, known_models, results
from septet.lab.display import Lines
from septet.lab.experiment import GUESTBOOK, ONE_PROCESS, Cell, Experiment, Run
from septet.lab.runner import SHORT_WARMUP_S, Round, plan_for, run_cell
from septet.lab.server import PORTS, free_port
from septet.lab.summary import summaries
from support import scripted_server
from support.models import MODELS, refusal

UNDISTURBED = ("valid", "noisy")  # which of them depends on what else this machine does
STAND_IN = Path(scripted_server.__file__).with_name("stand_in_server.py")


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return Experiment(
        out=tmp_path,
        models=("good",),
        users=(3,),
        app=f"stand_in_for_{tmp_path.name}",
        app_words=(f"stand_in_for_{tmp_path.name}",),
        path="/",
        duration_s=0.5,
        warmup_s=0.1,
        warmup_max_s=0.0,
        start_timeout_s=10.0,
        server=(sys.executable, str(STAND_IN)),
    )


def measure(experiment: Experiment, model: str) -> dict[str, Any]:
    record = run_cell(experiment, Run(Cell(model, 3)), lambda event, details: None)
    json.dumps(record)
    assert processes_with(experiment.app) == []
    return record


def results_with(experiment: Experiment, record: dict[str, Any]) -> results.Results:
    return {**results.begin(experiment, []), "runs": [record]}


def processes_with(word: str) -> list[str]:
    """The command lines of processes that hold the word."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path("/proc", name, "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if word in line:
            found.append(line)
    return found


def test_valid(experiment: Experiment) -> None:
    events = []
    record = run_cell(experiment, Run(Cell("good", 3)), lambda event, details: events.append(event))
    assert record["verdict"] in UNDISTURBED
    assert record["load"]["answers"] > 10
    assert record["command"][-4:-1] == ["--model", "good", "--bind"]
    assert record["usage"]["user_s"] + record["usage"]["system_s"] > 0
    assert record["usage"]["processes"] == 1
    assert record["stop"]["status"] == 0
    assert record["stop"]["life"]["complete"]
    assert record["usage"]["descriptors"] > 3
    assert record["usage"]["queue_backlog"] == 1024
    (cell,) = summaries(results_with(experiment, record))
    assert {"cpu_us", "switches", "pss_bytes", "p99_us", "queue_depth"} <= cell.figures.keys()
    assert all(cell.figures[name].median > 0 for name in ("cpu_us", "switches", "pss_bytes", "p99_us"))
    assert {"measuring", "measured", "progress"} <= set(events)


def test_server_that_does_not_start(experiment: Experiment) -> None:
    record = measure(experiment, "stillborn")
    assert record["verdict"] == "failed"
    assert record["reason"] == "the server ended with status 1: stand-in: there is no such application"


def test_server_that_cannot_be_executed(experiment: Experiment) -> None:
    record = measure(replace(experiment, server=("/nonexistent/server",)), "good")
    assert "could not be started" in record["reason"]


def test_server_that_does_not_answer(experiment: Experiment) -> None:
    record = measure(replace(experiment, start_timeout_s=0.3), "silent")
    assert record["reason"] == "no answer within 0.3 s of starting"


def test_server_that_dies_under_load(experiment: Experiment) -> None:
    record = measure(experiment, "mortal")
    assert record["verdict"] == "failed"
    assert record["reason"] == "the server was killed by SIGKILL: the heart stopped"
    assert set(record["load"]["errors"]) <= {"refused", "reset", "closed early", "short body"}


def test_server_that_gives_only_errors(experiment: Experiment) -> None:
    record = measure(experiment, "wrong")
    assert record["verdict"] == "failed"
    assert record["reason"].startswith("no request was answered as it should be: ")
    assert "x status 500" in record["reason"]


def test_server_that_does_not_stop(experiment: Experiment) -> None:
    record = measure(replace(experiment, stop_timeout_s=0.2), "stubborn")
    assert record["verdict"] in UNDISTURBED
    assert record["stop"]["killed"] == 1
    assert not record["stop"]["life"]["complete"]
    (cell,) = summaries(results_with(experiment, record))
    assert cell.median("switches") is None
    assert cell.median("cpu_us") is not None


def test_server_that_leaves_children_behind(experiment: Experiment) -> None:
    record = measure(experiment, "parent")
    assert record["stop"]["left_behind"] == 1
    assert record["usage"]["processes"] == 2


def test_the_guestbook_gets_a_store_of_its_own(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    assert experiment.environment(experiment.out) == ONE_PROCESS
    guestbook = replace(experiment, app=GUESTBOOK, app_words=(GUESTBOOK,))
    monkeypatch.delenv("GUESTBOOK_STORE", raising=False)
    store = {"GUESTBOOK_STORE": f"sqlite:///{experiment.out}/guestbook.sqlite3"}
    assert guestbook.environment(experiment.out) == ONE_PROCESS | store
    monkeypatch.setenv("GUESTBOOK_STORE", "redis://:secret@localhost/0")
    assert guestbook.environment(experiment.out) == ONE_PROCESS
    unstartable = replace(guestbook, server=("/nonexistent/server",))  # others may serve the guestbook meanwhile
    record = run_cell(unstartable, Run(Cell("good", 3)), lambda event, details: None)
    assert record["environment"]["GUESTBOOK_STORE"] == "redis://***@localhost/0"


def test_free_ports_are_not_those_of_clients() -> None:
    port = free_port()
    assert port in PORTS
    with socket.create_server(("127.0.0.1", port)):
        pass


def measure_all(experiment: Experiment) -> results.Results:
    recorded = results.begin(experiment, ["septet", "bench"])
    bench.run(experiment, recorded, [[run] for run in experiment.runs()], Lines(len(experiment.runs())))
    return recorded


def test_all_runs_are_written(experiment: Experiment) -> None:
    whole = replace(experiment, models=("good", "stillborn"), users=(1, 2), duration_s=0.2, repeats=2)
    recorded = measure_all(whole)
    assert recorded["finished"]
    assert [results.run_of(record) for record in recorded["runs"]] == whole.runs()
    verdicts = {(cell.model, cell.users): cell.verdict for cell in summaries(recorded)}
    assert verdicts["stillborn", 1] == verdicts["stillborn", 2] == "failed"
    assert verdicts["good", 1] in UNDISTURBED
    assert results.read(experiment.out / results.NAME) == json.loads(json.dumps(recorded))


def test_what_was_interrupted_is_taken_up(experiment: Experiment) -> None:
    whole = replace(experiment, users=(1, 2), duration_s=0.2, repeats=2, sweeps=(("backlog", ("5", "7")),))
    recorded = results.begin(whole, ["septet", "bench"])
    first, *rest = whole.runs()
    recorded["runs"].append(run_cell(whole, first, lambda event, details: None))
    results.write(recorded, whole.out)
    again, experiment_again = bench.interrupted(whole.out)
    assert experiment_again == whole
    assert results.resume(again) == rest
    assert len(again["resumed"]) == 1
    results.finish(again)
    results.write(again, whole.out)
    with pytest.raises(Failed, match="is finished"):
        bench.interrupted(whole.out)


def test_a_server_is_tried_before_anything_is_measured(experiment: Experiment, tmp_path: Path) -> None:
    new = replace(experiment, out=tmp_path / "new")
    bench.preflight(replace(new, models=("stillborn", "good")))  # one contender may have an affair of its own
    (tmp_path / "new").rmdir()
    with pytest.raises(Failed, match=r"stand_in_for_.* cannot be measured: .* there is no such application"):
        bench.preflight(replace(new, models=("stillborn",)))
    assert not new.out.exists()


def test_out_that_cannot_be_written(experiment: Experiment, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Failed, match="--out"):
        measure_all(replace(experiment, out=tmp_path / "file" / "below"))


def test_models_that_can_run_here(capfd: pytest.CaptureFixture[str]) -> None:
    """They are measured unless others are asked for."""
    refused = [model for model in MODELS if refusal(model)]
    assert known_models.possible_models() == tuple(model for model in MODELS if model not in refused)
    known_models.tell_left_out.cache_clear()
    known_models.tell_left_out()
    told = capfd.readouterr().err
    assert [line.split(": ")[:2] for line in told.splitlines()] == [["left out", model] for model in refused]


def test_choice_of_models() -> None:
    known = ("iterative", "poll", "epoll")
    assert known_models.choose_models(None, known) == known
    assert known_models.choose_models("epoll, iterative,epoll", known) == ("epoll", "iterative")
    with pytest.raises(UsageError, match="--models: 'select' is not among iterative, poll, epoll"):
        known_models.choose_models("epoll,select", known)
    with pytest.raises(UsageError, match="--models"):
        known_models.choose_models(",", known)


def test_models_are_those_of_the_server() -> None:
    assert set(known_models.model_names()) >= {"iterative", "forking", "epoll"}


def test_an_experiment_ends_where_the_load_is_lost(experiment: Experiment) -> None:
    """No server is charged with it: the run stays to be done, and with it those that would have failed next."""
    experiment = replace(experiment, users=(3, 4, 5))
    runs = experiment.runs()

    def load(plan: Any, hear: client.Receive, scenario: Path | None) -> dict[str, Any]:
        if plan.users > 3:
            raise client.LoadLost("worker b was lost")
        return client.load(plan, hear, scenario)

    recorded = results.begin(experiment, [])
    with pytest.raises(Failed, match="worker b was lost; with all workers back: septet bench --resume "):
        bench.run(experiment, recorded, [[run] for run in runs], Lines(len(runs)), load)
    found, taken_up = bench.interrupted(experiment.out)
    assert [record["users"] for record in found["runs"]] == [3]
    assert results.resume(found) == runs[1:]
    assert processes_with(taken_up.app) == []


def test_servers_run_side_by_side_and_are_visited_in_turns(experiment: Experiment) -> None:
    """One that dies is not visited again in the round; all stop at its end, and their records say how."""
    short = replace(experiment, duration_s=0.15, turns=2)
    runs = [Run(Cell(model, 2), turn) for turn in (1, 2) for model in ("good", "mortal")]
    with client.Generator() as generator, Round(short, generator.load) as visits:
        records = [visits.visit(run, lambda event, details: None) for run in runs]
        assert len(processes_with(experiment.app)) == 1, "the good one goes on"
        assert visits.finish() == [record for record in records if record is not None]
    assert processes_with(experiment.app) == []
    first, dead, second, none = records
    assert none is None
    assert first is not None
    assert second is not None
    assert dead is not None
    assert first["command"] == second["command"]
    assert first["stop"] == second["stop"]
    assert first["stop"]["answers"] > first["load"]["answers"] + second["load"]["answers"], "with those of warm-ups"
    assert dead["verdict"] == "failed"


def test_short_windows_are_for_those_who_answer_soon(experiment: Experiment) -> None:
    """One that is slow has whole windows; what it was asked in a short one is not counted."""
    short = replace(experiment, duration_s=0.8, short=((2, 0.2),), short_turns=2, turns=1)
    runs = [Run(Cell(model, 2), turn) for turn in (1, 2) for model in ("good", "slow")]
    with client.Generator() as generator, Round(short, generator.load) as visits:
        loads = [record["load"] for run in runs if (record := visits.visit(run, lambda event, details: None))]
    assert [load["plan"]["duration_s"] for load in loads] == [0.2, 0.8, 0.2, 0.8]
    assert loads[0]["answers"] >= 20
    assert 0.8 <= loads[1]["window_s"] < 2
    warmups = [load["plan"]["warmup_s"] for load in loads]
    assert warmups[0] == experiment.warmup_s, "a server that has just begun is warmed up"
    assert warmups[2] == SHORT_WARMUP_S
    assert warmups[3] == experiment.warmup_s, "it is the one that is as short"


def test_a_generator_goes_on_after_a_plan_that_is_refused(experiment: Experiment) -> None:
    with Round(experiment) as visits, client.Generator() as generator:
        record = visits.visit(Run(Cell("good", 1)), lambda event, details: None)
        assert record is not None
        port = int(record["command"][-1].rpartition(":")[2])
        plan = replace(plan_for(experiment, 1, port), duration_s=0.1)
        with pytest.raises(Failed, match="is not usable here"):
            generator.load(replace(plan, cpus=(4095,)), lambda event, details: None)
        assert generator.load(plan, lambda event, details: None)["answers"] > 0
        assert generator.load(plan, lambda event, details: None)["answers"] > 0
