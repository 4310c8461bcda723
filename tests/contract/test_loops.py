"""`--loops`: several event loops in the threads of one process. What signals, workers and time-outs do to all of them.

`tests/models/test_loops.py` has what happens within the process.
"""

import signal
import subprocess
import sys
from contextlib import ExitStack

import pytest

from septet.interpreter import has_gil
from septet.lab.drill.users import Users
from support.client import Connection
from support.messages import render
from support.models import LOOPS
from support.processes import children
from support.server import Server, serve
from support.waiting import wait_until

without_gil = pytest.mark.skipif(has_gil(), reason="this Python has a GIL: --loops is refused")
each_loop = pytest.mark.parametrize("model", LOOPS)

N = 2


def late(model: str, *options: str) -> Server:
    return serve(model, "asgi", "--loops", str(N), *options, app="support.app_late:asgi")


def one_for_each_loop(server: Server, stack: ExitStack, target: str) -> list[Connection]:
    """Clients whose requests wait, on all loops."""
    clients = []
    for _ in range(N):
        client = stack.enter_context(server.connect())
        client.request("GET", "/")  # the connection has its loop, and counts there
        clients.append(client)
    for client in clients:
        client.send(render("GET", target))
    return clients


@pytest.mark.skipif(not has_gil(), reason="this Python has no GIL")
@each_loop
def test_refused_with_a_gil(model: str) -> None:
    command = [sys.executable, "-m", "septet", "serve", "support.apps_asgi:app", "--model", model, "--loops", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "--loops is 2, but must be 1: this Python has a global lock (the GIL)" in done.stderr
    assert "--workers 2 uses as many CPUs" in done.stderr
    assert done.stderr.count("\n") <= 2, done.stderr


@without_gil
@each_loop
def test_requests_in_flight_are_answered_at_the_stop(model: str) -> None:
    with late(model) as server, ExitStack() as stack:
        clients = one_for_each_loop(server, stack, "/waits")
        server.send_signal(signal.SIGTERM)
        wait_until(lambda: not accepts(server), "it accepts no more clients")
        (server.directory / "released").touch()
        assert [client.read_response().status for client in clients] == [200] * N
        assert server.wait() == 0


def accepts(server: Server) -> bool:
    try:
        server.connect().close()
    except ConnectionError:
        return False
    return True


@without_gil
@each_loop
def test_nothing_is_lost_at_a_reload(model: str) -> None:
    with serve(model, "wsgi", "--loops", str(N), "--supervisor") as server:
        users = Users(server.address, "/", 8, 8, 150.0)  # type: ignore[arg-type]
        tally = users.run(1.5, [(0.4, lambda: server.send_signal(signal.SIGHUP))])  # type: ignore[list-item]
        assert not tally.losses, tally.losses
        wait_until(lambda: " finishes its requests" in server.stderr(), "the new generation serves")


@without_gil
@each_loop
def test_one_loop_that_stands_still_is_noticed(model: str) -> None:
    """Though the other one goes on."""
    with late(model, "--workers", "1", "--worker-timeout", "1", "--graceful-timeout", "1") as server:
        (before,) = children(server.pid)
        with ExitStack() as stack:
            one_for_each_loop(server, stack, "/")[0].send(render("GET", "/blocks"))
            wait_until(lambda: [each.pid for each in children(server.pid)] not in ([], [before.pid]), "it is replaced")
        assert f"SEP111 worker {before.pid} is ended by --worker-timeout" in server.stderr()


@without_gil
@each_loop
def test_late_requests_are_ended_on_each_loop(model: str) -> None:
    with late(model, "--request-timeout", "0.3") as server, ExitStack() as stack:
        clients = one_for_each_loop(server, stack, "/waits")
        assert [client.read_response().status for client in clients] == [504] * N
        wait_until(lambda: server.stderr().count("SEP101") == N, "both are logged")


@without_gil
@each_loop
def test_worker_is_replaced_after_its_requests(model: str) -> None:
    with late(model, "--workers", "1", "--max-requests", "20") as server:
        (before,) = children(server.pid)
        assert [server.get("/").status for _ in range(20)] == [200] * 20
        wait_until(lambda: [each.pid for each in children(server.pid)] not in ([], [before.pid]), "it is replaced")
        assert server.get("/").status == 200
