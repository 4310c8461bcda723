"""--limit-concurrency: 503 with Retry-After beyond so many requests in flight, whichever process carries them."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import pytest

from contract.conftest import staying_well
from support.client import Connection, Truncated, connections
from support.marks import with_one_interface
from support.messages import render
from support.models import MODELS, runs_concurrently
from support.pool import Pool
from support.processes import await_idle, children
from support.server import Server, serve
from support.waiting import wait_until

LIMIT = 2

#: So many at the same time as the limit and one more: what a model needs for that.
WIDE = {"preforked": ["--workers", "4"], "prethreaded": ["--threads", "4"]}

#: Models, with options, in which several requests are in flight in several processes.
IN_PROCESSES = [("forking", []), ("preforked", ["--workers", "4"]), ("epoll", ["--workers", "3"])]


@pytest.fixture
def limited(servers_of_file: Pool, model: str, interface: str) -> Iterator[Server]:
    """A server that can have more in flight than it may."""
    options = ("--limit-concurrency", str(LIMIT), *WIDE.get(model, []))
    with staying_well(servers_of_file.get(model, interface, *options)) as server:
        await_idle(server.pid)  # an answer may have come a moment before the server counts it as over
        yield server


@contextmanager
def in_flight(server: Server, count: int, token: str) -> Iterator[list[Connection]]:
    """So many requests that wait in the application until the gate `token` is opened.

    Each is sent until it is admitted: those before it may be over for their clients and not yet for the server.
    """
    with ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(count)]
        for arrived, client in enumerate(clients, 1):
            wait_until(partial(arrives, server, client, token, arrived), f"{arrived} have arrived at the gate")
        yield clients


def arrives(server: Server, client: Connection, token: str, arrived: int) -> bool:
    """Send a request, and see whether it comes to the gate rather than back with a 503."""
    client.send(render("GET", f"/gate?gate={token}"))
    wait_until(lambda: client.has_data() or server.journal.count(f"at gate {token}") == arrived, "it goes either way")
    return not client.has_data() or client.read_response().status != 503


CONCURRENT = [model for model in MODELS if runs_concurrently(model)]


@pytest.fixture(params=CONCURRENT)
def model(request: pytest.FixtureRequest) -> str:
    """All but iterative, in which a second request is never in flight but at the door."""
    return str(request.param)


def test_beyond_the_limit(limited: Server, token: str) -> None:
    """Refused without a word to the application, on a connection that goes on; admitted when there is room again."""
    server = limited
    with in_flight(server, LIMIT, token) as clients, server.connect() as one_more:
        response = one_more.request("POST", "/read?how=all", body=b"this is passed over")
        assert (response.status, response.get("retry-after"), response.closes) == (503, "1", False)
        assert one_more.request("GET", "/files/plain.txt").status == 503
        server.journal.open_gate(token)
        for client in clients:
            assert client.read_response().status == 200
        # A client may have its answer a moment before the server counts it as over.
        wait_until(lambda: one_more.request("GET", "/files/plain.txt").status == 200, "a file is served again")
        wait_until(lambda: one_more.request("POST", "/read?how=all", body=b"read").status == 200, "so is all else")


@with_one_interface(CONCURRENT)
def test_idle_connections_do_not_count(limited: Server, token: str) -> None:
    server = limited
    with connections(server.address, LIMIT) as idle:
        for connection in idle:
            assert connection.request("GET", "/").status == 200
        with in_flight(server, LIMIT, token) as clients:
            server.journal.open_gate(token)
            for client in clients:
                assert client.read_response().status == 200


def test_a_client_that_leaves_gives_its_place_back(limited: Server, token: str) -> None:
    server = limited
    for number in range(LIMIT):
        with server.connect() as connection:
            connection.send(render("GET", f"/endless?token={token}{number}"))
            assert connection.read_head().status == 200
            connection.reset()
    with in_flight(server, LIMIT, token) as clients:
        server.journal.open_gate(token)
        assert [client.read_response().status for client in clients] == [200] * LIMIT


@pytest.mark.parametrize(("model", "options"), IN_PROCESSES)
def test_what_a_dead_process_had_in_flight_counts_no_more(model: str, options: list[str], token: str) -> None:
    with serve(model, "asgi", "--limit-concurrency", str(LIMIT), *options) as server:
        with in_flight(server, LIMIT, token):
            assert server.get("/").status == 503
            for child in children(server.pid):
                os.kill(child.pid, signal.SIGKILL)
        wait_until(lambda: is_served(server), "the server has recovered")
        with in_flight(server, LIMIT, f"{token}again") as clients, server.connect() as one_more:
            assert one_more.request("GET", "/").status == 503
            server.journal.open_gate(f"{token}again")
            assert [client.read_response().status for client in clients] == [200] * LIMIT


def is_served(server: Server) -> bool:
    """Whether a request is answered, rather than lost with a worker that is being replaced."""
    try:
        return server.get("/").status == 200
    except (Truncated, OSError):
        return False


def test_who_waits_for_a_thread_counts(token: str) -> None:
    """A pool of one thread: the second request is queued, and in flight; the third is refused."""
    with serve("epoll", "wsgi", "--limit-concurrency", "2", "--threads", "1") as server:
        with in_flight(server, 1, token) as clients, server.connect() as queued:
            queued.send(render("GET", "/"))
            wait_until(lambda: server.get("/").status == 503, "the queued request counts")
            server.journal.open_gate(token)
            assert [client.read_response().status for client in (*clients, queued)] == [200, 200]


def test_one_at_a_time_is_never_too_many() -> None:
    """In iterative the others wait at the door, as they would without a limit."""
    with serve("iterative", "wsgi", "--limit-concurrency", "1") as server, connections(server.address, 5) as clients:
        for client in clients:
            client.send(render("GET", "/"))
        assert [client.read_response().status for client in clients] == [200] * 5
