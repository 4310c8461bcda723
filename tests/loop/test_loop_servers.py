"""Third-party ASGI servers on our loops, as processes of their own that serve a Starlette application."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from support.journal import VARIABLE, Journal
from support.server import APP_DIR
from support.waiting import PATIENCE_S, wait_until

CLASSES = {"poll": "PollLoop", "epoll": "EpollLoop", "io_uring": "UringLoop"}

APP = "support.app_starlette:app"

# Hypercorn's own command line knows its two loops; its documented way to run on another is `serve` in that loop.
HYPERCORN = """
import sys, hypercorn.asyncio, hypercorn.config, septet.loop
from support.app_starlette import app
config = hypercorn.config.Config.from_mapping(bind=[f"fd://{sys.argv[1]}"])
septet.loop.run(hypercorn.asyncio.serve(app, config), backend=sys.argv[2])
"""


def uvicorn(fd: int, backend: str) -> list[str]:
    return ["-m", "uvicorn", APP, "--fd", str(fd), "--loop", f"septet.loop:{CLASSES[backend]}"]


def hypercorn(fd: int, backend: str) -> list[str]:
    return ["-c", HYPERCORN, str(fd), backend]


@contextmanager
def served(arguments: Callable[[int, str], list[str]], backend: str, directory: Path) -> Iterator[httpx.Client]:
    """The server on a listener of ours, which accepts clients before the server is ready; SIGTERM must end it."""
    environment = os.environ | {"PYTHONPATH": APP_DIR, VARIABLE: str(directory)}
    with socket.create_server(("127.0.0.1", 0)) as listener, (directory / "log").open("wb") as log:
        listener.set_inheritable(True)
        fd, port = listener.fileno(), listener.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, *arguments(fd, backend)], env=environment, pass_fds=(fd,), stdout=log, stderr=log
        )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client:
                yield client
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: process.poll() is not None, "the server ends")
        finally:
            process.kill()
            process.wait()
    assert process.returncode in (0, -signal.SIGTERM)  # uvicorn raises the signal again when it has shut down


@pytest.mark.parametrize("server", [uvicorn, hypercorn])
def test_a_starlette_application(server: Callable[[int, str], list[str]], backend: str, tmp_path: Path) -> None:
    rows = "".join(f"row {row}\n" for row in range(1000))
    with served(server, backend, tmp_path) as client:
        for number in range(20):
            assert client.get(f"/hello/{number}").text == f"Hello, {number}!"
        assert client.post("/json", json={"many": [rows] * 50}).json() == {"many": [rows] * 50}
        assert client.get("/stream").text == rows
        assert client.get("/cookies", headers={"Cookie": "a=b"}).json() == {"a": "b"}  # by way of a thread
        assert client.get("/background?token=of-ours").text == "later"
    assert "Traceback" not in (log := (tmp_path / "log").read_text()), log
    assert Journal(tmp_path).lines() == ["background of-ours", "lifespan ended"]
