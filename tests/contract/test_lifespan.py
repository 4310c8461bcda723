"""The ASGI lifespan: start-up before the first request, shutdown at the stop, a refusal ends the server."""

import re
import signal
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from support.marks import cases, each_style
from support.messages import render
from support.models import MODELS, STYLES, loads
from support.server import APP_DIR, serve
from support.waiting import wait_until

APPS = "support.apps_lifespan"

#: s; far from the 30 s that a stop may take.
PROMPT_S = 10.0


def test_startup_comes_first_and_shutdown_last(model: str) -> None:
    """As often as there are processes that serve; never a request before a start-up is complete."""
    with serve(model, "asgi", app=f"{APPS}:slow") as server:
        assert server.get("/").status == 204
        server.stop()
        lines = server.journal.lines()
        assert lines.count("started") == lines.count("stopped") == lines.count("starting") >= 1
        assert lines.index("started") < lines.index("request") < lines.index("stopped")


def test_a_request_that_is_cut_is_cancelled_before_the_shutdown(model: str) -> None:
    """It may still need what the shutdown closes, as a pool of connections to roll back in."""
    workers = [] if model == "forking" else ["--workers", "1"]
    with serve(model, "asgi", "--graceful-timeout", "0.1", *workers, app=f"{APPS}:never_answers") as server:
        with server.connect() as connection:
            connection.send(render("GET", "/"))
            server.journal.wait_for("request")
            server.stop()
        lines = server.journal.lines()
        assert lines[-1] == "stopped", lines
        others = loads(model) - 1  # interpreters without a request, which stop at once
        for _ in range(others):
            lines.remove("stopped")
        assert lines == ["request", "cancelled", "stopped"]


def test_several_workers(model: str) -> None:
    """Each process or interpreter has a start-up of its own: connections made in another are of no use to it."""
    if model == "forking":
        options, processes = [], 1
    else:
        options, processes = ["--workers", "2"], 2
    with serve(model, "asgi", *options, app=f"{APPS}:slow") as server:
        assert server.get("/").status == 204
        server.stop()
        assert server.journal.count("started") == server.journal.count("stopped") == processes * loads(model)


@each_style
def test_child_that_comes_back_from_startup(model: str) -> None:
    """It ends there, as a program does."""
    with serve(model, "asgi", app=f"{APPS}:forks") as server:
        assert server.journal.count("child ended with 0") == 1
        assert server.get("/").status == 204


@cases(
    "app,reason",
    everywhere=[
        ("refuses", "the database is not there"),
        ("raises", "DeliberateError: deliberate: the database is not there"),
    ],
    once=[
        ("exits", "deliberate: the database is not there"),
        ("exits_with_number", "it called sys.exit(0)"),
        ("exits_at_once", "deliberate: at once"),
        ("interrupts", "KeyboardInterrupt"),
    ],
)
def test_startup_that_fails(model: str, app: str, reason: str, tmp_path: Path) -> None:
    """One sentence with the reason, and status 1; a traceback only of what the application has raised."""
    check_that_it_does_not_start(tmp_path, app, reason, "--model", model)


@pytest.mark.parametrize("app", ["exits", "raises"])
@pytest.mark.parametrize("model", ["prethreaded", "epoll"])
def test_startup_that_fails_in_workers(model: str, app: str, tmp_path: Path) -> None:
    """Not again and again."""
    check_that_it_does_not_start(tmp_path, app, "the database is not there", "--model", model, "--workers", "2")


def check_that_it_does_not_start(directory: Path, app: str, reason: str, *options: str) -> None:
    arguments = [f"{APPS}:{app}", "--app-dir", APP_DIR, "--bind", "127.0.0.1:0", *options]
    command = [sys.executable, "-m", "septet", "serve", *arguments]
    result = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == (3 if app == "refuses" else 1), result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("septet: the application did not start: ")
    assert reason in last
    assert "listening" not in result.stderr
    if app in ("raises", "interrupts"):
        assert re.search(r"\(\S+/apps_lifespan\.py, line \d+\)", last), "the application's author sees where"
    else:
        assert "Traceback" not in result.stderr
    assert "/septet/" not in result.stderr, "no frame of ours"


@pytest.mark.parametrize(
    ("model", "number"), [*product(MODELS, [signal.SIGTERM]), *product(STYLES, [signal.SIGINT])], ids=str
)
def test_stop_during_startup(model: str, number: signal.Signals) -> None:
    with serve(model, "asgi", app=f"{APPS}:waits_for_ever", wait_ready=False) as server:
        server.journal.wait_for("starting")
        server.send_signal(number)
        assert server.wait(PROMPT_S) == 0
        assert server.journal.count("startup cancelled") >= 1
        assert "listening" not in server.stderr()
        assert not server.complaints()


@pytest.mark.parametrize("model", [model for model in MODELS if model != "preforked"])  # there a worker would get it
def test_stop_that_another_thread_hears_first(model: str) -> None:
    """Python runs the handler in the main thread, which may wait for something else."""
    with serve(model, "asgi", app=f"{APPS}:is_told_in_its_thread", wait_ready=False) as server:
        assert server.wait(PROMPT_S) == 0
        assert not server.complaints()


@pytest.mark.parametrize("model", ["prethreaded", "epoll"])
def test_stop_of_workers_during_startup(model: str) -> None:
    with serve(model, "asgi", "--workers", "2", app=f"{APPS}:waits_for_ever", wait_ready=False) as server:
        wait_until(lambda: server.journal.count("starting") == 2, "both start")
        server.send_signal(signal.SIGTERM)
        assert server.wait(PROMPT_S) == 0
        assert not server.complaints()


@pytest.mark.parametrize("model", ["iterative", "threaded", "prethreaded"])
def test_stop_during_a_startup_that_blocks_its_loop(model: str) -> None:
    """The main thread is free to hear the signal; status 1 says that the startup was cut."""
    with serve(model, "asgi", app=f"{APPS}:blocks_for_ever", wait_ready=False) as server:
        server.journal.wait_for("starting")
        server.send_signal(signal.SIGTERM)
        assert server.wait(PROMPT_S) == 1
        assert not server.complaints()


@cases("app", everywhere=["unsupported"], once=["silent"])
def test_application_without_lifespan(model: str, app: str) -> None:
    """The specification: an exception at the lifespan scope means that it is not supported, and serving goes on."""
    with serve(model, "asgi", app=f"{APPS}:{app}") as server:
        assert server.get("/").status == 204
        server.stop()
        assert not server.complaints()


@each_style
def test_application_that_cancels_all_tasks(model: str) -> None:
    """The server's are not among them."""
    with serve(model, "asgi", app=f"{APPS}:cancels_all_tasks") as server:
        assert server.get("/").status == 204
        server.stop()
        assert server.journal.count("stopped") == 1
        assert not server.complaints()
