"""`septet bench` that ends early: interrupted, or when its time is up; what is finished is kept."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from septet.lab import results
from support.commands import PATIENCE_S, septet, serving
from support.marks import draws
from support.results_pages import undocumented
from support.waiting import wait_until

pytestmark = [pytest.mark.timeout(300), draws]


NO_TIME = "Where the time goes was not recorded: there was no time left."


def test_bench_for_a_time(tmp_path: Path, app: str) -> None:
    """Every cell is visited, and the last words say what the report says."""
    words = ["--models", "epoll,threaded", "--users", "2", "--duration", "0.2", "--warmup", "0", "--warmup-max", "0"]
    result = septet("bench", app, *words, "--for", "0.001m", "--out", "out", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    recorded = results.read(tmp_path / "out" / "results.json")
    assert recorded["ended"] == "time"
    assert recorded["experiment"]["for_s"] == 0.06
    assert len(recorded["runs"]) == 2
    assert not undocumented(recorded)
    assert recorded["where"] == {"cells": [], "skipped": NO_TIME}
    assert NO_TIME in result.stderr
    said = "Time was up with 1 of 1 pairs of neighbours open; a longer --for may decide them."
    assert said in result.stdout
    assert said in (tmp_path / "out" / "report.html").read_text()


def test_figures_are_complete_when_what_follows_is_interrupted(tmp_path: Path, app: str) -> None:
    """It is interrupted, by TERM, while it starts the first server that records, which takes a minute."""
    with (tmp_path / f"{app.removesuffix(':app')}.py").open("a") as file:
        file.write("import sys, time\nif '--span-log' in sys.argv:\n    time.sleep(60)\n")
    words = ["--models", "epoll,poll,threaded", "--users", "1", "--repeats", "1", "--duration", "0.2", "--out", "out"]
    path = tmp_path / "out" / "results.json"
    command = [sys.executable, "-m", "septet", "bench", app, *words]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: path.exists() and '"finished": "' in path.read_text(), "the runs are over", 120)
        wait_until(lambda: serving(app), "a server is recorded")
        process.send_signal(signal.SIGTERM)
        output, complaints = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, complaints
    recorded = results.read(path)
    assert len(recorded["runs"]) == 3
    assert recorded["where"]["skipped"] == "Where the time goes was not recorded: it was interrupted."
    assert recorded["where"]["skipped"] in complaints
    assert "out/report.html" in output
    assert not serving(app)


def test_bench_interrupted_keeps_what_is_finished(tmp_path: Path, app: str) -> None:
    words = ["--models", "epoll", "--users", "1,2,3", "--repeats", "1", "--duration", "2", "--warmup-max", "0"]
    words += ["--out", "out"]
    path = tmp_path / "out" / "results.json"
    with subprocess.Popen(
        [sys.executable, "-m", "septet", "bench", app, *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_until(lambda: path.exists() and '"model"' in path.read_text(), "one cell is finished")
        wait_until(lambda: serving(app), "the next server has started")
        process.send_signal(signal.SIGINT)
        output, complaints = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert complaints.splitlines()[-1] == "septet: interrupted"
    assert "out/requests-per-second.png" in output
    recorded = json.loads(path.read_text())
    assert recorded["finished"] is None
    assert [run["users"] for run in recorded["runs"]] == [1]
    assert "to go on: septet bench --resume out" in output
    assert not serving(app)
