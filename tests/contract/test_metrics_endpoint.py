"""The address of `--metrics-bind`: what is counted there under every model, and what it says of the server's state."""

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from septet.interpreter import has_gil
from support.client import Connection
from support.marks import each_style, engine_decides
from support.messages import render
from support.models import EVENT_DRIVEN, INTERFACES, MODELS, WITH_WORKERS
from support.processes import children
from support.server import Server, serve
from support.waiting import wait_until

ENDPOINT = ("--metrics-bind", "127.0.0.1:0")
_ADDRESS = re.compile(r"^septet: metrics at http://127\.0\.0\.1:(\d+)$", re.MULTILINE)


def ask(server: Server, path: str, *fields: str) -> Any:
    found = _ADDRESS.search(server.stderr())
    assert found, server.stderr()
    with Connection(("127.0.0.1", int(found[1]))) as connection:
        return connection.request("GET", path, *fields)


def status(server: Server) -> dict[str, Any]:
    found = json.loads(ask(server, "/status.json").body)
    assert isinstance(found, dict)
    return found


def samples(server: Server) -> dict[str, float]:
    """By name and labels, as Prometheus has them."""
    lines = ask(server, "/metrics").body.decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}


def test_client_that_pipelines() -> None:
    """It cannot hold the supervisor, which answers in its only thread: after two answers the connection ends."""
    with serve("epoll", "wsgi", *ENDPOINT) as server:
        found = _ADDRESS.search(server.stderr())
        assert found
        with Connection(("127.0.0.1", int(found[1]))) as connection:
            connection.send(render("GET", "/healthz") * 50)
            assert [connection.read_response().closes for _ in range(2)] == [False, True]
            connection.assert_closed()
        assert ask(server, "/healthz").status == 200


def test_what_is_counted(model: str) -> None:
    """The session counts, so each model is tried with one interface, half of them with either."""
    with serve(model, INTERFACES[MODELS.index(model) % 2], *ENDPOINT) as server:
        for _ in range(3):
            assert server.get("/").status == 200
        assert server.request("POST", "/echo", body=b"x" * 10).status == 200
        with server.connect() as connection:
            connection.send(b"nonsense\r\n\r\n")
            assert connection.read_response().status == 400
        with server.connect() as connection:
            connection.send(render("GET", "/send?size=20000000&parts=20"))
            connection.read_head()  # and no more, so the answer does not end
            wait_until(lambda: status(server)["requests"]["in_flight"] == 1, "one is in flight")
            assert status(server)["connections"]["open"] == 1
        wait_until(lambda: status(server)["connections"]["open"] == 0, "nobody is there")
        wait_until(lambda: status(server)["requests"]["aborted"] == 1, "the application is told, and has ended")
        requests = status(server)["requests"]
        assert requests["by_method"] == {"GET": 3, "POST": 1, "other": 1}
        assert requests["by_status"] == {"2xx": 4, "4xx": 1}
        assert (requests["in_flight"], requests["aborted"], requests["lost"]) == (0, 1, 0)
        assert status(server)["connections"]["accepted"] == 6
        found = samples(server)
        assert found['septet_requests_total{method="GET",status="2xx"}'] == 3
        assert found["septet_request_duration_seconds_count"] == 4
        assert found["septet_queue_wait_seconds_count"] >= 1
        wait_until(lambda: samples(server)["septet_sent_bytes_total"] > 10, "the sums are there")


def families(text: str) -> set[str]:
    """The names in a text of Prometheus, without those that a histogram or a counter brings with it."""
    return {name for name in re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE) if not name.endswith("_created")}


def rows_of_page() -> str:
    """The table "What is counted" of the documentation."""
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "monitoring.md").read_text("utf-8")
    return page.partition("## What is counted")[2].partition("\n\n**")[0]


@engine_decides
def test_every_metric_is_in_the_documentation(model: str) -> None:
    with serve(model, "wsgi", *ENDPOINT) as server:
        told = families(ask(server, "/metrics").body.decode())
    assert told == set(re.findall(r"`(septet_\w+)[`{]", rows_of_page()))


@pytest.mark.parametrize("model", WITH_WORKERS)
def test_killed_worker_loses_nothing_that_was_counted(model: str) -> None:
    with serve(model, "wsgi", "--workers", "2", *ENDPOINT) as server:
        for _ in range(4):
            assert server.get("/").status == 200
        with server.connect() as connection:
            connection.send(render("GET", "/send?size=20000000&parts=20"))
            connection.read_head()
            wait_until(lambda: status(server)["requests"]["in_flight"] == 1, "one is in flight")
            busy = next(each["pid"] for each in status(server)["processes"] if each["in_flight"])
            os.kill(busy, signal.SIGKILL)
            wait_until(lambda: status(server)["requests"]["lost"] == 1, "its request is lost")
        wait_until(lambda: len(status(server)["processes"]) == 3, "another worker is there")
        found = status(server)
        assert busy not in [each["pid"] for each in found["processes"]]
        assert found["requests"]["answered"] == 4
        assert found["restarts"]["signal"] == 1
        assert {each["kind"] for each in found["processes"]} == {"supervisor", "worker"}


def test_forked_children_are_summed() -> None:
    with serve("forking", "wsgi", *ENDPOINT) as server:
        seen = 0
        for index in range(30):
            if index % 3:
                assert server.get("/").status == 200
            else:  # the child is killed in the middle of an answer
                with server.connect() as connection:
                    connection.send(render("GET", "/send?size=20000000&parts=20"))
                    connection.read_head()
                    for child in children(server.pid):
                        os.kill(child.pid, signal.SIGKILL)
            answered = status(server)["requests"]["answered"]
            assert answered >= seen
            seen = answered
        wait_until(lambda: not children(server.pid), "all children have ended")
        requests = status(server)["requests"]
        assert (requests["answered"], requests["in_flight"]) == (20, 0)
        assert requests["lost"] == 10


@each_style
@pytest.mark.parametrize("workers", [(), ("--workers", "1")], ids=["alone", "supervised"])
def test_health_and_readiness(model: str, workers: tuple[str, ...]) -> None:
    with serve(model, "asgi", *workers, *ENDPOINT) as server:
        assert (ask(server, "/healthz").status, ask(server, "/readyz").body) == (200, b"ready\n")
        with server.connect() as connection:
            connection.send(render("GET", "/send?size=20000000&parts=20"))
            connection.read_head()
            server.send_signal(signal.SIGTERM)
            wait_until(lambda: ask(server, "/readyz").status == 503, "it is not ready any more")
            assert ask(server, "/readyz").body == b"draining\n"
            assert ask(server, "/healthz").status == 200
        assert server.wait() == 0


@each_style
def test_clients_that_are_served_are_not_dropped(model: str) -> None:
    """A blocking model has the kernel hold clients back until they send; each of them is in the socket's own count."""
    with serve(model, "wsgi", *ENDPOINT) as server:
        for _ in range(5):
            assert server.get("/").status == 200
        found = status(server)
        (listener,) = found["listeners"]
        assert listener["drops"] == (0 if model in EVENT_DRIVEN else None)
        counted = samples(server)
        ours = {name: count for name, count in counted.items() if name.startswith("septet_listen_drops_total")}
        assert list(ours.values()) == ([0.0] if model in EVENT_DRIVEN else [])
        assert 0 <= found["connections_dropped"] <= counted["septet_namespace_listen_drops_total"]


@engine_decides
def test_not_ready_while_the_application_starts(model: str) -> None:
    with serve(model, "asgi", *ENDPOINT, app="support.apps_lifespan:waits_for_ever", wait_ready=False) as server:
        wait_until(lambda: _ADDRESS.search(server.stderr()) is not None, "the endpoint is there")
        assert ask(server, "/readyz").status == 503
        assert ask(server, "/readyz").body == b"starting\n"
        server.send_signal(signal.SIGKILL)
        assert server.wait() == -signal.SIGKILL


@engine_decides
def test_formats_and_refusals(model: str) -> None:
    with serve(model, "wsgi", *ENDPOINT) as server:
        assert ask(server, "/metrics").get("content-type").startswith("text/plain")
        assert ask(server, "/metrics", "Accept: application/openmetrics-text; version=1.0.0").body.endswith(b"# EOF\n")
        assert ask(server, "/elsewhere").status == 404
        found = _ADDRESS.search(server.stderr())
        assert found
        with Connection(("127.0.0.1", int(found[1]))) as connection:
            refused = connection.request("POST", "/status.json", body=b"x")
            assert (refused.status, refused.get("allow")) == (405, "GET, HEAD")
            assert connection.request("HEAD", "/status.json").status == 200


@each_style
def test_answers_while_every_thread_is_busy(model: str) -> None:
    with serve(model, "wsgi", "--threads", "1", *ENDPOINT) as server, server.connect() as connection:
        connection.send(render("GET", "/send?size=20000000&parts=20"))
        connection.read_head()
        wait_until(lambda: status(server)["requests"]["in_flight"] == 1, "the thread is busy")
        assert status(server)["processes"][0]["capacity"] == 1
        wait_until(lambda: status(server)["saturation"] == 1.0, "the server is saturated")


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
@pytest.mark.parametrize("model", ["epoll", "threaded"])
def test_wait_for_the_global_lock(model: str, interface: str) -> None:
    def gil() -> Any:
        return status(server)["gil_wait"]

    with serve(model, interface, *ENDPOINT, app=f"support.app_computes:{interface}") as server:
        if not has_gil():
            assert server.get("/").status == 200
            assert gil()["count"] == 0
            return
        wait_until(lambda: gil()["count"] >= 4, "there are samples")
        idle = gil()
        assert idle["mean_s"] < 0.005  # the first thread that runs imports modules
        assert server.get("/").status == 200
        wait_until(
            lambda: gil()["p90_s"] is not None and gil()["p90_s"] >= 0.004, "the thread that computes is noticed"
        )
        wait_until(
            lambda: samples(server)["septet_gil_wait_seconds_count"] > idle["count"], "what was noticed is counted"
        )
