"""`septet advise` as a user runs it, on an application that sleeps: the real server, the real load."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from septet.interpreter import is_free_threaded
from septet.lab.proc import processes_of
from support.commands import septet_here

APP = """
import time

def app(environ, start_response):
    time.sleep(0.02)
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]
"""


def advise(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "septet", "advise", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=110,
        start_new_session=True,
    )


@pytest.fixture
def app(tmp_path: Path) -> str:
    (tmp_path / "app_that_sleeps.py").write_text(APP)
    return "app_that_sleeps:app"


def test_advise(tmp_path: Path, app: str) -> None:
    """A target so lenient that a busy machine holds it, and few models: what is measured is not judged here."""
    words = ["--p99", "400ms", "--models", "epoll,threaded", "--budget", "0.05", "--plan", "10k", "--out", "out"]
    result = advise(app, *words, cwd=tmp_path)
    assert result.returncode == 0, result.stderr + result.stdout
    assert "WSGI: a request alone takes" in result.stderr
    assert "what everything else has to beat" in result.stderr
    assert f"    septet serve {app} --model " in result.stdout
    assert "EXTRAPOLATION" in result.stdout
    kept = json.loads((tmp_path / "out" / "advice.json").read_text())
    assert kept["finished"]
    assert kept["command"] == ["septet", "advise", app, *words]
    assert kept["advice"]["requests_per_s"] > 0
    assert kept["nature"]["asynchronous"] is False
    assert kept["has_gil"] is not is_free_threaded()
    assert ("runs without the GIL" in result.stdout) is is_free_threaded()
    assert {run["model"] for run in kept["runs"]} <= {"epoll", "threaded"}
    assert all("load" in run for run in kept["runs"])
    resumed(tmp_path, kept)


def resumed(tmp_path: Path, whole: dict[str, Any]) -> None:
    """As if the search had been interrupted before its end was written: all its runs are taken from the file."""
    path = tmp_path / "out" / "advice.json"
    assert (
        advise("--resume", "out", cwd=tmp_path).stderr
        == "septet: --resume: the search of out/advice.json is finished\n"
    )
    path.write_text(json.dumps({**whole, "finished": None}))
    refused = advise("--resume", "out", "--budget", "1", cwd=tmp_path)
    assert refused.returncode == 2
    assert "--resume continues with the options of the search, so without --budget" in refused.stderr
    result = advise("--resume", "out", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    again = json.loads(path.read_text())
    assert again["finished"]
    assert len(again["resumed"]) == 1
    assert again["runs"] == whole["runs"], "none is made again"
    assert again["advice"] == whole["advice"]
    assert again["nature"] == whole["nature"]


def test_an_application_that_does_not_start(tmp_path: Path) -> None:
    result = advise("nowhere:app", "--p99", "50ms", "--out", "out", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("septet: nowhere:app cannot be measured: the server ended")
    assert "there is no module 'nowhere'" in result.stderr
    assert not (tmp_path / "out").exists()


def test_an_application_that_answers_wrongly(tmp_path: Path) -> None:
    (tmp_path / "app_that_fails.py").write_text("def app(environ, start_response):\n    raise ValueError\n")
    result = advise("app_that_fails:app", "--p99", "50ms", "--out", "out", cwd=tmp_path)
    assert result.returncode == 1
    assert "status 500" in result.stderr.splitlines()[-1]


def test_an_application_slower_than_the_first_look(tmp_path: Path, app: str) -> None:
    """It is slow, not broken: that is what is said, with the time, which a busy machine makes longer."""
    (tmp_path / "app_that_sleeps.py").write_text(APP.replace("0.02", "1.8"))
    result = advise(app, "--p99", "50ms", "--out", "out", cwd=tmp_path)
    assert result.returncode == 1
    said = re.search(r"septet: one request alone takes (\S+) s: no model brings", result.stderr)
    assert said, result.stderr
    assert float(said[1]) >= 0.9 * 1.8  # the time that it waited for a CPU is taken off, which is an estimate


def test_options_that_would_measure_something_else(tmp_path: Path, app: str) -> None:
    for option in ("--model=poll", "--threads 2"):
        result = septet_here("advise", app, "--p99", "50ms", "--serve-option", option, cwd=tmp_path)
        assert result.returncode == 2
        assert "cannot be given" in result.stderr


def test_a_target_that_nobody_holds(tmp_path: Path, app: str) -> None:
    result = advise(app, "--p99", "1ms", "--models", "threaded", "--budget", "0.1", "--out", "out", cwd=tmp_path)
    assert result.returncode == 1
    assert "no model brings 99 % of many below 1 ms" in result.stderr
    kept = json.loads((tmp_path / "out" / "advice.json").read_text())
    assert kept["advice"] is None
    assert kept["runs"], "what was measured is kept"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("hello",), "p99"),
        (("hello", "--p99", "fast"), "'fast' is not a time, such as 50ms or 0.2s"),
        (("hello", "--p99", "50ms", "--plan", "many"), "'many' is not a rate"),
        (("hello", "--p99", "50ms", "--models", "nginx"), "'nginx' is not among"),
        (("hello", "--p99", "50ms", "--path", "x"), "does not begin with /"),
        (("goodbye", "--p99", "50ms"), "'goodbye' is neither"),
    ],
)
def test_usage(tmp_path: Path, words: tuple[str, ...], sentence: str) -> None:
    result = septet_here("advise", *words, cwd=tmp_path)
    assert result.returncode == 2
    assert sentence in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_interrupted(tmp_path: Path, app: str) -> None:
    """Ctrl-C: no server is left, and what was measured is kept."""
    words = [sys.executable, "-m", "septet", "advise", app, "--p99", "400ms", "--models", "threaded", "--out", "out"]
    with subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "held" in line or "disturbed" in line:  # the first run is kept; a good one may come late
                break
        process.send_signal(2)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert said.splitlines()[-1] == "septet: interrupted"
    assert [each for each in processes_of(process.pid) if each.alive] == []
    kept = json.loads((tmp_path / "out" / "advice.json").read_text())
    assert kept["finished"] is None
    assert kept["runs"]
