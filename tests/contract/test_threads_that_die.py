"""New threads end before they have begun, as for want of memory: who has started them does not wait for ever."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from support.client import connections
from support.messages import render
from support.models import LOOPS
from support.server import Server, serve
from support.waiting import wait_until

APP = "support.app_threads_die:{}"
LACKS = "out of memory for a new thread"


@contextmanager
def threads_die(server: Server) -> Iterator[None]:
    server.send_signal(signal.SIGUSR1)
    wait_until(lambda: "new threads die" in server.journal.lines(), "the application has heard of it")
    try:
        yield
    finally:
        server.send_signal(signal.SIGUSR2)
        wait_until(lambda: "new threads live" in server.journal.lines(), "the application has heard of it")


def test_thread_of_a_client(interface: str) -> None:
    with serve("threaded", interface, app=APP.format(interface)) as server:
        assert server.get("/", "Connection: close").status == 200
        with threads_die(server):
            with server.connect() as client:
                client.send(render("GET", "/"))
                client.assert_closed()
            said = f"cannot start a thread for a client: {LACKS}; the connection is cut"
            wait_until(lambda: said in server.stderr(), "the server says what it lacks")
        assert server.get("/").status == 200
        assert not server.complaints()


@pytest.mark.parametrize("model", LOOPS)
def test_thread_of_a_follower(model: str, token: str) -> None:
    with serve(model, "wsgi", "--threads", "2", app=APP.format("wsgi")) as server:
        assert server.get("/").status == 200  # the first thread is there
        with connections(server.address, 2) as (waits, other):
            with threads_die(server):
                waits.send(render("GET", f"/gate?gate={token}"))
                wait_until(lambda: f"cannot start a thread: {LACKS}" in server.stderr(), "it says what it lacks")
            other.send(render("GET", "/"))
            assert other.read_response().status == 200, "another thread leads by now"
            server.journal.open_gate(token)
            assert waits.read_response().status == 200
        assert not server.complaints()


@pytest.mark.parametrize("model", LOOPS)
def test_thread_beside_a_loop(model: str) -> None:
    mounts = (f"--mount=/w={APP.format('wsgi')}", f"--mount=/a={APP.format('asgi')}")
    with Server("--model", model, *mounts) as server:
        with threads_die(server), server.connect() as client:
            client.send(render("GET", "/w/"))
            client.assert_closed()
            assert LACKS in server.stderr()
            assert server.get("/a/").status == 200
        assert server.get("/w/").status == 200


def test_server_ends_when_its_last_words_find_no_thread() -> None:
    """Those which say that the time for a graceful stop is up."""
    with serve("threaded", "wsgi", "--graceful-timeout", "0.5", app=APP.format("wsgi")) as server:
        with server.connect() as client:
            client.send(render("GET", "/gate?gate=never"))
            wait_until(lambda: server.journal.lines(), "the application waits")
            server.send_signal(signal.SIGUSR1)
            wait_until(lambda: "new threads die" in server.journal.lines(), "the application has heard of it")
            server.send_signal(signal.SIGTERM)
            assert server.wait() == 0
