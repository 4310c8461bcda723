"""Where an ASGI application runs: on one loop per process, from lifespan's start to its end, a task for each request.

Under forking each child has a loop of its own, for threads do not survive a fork: lifespan's is another one.

Here several requests are there at the same time; what becomes of their tasks, and of those of lifespan, is in
`test_one_loop`.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from contract.conftest import staying_well
from support.client import connections
from support.messages import render
from support.models import MODELS, loads
from support.pool import Pool
from support.server import Server

APP = "support.apps_asgi_execution:app"

with_lifespans_loop = pytest.mark.parametrize("model", [model for model in MODELS if model != "forking"])


@pytest.fixture
def server(servers_of_file: Pool, model: str) -> Iterator[Server]:
    with staying_well(servers_of_file.get(model, "asgi", app=APP)) as shared:
        yield shared


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
