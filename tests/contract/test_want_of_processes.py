"""No more processes or threads are to be had: one line says so, the CPU rests, and all goes on by itself.

The want is real: while it lasts the kernel lets no process of the server's fork, nor start a thread (EAGAIN).
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.client import connections
from support.messages import render
from support.processes import children, rests, threads
from support.server import Server, serve
from support.waiting import wait_until

APP = "support.app_without_privileges:{}"

FORKING = "cannot fork for a client: Resource temporarily unavailable"
THREADED = "cannot start a thread for a client: can't start new thread"
IN_POOL = "cannot start a thread: can't start new thread"
WORKER = "cannot start a worker: Resource temporarily unavailable"


@contextmanager
def without_processes(server: Server) -> Iterator[None]:
    """For a while the server may begin none; those that run may go on."""
    usual = soft_limit(server.pid)
    server.send_signal(signal.SIGUSR1)
    wait_until(lambda: soft_limit(server.pid) == "0", "the limit is set")
    try:
        yield
    finally:
        server.send_signal(signal.SIGUSR2)
        wait_until(lambda: soft_limit(server.pid) == usual, "the limit is as it was")


def soft_limit(pid: int) -> str:
    """proc(5), `limits`."""
    line = next(line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if "processes" in line)
    return line.split()[2]


@pytest.mark.parametrize(("model", "complaint"), [("forking", FORKING), ("threaded", THREADED)])
def test_nobody_to_serve_a_client(model: str, interface: str, complaint: str) -> None:
    """Who was let in already is let go; who comes later waits."""
    with serve(model, interface, app=APP.format(interface)) as server:
        assert server.get("/", "Connection: close").status == 200
        with without_processes(server), server.connect() as connection:
            connection.send(render("GET", "/"))
            wait_until(lambda: complaint in server.stderr(), "the server says what it lacks")
            assert f"{complaint}; the connection is cut, and other clients wait until it" in server.stderr()
            connection.assert_closed()
            assert rests(server.pid)
        wait_until(lambda: server.get("/").status == 200, "clients are served again")
        assert server.stderr().count(complaint) == 1
        assert not server.complaints()


@pytest.mark.parametrize("model", ["poll", "epoll", "io_uring"])
def test_no_thread_for_a_follower(model: str, token: str) -> None:
    """The leader stays where it waits, and the others wait with it; all get their answers."""
    with serve(model, "wsgi", "--threads", "2", app=APP.format("wsgi")) as server:
        assert server.get("/").status == 200  # the first thread is there
        with connections(server.address, 3) as waiting:
            with without_processes(server):
                waiting[0].send(render("GET", f"/gate?gate={token}"))
                wait_until(lambda: IN_POOL in server.stderr(), "the server says what it lacks")
                for connection in waiting[1:]:
                    connection.send(render("GET", "/"))
                assert not any(connection.has_data() for connection in waiting)
                server.journal.open_gate(token)
                assert [connection.read_response().status for connection in waiting] == [200] * 3
        assert server.get("/").status == 200
        assert server.stderr().count(IN_POOL) == 1
        assert not server.complaints()


@pytest.mark.parametrize(("model", "interface"), [("preforked", "wsgi"), ("epoll", "asgi")])
def test_no_worker_in_the_place_of_a_dead_one(model: str, interface: str) -> None:
    """The others serve meanwhile."""
    with serve(model, interface, "--workers", "2", app=APP.format(interface)) as server:
        victim, survivor = children(server.pid)
        with without_processes(server):
            os.kill(victim.pid, signal.SIGKILL)
            wait_until(lambda: WORKER in server.stderr(), "the server says what it lacks")
            assert server.get("/").status == 200
            assert children(server.pid) == [survivor]
        wait_until(lambda: len(children(server.pid)) == 2, "there are two workers again")
        assert server.get("/").status == 200
        assert server.stderr().count(WORKER) == 1
        assert not server.complaints()


needs_a_user_of_its_own = pytest.mark.skipif(
    os.getuid() != 0, reason="the threads that a user may have are counted: root can become one who has no others"
)


@needs_a_user_of_its_own
def test_fewer_threads_than_were_asked_for(interface: str) -> None:
    """Beside the main thread three; for an ASGI application one of them runs the loop."""
    app = f"support.app_few_threads:{interface}"
    left = 3 if interface == "wsgi" else 2
    with serve("prethreaded", interface, "--threads", "8", app=app) as server:
        said = f"cannot start more than {left} of 8 threads: can't"
        wait_until(lambda: said in server.stderr(), "the server says so")
        assert threads(server.pid) == 4
        with connections(server.address, left) as clients:
            for client in clients:
                client.send(render("GET", "/"))
            assert [client.read_response().status for client in clients] == [200] * left
        assert not server.complaints()


@needs_a_user_of_its_own
def test_no_thread_at_all(interface: str) -> None:
    app = f"support.app_few_threads:{interface}"
    environment = {"FEW_THREADS": "1"}
    what = "a thread" if interface == "wsgi" else "a thread for the event loop"
    with serve("prethreaded", interface, app=app, environment=environment, wait_ready=False) as server:
        assert server.wait() == 1
        assert server.stderr().splitlines()[-1] == f"septet: cannot start {what}: can't start new thread"
        assert not server.complaints()


@needs_a_user_of_its_own
def test_no_thread_to_lead_the_loop() -> None:
    app, environment = "support.app_few_threads:wsgi", {"FEW_THREADS": "1"}
    with serve("epoll", "wsgi", app=app, environment=environment, wait_ready=False) as server:
        assert server.wait() == 1
        assert server.stderr().splitlines()[-1] == "septet: cannot start a thread: can't start new thread"
        assert not server.complaints()
