"""A connection that is idle must not keep those out who have something to ask, whichever worker carries it."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from contract.conftest import staying_well
from support.client import Connection, connections
from support.marks import with_one_interface
from support.messages import render
from support.models import LOOPS
from support.pool import Pool
from support.processes import await_idle
from support.server import Server, serve
from support.waiting import wait_until

#: Blocking models with a single worker, which an idle connection could hold for the 75 s of --keep-alive-timeout.
ONE_WORKER = [("iterative", []), ("preforked", ["--workers", "1"]), ("prethreaded", ["--threads", "1"])]

#: s; far from the second that a worker would give to each of them.
AT_ONCE_S = 10.0


@pytest.fixture
def server(servers_of_file: Pool, model: str, options: list[str], interface: str) -> Iterator[Server]:
    with staying_well(servers_of_file.get(model, interface, *options)) as shared:
        yield shared


@pytest.mark.parametrize(("model", "options"), ONE_WORKER)
def test_idle_connection_gives_way(server: Server) -> None:
    with server.connect() as idle:
        assert idle.request("GET", "/").status == 200
        assert server.get("/").status == 200
        idle.assert_closed()


@pytest.mark.parametrize(("model", "options"), ONE_WORKER)
def test_silent_connection_gives_way(server: Server) -> None:
    """Opened in advance, as browsers do, and not used."""
    with server.connect():
        assert server.get("/").status == 200


@pytest.mark.parametrize(("model", "options"), ONE_WORKER)
def test_silent_connection_gives_way_on_a_unix_socket(
    model: str, options: list[str], interface: str, tmp_path: Path
) -> None:
    """There the kernel does not wait for a client's first byte."""
    bind = (f"unix:{tmp_path / 'socket'}",)
    with serve(model, interface, *options, bind=bind) as server, connections(server.address, 2):
        assert server.get("/").status == 200


@pytest.mark.parametrize(("model", "options"), ONE_WORKER)
def test_busy_connection_gives_way(server: Server) -> None:
    """It is never idle: each answer is followed by the next request at once, and yet it ends."""
    with server.connect() as busy, server.connect() as waiting:
        assert busy.request("GET", "/").status == 200
        waiting.send(render("GET", "/"))
        wait_until(lambda: is_let_go(busy), "the busy connection is closed")
        assert waiting.read_response().status == 200


def is_let_go(busy: Connection) -> bool:
    """Ask once more: whether the answer is the last, or the connection has ended instead of one."""
    busy.send_if_possible(render("GET", "/"))
    return not busy.has_more() or busy.read_response().closes


@pytest.mark.parametrize(("model", "options"), ONE_WORKER)
def test_many_idle_connections_take_turns(server: Server) -> None:
    with connections(server.address, 3) as clients:
        for client in clients:
            assert client.request("GET", "/").status == 200


@pytest.mark.parametrize(("model", "options"), ONE_WORKER)
def test_alone_it_is_kept(model: str, options: list[str], interface: str) -> None:
    """With nobody at the door there is no reason to close it."""
    with serve(model, interface, *options) as server, server.connect() as connection:
        for _ in range(3):
            response = connection.request("GET", "/")
            assert response.status == 200
            assert not response.closes
            await_idle(server.pid)
            connection.assert_nothing_more()


@with_one_interface()
def test_idle_connections_of_every_model(model: str, interface: str) -> None:
    """Many more of them than the model has workers: they cost nobody any time."""
    with serve(model, interface) as server, connections(server.address, 40):
        start = time.monotonic()
        assert server.get("/").status == 200
        assert time.monotonic() - start < AT_ONCE_S


@pytest.mark.parametrize("model", LOOPS)
@pytest.mark.parametrize("options", [(), ("--threads", "1"), ("--threads", "0")], ids=" ".join)
def test_requests_in_one_piece_do_not_hold_the_loop(model: str, options: tuple[str, ...]) -> None:
    """Somebody who asks once is not kept waiting for all that another has asked before."""
    many = 1000
    with (
        serve(model, "wsgi", *options, app="support.app_counts:app") as server,
        connections(server.address, 2) as (hog, other),
    ):
        assert other.request("GET", "/").body == b"1"
        hog.send(render("GET", "/") * many)
        assert hog.read_response().body == b"2"
        assert int(other.request("GET", "/").body) < many / 2
        for _ in range(many - 1):
            assert hog.read_response().status == 200


@pytest.mark.parametrize("model", LOOPS)
def test_a_worker_whose_threads_are_taken_leaves_clients_to_others(model: str) -> None:
    """However clients are spread at first, none waits for a thread of one worker while another worker has one free."""
    with serve(model, "wsgi", "--workers", "2", "--threads", "2", app="support.app_gated:application") as server:
        begun = 0
        for gate in "abcde":
            with ExitStack() as stack:
                clients = []
                for _ in range(4):
                    client = stack.enter_context(server.connect())
                    client.send(render("GET", f"/?{gate}"))
                    clients.append(client)
                    begun += 1
                    wait_until(partial(has_begun, server, begun), f"{begun} requests have begun")
                server.journal.open_gate(gate)
                assert [client.read_response().status for client in clients] == [200] * 4


def has_begun(server: Server, number: int) -> bool:
    return server.journal.count("begun") == number
