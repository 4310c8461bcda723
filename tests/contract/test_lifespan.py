"""The ASGI lifespan: start-up before the first request, shutdown at the stop, a refusal ends the server."""

import subprocess
import sys
from pathlib import Path

import pytest

from support.server import APP_DIR, serve

APPS = "support.apps_lifespan"


def test_startup_comes_first_and_shutdown_last(model: str) -> None:
    """As often as there are processes that serve; never a request before a start-up is complete."""
    with serve(model, "asgi", app=f"{APPS}:slow") as server:
        assert server.get("/").status == 204
        server.stop()
        lines = server.journal.lines()
        assert lines.count("started") == lines.count("stopped") == lines.count("starting") >= 1
        assert lines.index("started") < lines.index("request") < lines.index("stopped")


def test_several_workers(model: str) -> None:
    """Each process has a start-up of its own: connections made in another are of no use to it."""
    if model == "forking":
        options, processes = [], 1
    else:
        options, processes = ["--workers", "2"], 2
    with serve(model, "asgi", *options, app=f"{APPS}:slow") as server:
        assert server.get("/").status == 204
        server.stop()
        assert server.journal.count("started") == server.journal.count("stopped") == processes


def test_refused_startup(model: str, tmp_path: Path) -> None:
    arguments = [f"{APPS}:refuses", "--app-dir", APP_DIR, "--model", model, "--bind", "127.0.0.1:0"]
    command = [sys.executable, "-m", "septet", "serve", *arguments]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 3
    assert "the database is not there" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("septet: ")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("app", ["unsupported", "silent"])
def test_application_without_lifespan(model: str, app: str) -> None:
    """The specification: an exception at the lifespan scope means that it is not supported, and serving goes on."""
    with serve(model, "asgi", app=f"{APPS}:{app}") as server:
        assert server.get("/").status == 204
        server.stop()
        assert not server.complaints()


@pytest.mark.parametrize("model", ["poll", "epoll", "io_uring"])
def test_task_that_lives_as_long_as_the_server(model: str) -> None:
    """Started at start-up, on the loop of the requests; only one loop for all of them can do that."""
    with serve(model, "asgi", app=f"{APPS}:background") as server:
        for _ in range(3):
            assert server.get("/").status == 204
        server.stop()
        assert server.journal.count("stopped") == 1
