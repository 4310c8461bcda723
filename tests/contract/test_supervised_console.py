"""The endpoint of metrics and orders under the supervisor: it stays while generations come and go."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from support.client import Connection
from support.marks import each_style, engine_decides
from support.processes import children
from support.server import Server
from support.waiting import wait_until


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
        assert server.stderr().count("septet: metrics at") == 1
        server.order("stop")
        assert server.wait() == 0
        assert not list(Path(server.directory).glob("metrics")), "its file is removed"


@engine_decides
def test_deaths_of_generations_and_their_workers_are_told(model: str) -> None:
    with Controlled(model, "wsgi", "--workers", "1") as server:
        generation = server.generation()
        (worker,) = children(generation)
        os.kill(worker.pid, signal.SIGKILL)
        wait_until(lambda: server.status()["restarts"]["signal"] == 1, "the worker's end is counted")
        wait_until(lambda: server.get("/").status == 200, "another serves")
        server.tree()
        os.kill(generation, signal.SIGKILL)
        wait_until(lambda: server.status()["restarts"]["signal"] == 2, "the generation's end is counted")
        wait_until(lambda: server.ask("/readyz").status == 200, "another serves")
        texts = [event["text"] for event in server.status()["events"]]
        assert texts[0].startswith(f"worker {worker.pid} ended by signal SIGKILL, which neither")
        assert texts[1].startswith(f"generation 1 (pid {generation}) ended by signal SIGKILL, which neither")
        wait_until(lambda: len(server.status()["processes"]) == 3, "rows of the dead are given back")


@engine_decides
def test_addresses_change_with_the_configuration(model: str) -> None:
    with Controlled(model, "wsgi") as server:
        settings = server.directory / "septet.toml"
        settings.write_text("server_header = 'other'\n")
        server.changes_generation("reload")
        assert server.ask("/healthz").get("server") == "other"


@engine_decides
def test_requests_and_time_outs_have_a_server_replaced(model: str) -> None:
    """A server without workers: the supervisor replaces it, for the same reasons as a worker."""
    with Controlled(model, "wsgi", "--max-requests", "3") as server:
        before = server.generation()
        for _ in range(3):
            server.get("/")
        wait_until(lambda: server.status()["restarts"]["recycled"] == 1, "it is replaced")
        wait_until(lambda: server.generation() != before, "it has ended")
    late = ("--request-timeout", "0.3", "--graceful-timeout", "1", "--worker-timeout", "1")
    with Controlled(model, "wsgi", *late, app="support.app_late:wsgi") as server:
        before = server.generation()
        assert server.get("/waits").status == 504
        wait_until(lambda: server.status()["restarts"]["request timeout"] == 1, "it is replaced")
        (server.directory / "released").touch()
        wait_until(lambda: server.generation() != before, "it has ended")
        before = server.generation()
        os.kill(before, signal.SIGSTOP)
        wait_until(lambda: server.status()["restarts"]["worker timeout"] == 1, "it is ended")
        assert f"SEP111 worker {before} is ended by --worker-timeout" in server.stderr()
        wait_until(lambda: server.ask("/readyz").status == 200, "another serves")


@engine_decides
def test_log_files_of_any_format_are_opened_anew(model: str) -> None:
    log = ("--access-log", "access.log", "--access-log-format", "json")
    with Controlled(model, "wsgi", "--workers", "1", *log) as server:
        assert server.get("/first").status
        path = server.directory / "access.log"
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
