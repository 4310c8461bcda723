"""The line in which each process tells how busy it is: `--metrics-interval`."""

import re

import pytest

from support.marks import with_one_interface
from support.messages import render
from support.models import EVENT_DRIVEN, WITH_WORKERS
from support.server import Server, serve
from support.waiting import wait_until

_LINE = re.compile(r"^\S+ \S+ (?P<pid>\d+) INFO septet: metrics (?P<pairs>\S+=\S+(?: \S+=\S+)*)$", re.MULTILINE)

COMMON = ["seconds", "requests", "in_flight", "connections"]
OF_LOOPS = ["idle", "iterations_per_s", "events_per_iteration", "mean_latency_us", "longest_turn_us"]


def lines(server: Server) -> list[dict[str, float]]:
    """What all processes have told so far, in its order."""
    found = [match.groupdict() for match in _LINE.finditer(server.stderr())]
    return [
        {"pid": int(each["pid"])} | {key: float(value) for key, value in re.findall(r"(\S+)=(\S+)", each["pairs"])}
        for each in found
    ]


def now(server: Server, key: str) -> float:
    """The sum over all processes of what each told last."""
    last = {line["pid"]: line[key] for line in lines(server)}
    return sum(last.values())


@with_one_interface(WITH_WORKERS)
def test_every_worker_tells(model: str, interface: str) -> None:
    with serve(model, interface, "--workers", "2", "--metrics-interval", "0.1") as server:
        for _ in range(10):
            assert server.get("/").status == 200
        wait_until(lambda: sum(line["requests"] for line in lines(server)) == 10, "all requests are told of")
        wait_until(lambda: len({line["pid"] for line in lines(server)}) == 2, "both workers have told")
        with server.connect() as connection:
            connection.send(render("GET", "/send?size=20000000&parts=20"))
            connection.read_head()  # and no more, so the answer does not end
            wait_until(lambda: now(server, "in_flight") == now(server, "connections") == 1, "one is in flight")
        wait_until(lambda: now(server, "in_flight") == now(server, "connections") == 0, "nobody is there")
        for line in lines(server):
            assert list(line) == ["pid", *COMMON, *(OF_LOOPS if model in EVENT_DRIVEN else [])]
            assert line["seconds"] > 0
            assert 0 <= line.get("idle", 0) <= 1


@pytest.mark.parametrize("model", ["epoll", "threaded"])
def test_limit_of_concurrency_holds(model: str) -> None:
    """What is counted for the one option is bounded by the other."""
    options = ("--metrics-interval", "0.1", "--limit-concurrency", "1")
    with serve(model, "asgi", *options) as server, server.connect() as connection:
        connection.send(render("GET", "/send?size=20000000&parts=20"))
        connection.read_head()
        assert server.get("/").status == 503
        wait_until(lambda: sum(line["requests"] for line in lines(server)) == 2, "both are told of")
        assert now(server, "in_flight") == 1
