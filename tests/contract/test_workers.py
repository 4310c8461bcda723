"""Worker processes: killed ones are replaced, stillborn ones held back, none outlives its parent."""

import json
import os
import signal

import pytest

from support.client import Truncated, connections
from support.marks import with_one_interface
from support.messages import render
from support.models import WITH_WORKERS
from support.processes import Process, await_idle, children, threads
from support.server import Server, serve
from support.waiting import wait_until

WORKERS = 2
with_workers = pytest.mark.parametrize("model", WITH_WORKERS)


def workers(server: Server) -> list[Process]:
    """The running children of the server's first process."""
    server.tree()
    return [child for child in children(server.pid) if child.running]


def answers(server: Server) -> bool:
    """Whether a request is answered; False if it fell to a worker that was just dying.

    io_uring goes on accepting for its process until the kernel has torn the ring down, a moment after the process.
    """
    try:
        return server.get("/").status == 200
    except Truncated:
        return False


@with_one_interface(WITH_WORKERS)
def test_killed_worker_is_replaced(model: str, interface: str) -> None:
    with serve(model, interface, "--workers", str(WORKERS)) as server:
        assert (server.ready[0].workers, server.ready[0].pid) == (WORKERS, server.pid)
        wait_until(lambda: len(workers(server)) == WORKERS, f"there are {WORKERS} workers")
        assert json.loads(server.get("/info").body)["pid"] in {worker.pid for worker in workers(server)}
        victim, survivor = workers(server)
        os.kill(victim.pid, signal.SIGKILL)
        wait_until(lambda: not victim.running, "the victim is dead")
        wait_until(lambda: answers(server), "the other serves")
        wait_until(lambda: len(workers(server)) == WORKERS, "the victim is replaced")
        assert survivor in workers(server)
        os.kill(survivor.pid, signal.SIGKILL)
        wait_until(lambda: not survivor.running, "the other is dead, too")
        wait_until(lambda: answers(server), "its successor serves")
        assert json.loads(server.get("/info").body)["pid"] not in (victim.pid, survivor.pid)


@with_one_interface(WITH_WORKERS)
def test_all_workers_killed(model: str, interface: str) -> None:
    """While nobody accepts, connections wait in the listener's queue."""
    with serve(model, interface, "--workers", str(WORKERS)) as server:
        wait_until(lambda: len(workers(server)) == WORKERS, f"there are {WORKERS} workers")
        victims = workers(server)
        for victim in victims:
            os.kill(victim.pid, signal.SIGKILL)
        wait_until(lambda: not any(victim.running for victim in victims), "all are dead")
        wait_until(lambda: answers(server), "others serve")


def test_preforked_replaces_workers_by_default(interface: str) -> None:
    with serve("preforked", interface) as server:
        before = workers(server)
        assert len(before) == server.ready[0].workers
        os.kill(before[0].pid, signal.SIGKILL)
        wait_until(lambda: len(workers(server)) == len(before) and before[0] not in workers(server), "it is replaced")
        assert server.get("/").status == 200


@with_workers
def test_workers_that_die_at_birth_are_held_back(model: str) -> None:
    """The server gives up when they have died at birth; a fork storm would have given birth to hundreds by then."""
    options = ["--workers", str(WORKERS)]
    environment = {"CONTRACT_PARENT": str(os.getpid())}
    app = "support.app_dies_at_birth:app"
    with serve(model, "wsgi", *options, app=app, environment=environment, wait_ready=False) as server:
        assert server.wait() == 1
        assert WORKERS <= server.journal.count("born") <= 20


@with_one_interface()
def test_no_process_outlives_the_first(model: str, interface: str, token: str) -> None:
    """The first process is killed and can clean up nothing; a request is in flight."""
    options = [] if model == "forking" else ["--workers", str(WORKERS)]
    with serve(model, interface, *options) as server, server.connect() as connection:
        connection.send(render("GET", f"/gate?gate={token}"))
        server.journal.wait_for(f"at gate {token}")
        family = server.tree()
        assert len(family) > 1
        os.kill(server.pid, signal.SIGKILL)
        server.process.wait()
        wait_until(lambda: not any(member.running for member in family), f"none of {family} runs")


def test_forking_leaves_no_zombies(interface: str) -> None:
    with serve("forking", interface) as server:
        for _ in range(30):
            assert server.get("/").status == 200
        wait_until(lambda: not children(server.pid), "all children have been waited for")


def test_forking_gives_every_connection_a_process(interface: str) -> None:
    with serve("forking", interface) as server, server.connect() as first, server.connect() as second:
        pids = [json.loads(client.request("GET", "/info").body)["pid"] for client in (first, second, first)]
        assert pids[0] == pids[2] != pids[1]
        assert server.pid not in pids


def test_threaded_gives_every_connection_a_thread(interface: str) -> None:
    """In which a WSGI application runs; an ASGI application has one thread for all."""
    with serve("threaded", interface) as server:
        before = threads(server.pid)
        with server.connect() as first, server.connect() as second:
            seen = [json.loads(client.request("GET", "/info").body) for client in (first, second, first)]
            assert {one["pid"] for one in seen} == {server.pid}
            assert threads(server.pid) == before + 2
            assert seen[0]["thread"] == seen[2]["thread"]
            assert (seen[0]["thread"] == seen[1]["thread"]) == (interface == "asgi")


ONE_PROCESS = ("iterative", "threaded", "prethreaded", "poll", "epoll", "io_uring")


@with_one_interface(ONE_PROCESS)
def test_one_process_by_default(model: str, interface: str) -> None:
    with serve(model, interface) as server:
        assert json.loads(server.get("/info").body)["pid"] == server.pid
        assert server.ready[0].workers == 1
        assert len(server.tree()) == 1


@pytest.mark.parametrize("model", ["prethreaded", "poll", "epoll", "io_uring"])
def test_application_runs_in_as_many_threads_as_asked_for(model: str, token: str) -> None:
    """Three requests wait in the application at once; a fourth waits for one of them."""
    with serve(model, "wsgi", "--threads", "3") as server, connections(server.address, 4) as (*three, fourth):
        for number, client in enumerate(three):
            client.send(render("GET", f"/gate?gate={token}-{number}", "Connection: close"))
            server.journal.wait_for(f"at gate {token}-{number}")
        fourth.send(render("GET", "/info"))
        await_idle(server.pid)
        assert not fourth.has_data()
        for number, client in enumerate(three):
            server.journal.open_gate(f"{token}-{number}")
            assert client.read_response().body == b"rest"
            assert number or fourth.read_response().status == 200


def test_more_threads_than_may_wait_for_one_epoll() -> None:
    """The kernel draws that line at 500 (see fs/eventpoll.c, path_limits)."""
    with serve("prethreaded", "wsgi", "--threads", "600") as server:
        wait_until(lambda: threads(server.pid) == 601, "all threads are started")
        assert server.get("/").status == 200
        assert not server.complaints()
