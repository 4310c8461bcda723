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
from septet.lab import bench, results
from septet.lab.display import Lines
from septet.lab.experiment import GUESTBOOK, Cell, Experiment
from septet.lab.runner import judge, run_cell
from septet.lab.server import PORTS, free_port
from support import scripted_server

STAND_IN = Path(scripted_server.__file__).with_name("stand_in_server.py")


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return Experiment(
        out=tmp_path,
        models=("good",),
        users=(3,),
        app=f"stand_in_for_{tmp_path.name}",
        path="/",
        duration_s=0.5,
        warmup_s=0.1,
        start_timeout_s=10.0,
        server=(sys.executable, str(STAND_IN)),
    )


def measure(experiment: Experiment, model: str) -> dict[str, Any]:
    record = run_cell(experiment, Cell(model, 3), lambda event, details: None)
    json.dumps(record)
    assert processes_with(experiment.app) == []
    return record


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
    record = run_cell(experiment, Cell("good", 3), lambda event, details: events.append(event))
    assert (record["verdict"], record["reason"]) == ("valid", None)
    assert record["load"]["answers"] > 10
    assert record["command"][-4:-1] == ["--model", "good", "--bind"]
    assert record["usage"]["user_s"] + record["usage"]["system_s"] > 0
    assert record["usage"]["processes"] == 1
    assert record["stop"]["status"] == 0
    assert record["stop"]["life"]["complete"]
    assert results.cpu_us_per_request(record) > 0  # type: ignore[operator]
    assert results.switches_per_request(record) > 0  # type: ignore[operator]
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
    assert record["reason"].startswith("no request was answered: ")
    assert "x status 500" in record["reason"]


def test_server_that_does_not_stop(experiment: Experiment) -> None:
    record = measure(replace(experiment, stop_timeout_s=0.2), "stubborn")
    assert record["verdict"] == "valid"
    assert record["stop"]["killed"] == 1
    assert not record["stop"]["life"]["complete"]
    assert results.switches_per_request(record) is None


def test_server_that_leaves_children_behind(experiment: Experiment) -> None:
    record = measure(experiment, "parent")
    assert record["stop"]["left_behind"] == 1
    assert record["usage"]["processes"] == 2


@pytest.mark.parametrize(
    ("errors", "answers", "verdict", "reason"),
    [
        ({}, 1000, "valid", None),
        ({"reset": 1}, 1000, "valid", None),
        ({"reset": 1, "time-out": 2}, 997, "errors", "3 of 1,000 requests failed: 1 x reset, 2 x time-out"),
        ({"refused": 5}, 0, "failed", "no request was answered: 5 x refused"),
        ({}, 0, "failed", "no request was answered: 20 users still waited after 2.5 s"),
    ],
)
def test_verdicts(errors: dict[str, int], answers: int, verdict: str, reason: str | None) -> None:
    load = {"errors": errors, "answers": answers, "unanswered": 20, "longest_unanswered_us": 2_500_000}
    assert judge({"load": {**load, "users_never_answered": 0}}) == (verdict, reason)


def test_figures_of_a_part_of_the_users_are_not_valid() -> None:
    load = {"errors": {}, "answers": 1000, "users_never_answered": 454}
    assert judge({"load": load}) == ("unserved", "454 users had no answer by the end")


def test_the_guestbook_gets_a_store_of_its_own(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    assert experiment.environment(experiment.out) == {}
    guestbook = replace(experiment, app=GUESTBOOK)
    monkeypatch.delenv("GUESTBOOK_STORE", raising=False)
    assert guestbook.environment(experiment.out) == {"GUESTBOOK_STORE": f"sqlite:///{experiment.out}/guestbook.sqlite3"}
    monkeypatch.setenv("GUESTBOOK_STORE", "redis://:secret@localhost/0")
    assert guestbook.environment(experiment.out) == {}
    unstartable = replace(guestbook, server=("/nonexistent/server",))  # others may serve the guestbook meanwhile
    record = run_cell(unstartable, Cell("good", 3), lambda event, details: None)
    assert record["environment"]["GUESTBOOK_STORE"] == "redis://***@localhost/0"


def test_free_ports_are_not_those_of_clients() -> None:
    port = free_port()
    assert port in PORTS
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_all_cells_are_written(experiment: Experiment) -> None:
    whole = replace(experiment, models=("good", "stillborn"), users=(1, 2))
    recorded = bench.run(whole, ["septet", "bench"], Lines(4))
    assert recorded["finished"]
    assert [(cell["model"], cell["users"]) for cell in recorded["cells"]] == [
        ("good", 1),
        ("stillborn", 1),
        ("good", 2),
        ("stillborn", 2),
    ]
    assert [cell["verdict"] for cell in recorded["cells"]] == ["valid", "failed"] * 2
    assert results.read(experiment.out / results.NAME) == json.loads(json.dumps(recorded))


def test_out_that_cannot_be_written(experiment: Experiment, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Failed, match="--out"):
        bench.run(replace(experiment, out=tmp_path / "file" / "below"), [], Lines(1))


def test_choice_of_models() -> None:
    known = ("iterative", "poll", "epoll")
    assert bench.choose_models(None, known) == known
    assert bench.choose_models("epoll, iterative,epoll", known) == ("epoll", "iterative")
    with pytest.raises(UsageError, match="--models: 'select' is not among iterative, poll, epoll"):
        bench.choose_models("epoll,select", known)
    with pytest.raises(UsageError, match="--models"):
        bench.choose_models(",", known)


def test_models_are_those_of_the_server() -> None:
    assert set(bench.model_names()) >= {"iterative", "forking", "epoll"}
