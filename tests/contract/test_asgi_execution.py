"""Where an ASGI application runs: on one loop per process, from lifespan's start to its end, a task for each request.

Under forking each child has a loop of its own, for threads do not survive a fork: lifespan's is another one.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support.client import Connection, connections
from support.messages import render
from support.models import LOOPS, MODELS, loads
from support.server import Server, serve
from support.waiting import wait_until

APP = "support.apps_asgi_execution:app"

#: s; far from the 20 s that a test waits otherwise: what is right comes at once.
PROMPT_S = 5.0

with_lifespans_loop = pytest.mark.parametrize("model", [model for model in MODELS if model != "forking"])


@pytest.fixture
def server(model: str) -> Iterator[Server]:
    with serve(model, "asgi", app=APP) as started:
        yield started
        started.stop()
        assert not started.complaints()


def ask_together(server: Server, token: str) -> list[dict[str, Any]]:
    """Two requests on each of eight connections: they wait at the same time, as far as the model lets them."""
    seen = []
    with connections(server.address, 8) as clients:
        for turn in range(2):
            for number, client in enumerate(clients):
                close = ["Connection: close"] * turn
                client.send_if_possible(render("GET", f"/where?token={token}{number}", *close))
            # A model with a single worker ends a connection for the sake of those that wait.
            seen += [json.loads(client.read_response().body) for client in clients if client.has_more()]
    assert len(seen) >= 8
    return seen


def test_a_process_has_one_loop(server: Server, model: str, token: str) -> None:
    places = {tuple(one["place"]) for one in ask_together(server, token)}
    processes = {process for process, _, _ in places}
    if model == "interpreters":
        assert len(processes) == 1 < len(places) <= loads(model), "each has one"
    else:
        assert len(processes) == len(places), "process, loop, thread"


@with_lifespans_loop
def test_it_is_the_loop_of_lifespan(server: Server, token: str) -> None:
    for seen in ask_together(server, token):
        assert seen["place"] == seen["lifespan"]


def test_contexts_are_apart(server: Server, token: str) -> None:
    """On one connection, and between several whose requests run at the same time."""
    for seen in ask_together(server, token):
        own, in_task, same_place = seen["after"]
        assert (seen["before"], in_task, same_place) == ("", True, True)
        assert own.startswith(token)


@with_lifespans_loop
def test_the_loop_runs_without_requests(server: Server) -> None:
    """A task of lifespan's goes on while nothing is asked for."""
    assert server.get("/where?token=any").status == 200
    ticks = server.journal.count("tick")
    wait_until(lambda: server.journal.count("tick") >= ticks + 5, "the task of lifespan goes on", PROMPT_S)


def test_a_task_outlives_its_request(server: Server, token: str) -> None:
    """Under forking as long as its connection, with which its process ends."""
    with server.connect() as connection:
        assert connection.request("GET", f"/task?token={token}").status == 200
        ended = f"task of {token} has ended"
        wait_until(lambda: server.journal.count(ended), "the task has ended", PROMPT_S)


@with_lifespans_loop
def test_a_request_and_a_task_of_lifespan_work_together(server: Server) -> None:
    with Connection(server.address, timeout_s=PROMPT_S) as connection:
        for _ in range(3):
            assert connection.request("GET", "/ask").body == b'"answered"'


@pytest.mark.parametrize("model", ["threaded", "prethreaded", *LOOPS])
def test_a_request_wakes_another(server: Server, token: str) -> None:
    with Connection(server.address, timeout_s=PROMPT_S) as connection:
        connection.send(render("GET", f"/wait?token={token}"))
        server.journal.wait_for(f"waiting {token}")
        assert server.get(f"/wake?token={token}").status == 200
        assert connection.read_response().body == b'"woken"'
