"""`septet trace` as a user runs it: a real server, real users, and a look into the files that come of it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from septet.errors import Failed
from septet.lab.trace.tracing import TracePlan, trace
from support.commands import septet_here
from support.marks import draws
from support.waiting import wait_until

pytestmark = draws

APP = """
import asyncio, time

def blocking(environ, start_response):
    time.sleep(0.01)
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]

def failing(environ, start_response):
    start_response("503 Service Unavailable", [("Content-Length", "0")])
    return []

async def awaiting(scope, receive, send):
    if scope["type"] == "http":
        await asyncio.sleep(0.01)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"hello"})
"""


def septet(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("SEPTET_", "GUESTBOOK_"))}
    return subprocess.run(
        [sys.executable, "-m", "septet", *words], cwd=cwd, env=environ, capture_output=True, text=True, timeout=100
    )


@pytest.fixture
def app(tmp_path: Path) -> str:
    """A module in `tmp_path`, of a name that no other process has on its command line."""
    name = f"traced_{tmp_path.parent.name}_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(APP)
    return name


def traced(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    short = ["--duration", "0.3", "--warmup", "0.1", "--out", "out"]
    result = septet("trace", *words, *short, cwd=tmp_path)
    assert not left_behind(tmp_path)
    return result


def left_behind(directory: Path) -> list[str]:
    """The command lines of processes that work in this directory."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{name}/cwd") == str(directory):
                found.append(Path("/proc", name, "cmdline").read_text())
        except OSError:
            continue
    return found


def events(path: Path, category: str) -> list[dict[str, Any]]:
    return [event for event in json.loads(path.read_text())["traceEvents"] if event.get("cat") == category]


def total_us(found: list[dict[str, Any]], name: str) -> float:
    return float(sum(event["dur"] for event in found if event["name"] == name))


def test_blocking_application(tmp_path: Path, app: str) -> None:
    for _ in range(3):  # on a busy machine all stand in line for a CPU: then it is recorded again
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        result = traced(tmp_path, f"{app}:blocking", "--models", "iterative,threaded", "--users", "3")
        assert result.returncode == 0, result.stderr
        files = {model: tmp_path / "out" / f"{model}.perfetto.json" for model in MODELS}
        lined_up = {model: total_us(events(file, "user"), LINE) for model, file in files.items()}
        requests = {model: len(events(file, "request")) for model, file in files.items()}
        if lined_up["iterative"] / requests["iterative"] > lined_up["threaded"] / requests["threaded"]:
            break
    assert lined_up["iterative"] / requests["iterative"] > lined_up["threaded"] / requests["threaded"]
    progress, *_ = result.stderr.splitlines()
    assert progress.startswith("iterative: ")
    assert " of warm-up, then " in progress
    assert re.search(r"^iterative: 1 thread, running ", result.stderr, re.MULTILINE)
    assert result.stdout.startswith("model      thread")
    assert result.stdout.splitlines()[-1] == "out/trace.json"
    sleeping = {model: total_us(events(file, "thread"), "sleeps") for model, file in files.items()}
    assert sleeping["iterative"] < 310_000  # one thread sleeps for one request after the other
    assert sleeping["threaded"] / requests["threaded"] > 5_000
    (plan,) = {json.dumps(json.loads((tmp_path / "out" / "trace.json").read_text())["plan"]["users"])}
    assert plan == "3"


MODELS = ("iterative", "threaded")
LINE = "in line: asked, not begun"


def test_awaiting_application_has_turns(tmp_path: Path, app: str) -> None:
    result = traced(tmp_path, f"{app}:awaiting", "--models", "epoll", "--keep-alive")
    assert result.returncode == 0, result.stderr
    path = tmp_path / "out" / "epoll.perfetto.json"
    requests = [event for event in events(path, "request") if event["args"]["status"] == 200]
    assert requests
    assert max(event["args"]["turns"] for event in requests) == 2  # before and after its sleep
    assert total_us(events(path, "user"), "suspended: awaits an answer or its turn") > 5_000


@pytest.mark.parametrize("way", ["samples", "spans"])
def test_lesser_ways_say_what_they_are(way: str, tmp_path: Path, app: str) -> None:
    result = traced(tmp_path, f"{app}:blocking", "--models", "prethreaded", "--way", way)
    assert result.returncode == 0, result.stderr
    (model,) = json.loads((tmp_path / "out" / "trace.json").read_text())["models"]
    assert (model["way"], model["records"]) == (way, 0)
    assert {"samples": "looking into /proc", "spans": "the server alone"}[way] in result.stderr


def test_guestbook_is_asynchronous_where_that_shows_something(tmp_path: Path) -> None:
    result = traced(tmp_path, "--models", "epoll,preforked")
    assert result.returncode == 0, result.stderr
    commands = [model["command"] for model in json.loads((tmp_path / "out" / "trace.json").read_text())["models"]]
    assert [next(word for word in command if "guestbook" in word) for command in commands] == [
        "septet.examples.guestbook:asgi",
        "septet.examples.guestbook:wsgi",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_cannot_be_traced(tmp_path: Path, app: str) -> None:
    result = traced(tmp_path, "no_such_module:app", "--models", "epoll,poll")
    assert result.returncode == 1
    assert result.stderr.startswith("septet: no model could be traced: epoll, poll: failed: the server ended")
    assert len(result.stderr.splitlines()) == 1  # the reason is the same


def test_a_trace_has_a_limit_in_time(app: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever step does not end; no process is left."""
    monkeypatch.chdir(tmp_path)
    ours = left_behind(tmp_path)
    plan = TracePlan(app=f"{app}:blocking", warmup_s=30, duration_s=0.1)
    with pytest.raises(Failed, match=r"it was not traced within 1 s; fewer --users"):
        trace(plan, "threaded", limit_s=-29.0)
    assert left_behind(tmp_path) == ours


def test_answers_that_are_errors_are_said(tmp_path: Path, app: str) -> None:
    result = traced(tmp_path, f"{app}:failing", "--models", "threaded")
    assert result.returncode == 0, result.stderr
    assert re.search(r"(\d+) requests in .*; \1 x status 503; ", result.stderr), result.stderr


def test_no_server_is_left_by_a_trace_that_is_killed(tmp_path: Path, app: str) -> None:
    words = ["trace", f"{app}:blocking", "--models", "preforked", "--serve-option", "--workers 2", "--duration", "60"]
    with subprocess.Popen([sys.executable, "-m", "septet", *words], cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: serving(tmp_path) == 3, "the server and its workers run")
        process.kill()
    wait_until(lambda: not left_behind(tmp_path), "all have ended")


def serving(directory: Path) -> int:
    return sum("\0serve\0" in line for line in left_behind(directory))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--models", "select"], "--models: 'select' is not among iterative, "),
        (["--users", "0"], "--users"),
        (["--path", "guestbook"], "--path: 'guestbook' does not begin with /"),
        (["--way", "magic"], "--way"),
        (["--serve-option", "'"], "--serve-option"),
        (["--serve-option", "--tls-certificate a.pem"], "the users of a trace speak plain HTTP"),
    ],
)
def test_usage_errors(words: list[str], said: str, tmp_path: Path) -> None:
    result = septet_here("trace", *words, cwd=tmp_path)
    assert result.returncode == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_out_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = septet_here("trace", "--out", "file/below", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("septet: --out: file/below cannot be written to")
