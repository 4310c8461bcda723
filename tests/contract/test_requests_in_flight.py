"""What an operator is told of requests in flight, and of those that were cut."""

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from support.client import Connection
from support.commands import septet_here
from support.marks import asgi_only, each_style
from support.messages import render
from support.models import IN_MAIN_INTERPRETER
from support.pool import Pool
from support.processes import children
from support.server import Server, serve
from support.waiting import wait_until
from support.websocket import raw_websocket

ENDPOINT = ("--metrics-bind", "127.0.0.1:0")


@pytest.fixture
def server(servers_of_file: Pool, model: str, interface: str) -> Iterator[Server]:
    """One whose application keeps what it is asked, until `release`."""
    shared = servers_of_file.get(model, interface, *ENDPOINT, app=f"support.app_late:{interface}")
    (shared.directory / "released").unlink(missing_ok=True)
    yield shared
    release(shared)
    wait_until(lambda: not running(shared), "nothing is left to the next test")


def late(model: str, interface: str, *options: str) -> Server:
    return serve(model, interface, *ENDPOINT, *options, app=f"support.app_late:{interface}")


def release(server: Server) -> None:
    (server.directory / "released").touch()


def where(server: Server) -> str:
    found = re.search(r"metrics at http://(\S+)", server.stderr())
    assert found is not None
    return found[1]


def status(server: Server) -> dict[str, Any]:
    with Connection(("127.0.0.1", int(where(server).rpartition(":")[2]))) as connection:
        found = json.loads(connection.request("GET", "/status.json").body)
    assert isinstance(found, dict)
    return found


def running(server: Server) -> list[dict[str, Any]]:
    return list(status(server)["running"])


def outcomes(server: Server) -> set[tuple[str, int | None, str]]:
    return {(each["target"], each["status"], each["outcome"]) for each in status(server)["slowest"]}


def threads(pid: int) -> list[int]:
    return [int(name) for name in os.listdir(f"/proc/{pid}/task")]


@pytest.mark.parametrize("model", IN_MAIN_INTERPRETER)
def test_what_runs_is_shown_until_it_ends(server: Server, model: str, interface: str) -> None:
    with server.connect() as connection:
        assert server.get("/").status == 200
        connection.send(render("GET", "/waits?x=1"))
        wait_until(lambda: running(server), "it is shown")
        (found,) = running(server)
        assert (found["method"], found["target"], found["client"]) == ("GET", "/waits?x=1", "127.0.0.1")
        assert found["status"] is None
        assert found["age_s"] >= 0.1
        assert found["pid"] in [each.pid for each in server.tree()]
        if interface == "wsgi" and model != "forking":
            wait_until(lambda: running(server)[0]["thread"], "its thread is known")
            assert running(server)[0]["thread"] in threads(found["pid"])
        told = septet_here("status", "--requests", where(server)).stdout
        assert re.fullmatch(
            r" *\S+ m?s  GET /waits\?x=1 of 127\.0\.0\.1, in process \d+(, thread \d+)?(: no answer yet)?\n", told
        )
        if model != "forking":  # its processes say it when a request begins
            assert found["begun"] is False
            assert ": no answer yet" in told
        release(server)
        assert connection.read_response().status == 200
        wait_until(lambda: not running(server), "it is not shown any more")
        assert ("/waits?x=1", 200, "answered") in outcomes(server)
        assert septet_here("status", "--requests", where(server)).stdout == "no request is in flight\n"


@each_style
@asgi_only
def test_client_that_sends_no_more(server: Server) -> None:
    """It has left, or only waits for its answer; an ASGI application that does not ask for it goes on."""
    with server.connect() as connection:
        connection.send(render("GET", "/waits"))
        wait_until(lambda: running(server), "it is shown")
        assert not running(server)[0]["client_ended"]
        connection.end_sending()
        wait_until(lambda: running(server)[0]["client_ended"], "that is shown")
        told = septet_here("status", "--requests", where(server)).stdout
        assert told.endswith(": no answer yet, its client sends no more\n")
        release(server)
        assert connection.read_response().status == 200


@each_style
def test_websockets_are_not_listed(model: str) -> None:
    with serve(model, "asgi", *ENDPOINT, app="support.app_websocket:app") as server:
        with raw_websocket(server.address, "/echo?token=slow"):
            wait_until(lambda: status(server)["websockets"]["open"] == 1, "it is open")
            wait_until(lambda: status(server)["requests"]["in_flight"] == 1, "it is counted")
            time.sleep(0.6)  # two looks of the thread that describes requests
            assert not running(server)
        wait_until(lambda: status(server)["websockets"]["open"] == 0, "it has ended")
        assert not [each for each in status(server)["slowest"] if each["status"] == 101]


@each_style
@asgi_only
def test_request_that_blocks_the_loop_is_shown(server: Server) -> None:
    with server.connect() as connection:
        connection.send(render("GET", "/blocks"))
        wait_until(lambda: [each["target"] for each in running(server)] == ["/blocks"], "it is shown")
        release(server)
        assert connection.read_response().status == 200


@pytest.mark.parametrize("model", IN_MAIN_INTERPRETER)
def test_client_that_left_is_among_the_slowest(server: Server) -> None:
    with server.connect() as connection:
        connection.send(render("GET", "/waits?left"))
        wait_until(lambda: running(server), "it runs")
        connection.reset()
    release(server)
    left = {("/waits?left", None, "client left"), ("/waits?left", 200, "client left")}  # a thread answers all the same
    wait_until(lambda: left & outcomes(server), "it is there")


@pytest.mark.parametrize("model", IN_MAIN_INTERPRETER)
def test_client_that_left_in_its_answer(server: Server) -> None:
    with server.connect() as connection:
        connection.send(render("GET", "/streams?left"))
        connection.read_head()
        wait_until(lambda: running(server), "it runs")
        connection.reset()
    release(server)
    wait_until(lambda: ("/streams?left", 200, "client left") in outcomes(server), "it is there")


@each_style
def test_application_that_fails_in_its_answer(server: Server) -> None:
    with server.connect() as connection:
        connection.send(render("GET", "/breaks"))
        connection.read_head()
        wait_until(lambda: running(server), "it takes long enough to be listed")
        release(server)
        connection.read_to_end()
        wait_until(lambda: ("/breaks", 200, "cut") in outcomes(server), "it is there")


@pytest.mark.parametrize("model", ["epoll", "prethreaded", "threaded", "forking"])
def test_requests_that_a_reload_cuts(model: str, interface: str) -> None:
    """They are still running when the time for a graceful end is up."""
    with late(model, interface, "--supervisor", "--graceful-timeout", "0.5") as server, server.connect() as connection:
        connection.send(render("GET", "/streams"))
        connection.read_head()
        wait_until(lambda: running(server), "it runs")
        server.send_signal(signal.SIGHUP)
        cut = {("/streams", 200, "cut"), ("/streams", 200, "process ended"), ("/streams", None, "process ended")}
        wait_until(lambda: cut & outcomes(server), "it is there")
        release(server)


@each_style
def test_requests_of_a_worker_that_was_killed(model: str, interface: str) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(late(model, interface, "--workers", "1"))
        assert server.get("/").status == 200
        (worker,) = children(server.pid)
        stack.enter_context(server.connect()).send(render("GET", "/waits"))
        wait_until(lambda: running(server), "it runs")
        os.kill(worker.pid, signal.SIGKILL)
        wait_until(lambda: ("/waits", None, "process ended") in outcomes(server), "it is there")
        assert not running(server)
        told = septet_here("status", where(server)).stdout
        assert re.search(r"^  \d\d:\d\d:\d\d +\S+ m?s  process ended  GET /waits$", told, re.MULTILINE), told
        release(server)


def test_requests_of_a_child_that_was_killed(interface: str) -> None:
    with late("forking", interface) as server, server.connect() as connection:
        connection.send(render("GET", "/waits"))
        wait_until(lambda: running(server), "it runs")
        (found,) = running(server)
        os.kill(found["pid"], signal.SIGKILL)
        wait_until(lambda: ("/waits", None, "process ended") in outcomes(server), "it is there")
        release(server)
