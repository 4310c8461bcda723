"""A worker that stands still looks so, and the log says it, also without `--worker-timeout`."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from typing import Any

import pytest

from support.client import Connection
from support.marks import each_style
from support.messages import render
from support.processes import children
from support.server import Server, serve
from support.waiting import wait_until

ENDPOINT = ("--metrics-bind", "127.0.0.1:0")


def address(server: Server) -> str:
    found = re.search(r"metrics at http://(\S+)", server.stderr())
    assert found is not None
    return found[1]


def status(server: Server) -> dict[str, Any]:
    with Connection(("127.0.0.1", int(address(server).rpartition(":")[2]))) as connection:
        found = json.loads(connection.request("GET", "/status.json").body)
    assert isinstance(found, dict)
    return found


def process(server: Server, pid: int) -> dict[str, Any]:
    (found,) = [each for each in status(server)["processes"] if each["pid"] == pid]
    return dict(found)


def looks_still(server: Server, pid: int) -> bool:
    found = process(server, pid)
    return found["stands_still_s"] is not None and found["saturation"] == 1


@each_style
@pytest.mark.parametrize("stopped", [False, True], ids=["blocked", "stopped"])
def test_worker_that_stands_still_looks_so(model: str, stopped: bool) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(serve(model, "asgi", "--workers", "1", *ENDPOINT, app="support.app_late:asgi"))
        (worker,) = children(server.pid)
        assert server.get("/").status == 200
        assert process(server, worker.pid)["stands_still_s"] is None
        if stopped:
            os.kill(worker.pid, signal.SIGSTOP)
        else:
            stack.enter_context(server.connect()).send(render("GET", "/blocks"))
        wait_until(lambda: looks_still(server, worker.pid), "the status says so")
        assert status(server)["saturation"] == 1
        lag_s = process(server, worker.pid)["loop_lag_s"]
        assert lag_s is None or lag_s >= 2
        command = [sys.executable, "-m", "septet", "status", address(server)]
        told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
        assert re.search(rf"stand still +worker {worker.pid} for \d+ s\n", told), told
        assert re.search(rf"worker {worker.pid} +stands still \d+ s ", told), told
        wait_until(lambda: "SEP105" in server.stderr(), "the log says so")
        found = re.search(rf"WARNING.* SEP105 worker {worker.pid} stands still for \d\.\d s(.*)", server.stderr())
        assert found is not None, server.stderr()
        expected = ": it is stopped (by SIGSTOP or" if stopped else ", in which it has used 0."
        assert found[1].startswith(expected), found[1]
        wait_until(lambda: any("stands still" in each["text"] for each in status(server)["events"]), "an event, too")
        if stopped:
            os.kill(worker.pid, signal.SIGCONT)
        else:
            (server.directory / "released").touch()
        wait_until(lambda: process(server, worker.pid)["stands_still_s"] is None, "it goes on")
        wait_until(lambda: f"worker {worker.pid} goes on: it has stood still for" in server.stderr(), "the log says so")
        told = server.stderr()  # on a busy machine perhaps of another time, too
        assert told.count("SEP105") == told.count(" goes on: it has stood still for"), "each time is told once"


@each_style
def test_process_without_a_supervisor_says_it_itself(model: str) -> None:
    app = "support.app_late:asgi"
    with serve(model, "asgi", "--no-supervisor", *ENDPOINT, app=app) as server, server.connect() as connection:
        assert server.get("/").status == 200
        connection.send(render("GET", "/blocks"))
        wait_until(lambda: looks_still(server, server.pid), "the status says so")
        wait_until(lambda: f"SEP105 server {server.pid} stands still for " in server.stderr(), "the log says so")
        (server.directory / "released").touch()
        assert connection.read_response().status == 200


@each_style
def test_generation_that_stands_still_looks_so(model: str) -> None:
    """Where the generation is itself the server."""
    with serve(model, "wsgi", "--supervisor", *ENDPOINT) as server:
        assert server.get("/").status == 200
        (pid,) = [each["pid"] for each in status(server)["processes"] if each["kind"] == "server"]
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: looks_still(server, pid), "the status says so")
        wait_until(lambda: f"SEP105 server {pid} stands still for " in server.stderr(), "the log says so")
        os.kill(pid, signal.SIGCONT)
        assert server.get("/").status == 200
