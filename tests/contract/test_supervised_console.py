"""The endpoint of metrics and orders under the supervisor: it stays while generations come and go."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.client import Connection
from support.marks import each_style, engine_decides
from support.messages import render
from support.processes import children
from support.server import Server
from support.waiting import wait_until


def septet(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "septet", *arguments], capture_output=True, text=True, timeout=60)


class Controlled(Server):
    """A server with a supervisor and both endpoints, on unix sockets in its directory."""

    def __init__(self, model: str, interface: str, *options: str, app: str | None = None) -> None:
        endpoint = ("--metrics-bind", "unix:metrics", "--control", "control")
        arguments = ("--model", model, "--supervisor", *endpoint, *options)
        super().__init__(app or f"support.app_versions:{interface}", *arguments)

    def prepare(self) -> None:
        (self.directory / "version").write_text("one")

    def ask(self, path: str) -> Any:
        with Connection(str(self.directory / "metrics")) as connection:
            return connection.request("GET", path)

    def status(self) -> dict[str, Any]:
        found = json.loads(self.ask("/status.json").body)
        assert isinstance(found, dict)
        return found

    def order(self, name: str) -> None:
        with Connection(str(self.directory / "control")) as connection:
            assert connection.request("POST", f"/orders/{name}", body=b"").status == 202

    def generation(self) -> int:
        wait_until(lambda: len(children(self.pid)) == 1, "there is one generation")
        return children(self.pid)[0].pid

    def changes_generation(self, order: str) -> None:
        """Give an order, and wait until another generation serves alone."""
        before = self.generation()
        self.order(order)
        wait_until(lambda: [each.pid for each in children(self.pid)] not in ([], [before]), "another starts")
        wait_until(lambda: self.generation() != before, "it serves alone")


@each_style
@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=" ".join)
def test_reload_and_upgrade_by_the_control_socket(model: str, workers: tuple[str, ...]) -> None:
    with Controlled(model, "wsgi", *workers) as server, Connection(str(server.directory / "metrics")) as kept:
        assert server.get("/").status == 200
        for order in ("reload", "upgrade"):
            server.changes_generation(order)
            assert server.ask("/readyz").body == b"ready\n"
            assert server.get("/").status == 200
            if order == "reload":  # a program that is executed has closed its clients' sockets
                assert kept.request("GET", "/readyz").body == b"ready\n"
        wait_until(lambda: server.status()["requests"]["answered"] == 3, "nothing that was counted is lost")
        found = server.status()
        assert found["restarts"]["reload"] == 2
        assert found["pid"] == server.pid
        kinds = sorted(each["kind"] for each in found["processes"])
        assert kinds == (["generation", "supervisor", "worker", "worker"] if workers else ["server", "supervisor"])
        server.order("stop")
        assert server.wait() == 0
        assert not list(Path(server.directory).glob("metrics")), "its file is removed"


@each_style
def test_reload_says_how_it_has_ended(model: str) -> None:
    with Controlled(model, "wsgi") as server:
        where, version = str(server.directory / "control"), server.directory / "version"
        version.write_text("broken")
        failed = septet("control", "reload", where)
        assert failed.returncode == 1
        why = r"septet: the reload failed: .*this version is broken.*; generation 1 \(pid \d+\) goes on\n"
        assert re.fullmatch(why, failed.stderr)
        assert "  the last reload failed at " in septet("status", where).stdout
        assert "this version is broken" in server.status()["events"][-1]["text"]
        version.write_text("two")
        assert "HUP" not in server.stderr()
        for order, number in (("reload", 3), ("upgrade", 4)):
            done = septet("control", order, where)
            assert (done.returncode, done.stderr) == (0, "")
            assert re.fullmatch(rf"generation {number} \(pid \d+\) serves\n", done.stdout)
            assert "the last reload failed" not in septet("status", where).stdout
        assert " control reload: generation 3 (pid " in server.stderr()
        assert " control upgrade: generation 4 (pid " in server.stderr()
        assert "USR2" not in server.stderr()
        os.kill(server.pid, signal.SIGHUP)
        wait_until(lambda: " HUP: generation 5 (pid " in server.stderr(), "a signal is logged as one")
        wait_until(lambda: server.status()["orders"]["last"]["text"].startswith("generation 5 "), "it serves")
        version.write_text("slow")
        late = septet("control", "reload", where, "--timeout", "0.2")
        assert (late.returncode, late.stderr[:48]) == (1, "septet: the reload has not ended after 0.2 s (--")
        version.write_text("two")


@engine_decides
def test_crash_of_a_process_that_the_program_before_has_started(model: str) -> None:
    """Its file for the stacks is handed over."""
    with Controlled(model, "wsgi") as server:
        first = server.generation()
        (server.directory / "version").write_text("slow")
        server.order("upgrade")
        wait_until(lambda: " control upgrade: generation 2 (pid " in server.stderr(), "another program runs")
        os.kill(first, signal.SIGSEGV)
        line = rf"SEP112 generation 1 \(pid {first}\) ended by signal SIGSEGV: it crashed; .*; its stacks:\nFatal"
        wait_until(lambda: re.search(line, server.stderr()), "the log has its stacks")
        (server.directory / "version").write_text("two")
        second = re.search(r"generation 2 \(pid (\d+)\)", server.stderr())
        assert second is not None
        os.kill(int(second[1]), signal.SIGKILL)  # it would load for a minute
        wait_until(lambda: server.status()["state"] == "ready", "the next one serves")


@engine_decides
def test_program_that_is_replaced_is_described(model: str) -> None:
    """At once, not only when the next generation serves; and its age is that of the process."""
    with Controlled(model, "wsgi") as server:
        before = server.status()
        (server.directory / "version").write_text("slow")
        server.order("upgrade")
        wait_until(lambda: "runs Septet" in server.stderr(), "the program is replaced")
        after = server.status()
        assert (after["app"], after["model"], after["state"]) == (before["app"], model, "ready")
        assert [each["address"] for each in after["listeners"]] == [each["address"] for each in before["listeners"]]
        assert after["uptime_s"] >= before["uptime_s"]


@engine_decides
def test_log_configuration_that_is_refused_leaves_the_old_generation(model: str) -> None:
    with Controlled(model, "wsgi") as server:
        (server.directory / "septet.toml").write_text("log_config = 'missing.toml'\n")
        server.order("reload")
        wait_until(lambda: "cannot start, and generation 1" in server.stderr(), "it is refused")
        why = "--log-config is 'missing.toml', which cannot be read"
        wait_until(lambda: why in server.stderr(), "the reason is told, by another process")
        assert server.get("/").status == 200


@engine_decides
def test_server_without_workers_is_recycled(model: str) -> None:
    with Controlled(model, "wsgi", "--max-requests", "3") as server:
        before = server.generation()
        for _ in range(3):
            server.get("/")
        wait_until(lambda: server.status()["restarts"]["recycled"] == 1, "it is replaced")
        wait_until(lambda: server.generation() != before, "it has ended")
        text = server.status()["events"][-1]["text"]
        assert text.endswith("it has answered its number of requests (--max-requests)")


@pytest.mark.parametrize("alone", [(), ("--no-supervisor", "--workers", "1")], ids=["supervised", "alone"])
@engine_decides
def test_last_line_says_whether_requests_were_cut(model: str, alone: tuple[str, ...]) -> None:
    options = (*alone, "--graceful-timeout", "0.5")
    with Controlled(model, "wsgi", *options, app="support.app_late:wsgi") as server:
        assert server.get("/").status == 200
        server.process.terminate()
        assert server.wait() == 0
        assert server.stderr().endswith(" INFO septet: stopped: all requests were answered\n")
    with Controlled(model, "wsgi", *options, app="support.app_late:wsgi") as server, server.connect() as client:
        client.send(render("GET", "/waits"))
        wait_until(lambda: server.status()["requests"]["in_flight"] == 1, "it is in the application")
        server.process.terminate()
        assert server.wait() == 0
        last = server.stderr().splitlines()[-1]
        assert last.endswith("requests were cut (SEP121)" if alone else "stopped: 1 request was not answered (SEP121)")


@engine_decides
def test_worker_that_dies_says_how_many_requests_are_lost(model: str) -> None:
    with Controlled(model, "wsgi", "--workers", "1", app="support.app_late:wsgi") as server, server.connect() as client:
        client.send(render("GET", "/waits"))
        wait_until(lambda: server.status()["requests"]["in_flight"] == 1, "it is in the application")
        (worker,) = [each["pid"] for each in server.status()["processes"] if each["kind"] == "worker"]
        os.kill(worker, signal.SIGKILL)
        line = rf"SEP112 worker {worker} ended by signal SIGKILL .*; 1 request was lost; another starts in 0\.\d s\n"
        wait_until(lambda: re.search(line, server.stderr()), "the log says so")


@engine_decides
def test_log_files_of_any_format_are_opened_anew(model: str) -> None:
    log = ("--access-log", "access.log", "--access-log-format", "json")
    with Controlled(model, "wsgi", "--workers", "1", *log) as server:
        path = server.directory / "access.log"
        assert server.get("/first").status
        wait_until(lambda: "/first" in path.read_text(), "it is logged, which is after its answer has gone")
        path.rename(server.directory / "old.log")
        server.order("reopen")
        wait_until(lambda: path.exists(), "it is opened anew")
        wait_until(lambda: bool(server.get("/second") and "/second" in path.read_text()), "lines go there")
        assert json.loads(path.read_text().splitlines()[-1])["target"] == "/second"
        assert "/first" in (server.directory / "old.log").read_text()


@engine_decides
def test_more_and_fewer(model: str) -> None:
    with Controlled(model, "wsgi", "--workers", "1") as server:
        for order, count in (("more", 2), ("fewer", 1)):
            server.order(order)
            wait_until(
                lambda count=count: len(children(server.generation())) == count,  # type: ignore[misc]
                f"there are {count} workers",
            )
        assert re.search(r"worker \d+ has started: 2 workers are wanted\n", server.stderr())
        assert re.search(r"worker \d+ finishes its requests: 1 worker is wanted\n", server.stderr())
