"""The table of metrics and the console belong to the supervisor: they outlive generations, and the program itself."""

import os
import signal
import subprocess
import sys

import pytest

from contract.test_metrics_endpoint import ENDPOINT, ask, status
from support.client import Truncated
from support.marks import each_style
from support.server import Server, serve
from support.waiting import wait_until

WORKERS = pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["alone", "workers"])


def serving(server: Server) -> set[int]:
    """Processes that serve clients; none while the program is replaced, which cuts the connection of who asks."""
    try:
        found = status(server)
    except (Truncated, ConnectionError):
        return set()
    return {each["pid"] for each in found["processes"] if each["kind"] in ("server", "worker")}


def answered(server: Server) -> int:
    return int(status(server)["requests"]["answered"])


@WORKERS
@each_style
def test_sums_do_not_fall_when_generations_change(model: str, workers: tuple[str, ...]) -> None:
    with serve(model, "wsgi", "--supervisor", *ENDPOINT, *workers) as server:
        for count, number in enumerate((signal.SIGHUP, signal.SIGHUP, signal.SIGUSR2), 1):
            before = serving(server)
            assert len(before) == (2 if workers else 1)
            assert server.get("/").status == 200
            wait_until(lambda count=count: answered(server) == count, "it is counted")
            server.send_signal(number)
            wait_until(lambda before=before: serving(server) and not serving(server) & before, "others are there")
            wait_until(lambda: ask(server, "/readyz").status == 200, "they serve")
            assert answered(server) == count

        def kinds() -> list[str]:
            return [each["kind"] for each in status(server)["processes"]]

        wait_until(lambda: kinds().count("generation") == (1 if workers else 0), "the one before has ended")
        assert kinds().count("supervisor") == 1


@WORKERS
@each_style
def test_generation_that_is_killed(model: str, workers: tuple[str, ...]) -> None:
    with serve(model, "wsgi", "--supervisor", *ENDPOINT, *workers) as server:
        assert server.get("/").status == 200
        wait_until(lambda: answered(server) == 1, "it is counted")
        before = serving(server)
        kind = "generation" if workers else "server"
        (victim,) = [each["pid"] for each in status(server)["processes"] if each["kind"] == kind]
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: serving(server) and not serving(server) & before, "others are there")
        wait_until(lambda: ask(server, "/readyz").status == 200, "they serve")
        assert answered(server) == 1
        (event,) = status(server)["events"]
        assert "ended by signal SIGKILL (not from us" in event["text"]
        assert status(server)["restarts"]["signal"] == 1


def test_end_of_a_worker_is_told_to_the_supervisor() -> None:
    with serve("epoll", "wsgi", "--supervisor", *ENDPOINT, "--workers", "1") as server:
        (victim,) = serving(server)
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: status(server)["events"], "it is told of")
        assert f"worker {victim} ended by signal SIGKILL" in status(server)["events"][0]["text"]


def test_order_to_reload() -> None:
    with serve("epoll", "wsgi", "--supervisor", *ENDPOINT, "--control", "control") as server:
        before = serving(server)
        command = [sys.executable, "-m", "septet", "control", "reload", str(server.directory / "control")]
        subprocess.run(command, check=True, timeout=60)
        wait_until(lambda: serving(server) and not serving(server) & before, "another generation serves")


@each_style
def test_generation_that_stands_still(model: str) -> None:
    """Where the generation is itself the server."""
    with serve(model, "wsgi", "--supervisor", *ENDPOINT, "--worker-timeout", "1") as server:
        (before,) = serving(server)
        assert server.get("/").status == 200
        os.kill(before, signal.SIGSTOP)
        wait_until(lambda: serving(server) not in (set(), {before}), "another generation is there")
        wait_until(lambda: ask(server, "/readyz").status == 200, "it serves")
        assert "SEP111" in server.stderr()
        assert server.get("/").status == 200


@each_style
def test_thread_that_does_not_end_costs_the_generation(model: str) -> None:
    options = ("--supervisor", *ENDPOINT, "--request-timeout", "0.3", "--graceful-timeout", "1")
    with serve(model, "wsgi", *options, app="support.app_late:wsgi") as server:
        (before,) = serving(server)
        assert server.get("/waits").status == 504
        wait_until(lambda: before not in serving(server) and serving(server), "another generation serves")
        assert "SEP102" in server.stderr()
        assert server.get("/").status == 200
        (server.directory / "released").touch()
