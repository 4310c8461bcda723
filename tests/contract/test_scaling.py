"""`--workers MIN-MAX`: under load there are more workers, and fewer without; no request is lost."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from contract.test_metrics_endpoint import ENDPOINT, samples, status
from support.client import Connection
from support.marks import each_style
from support.models import WITH_WORKERS
from support.server import Server, serve
from support.waiting import wait_until

APP = "support.app_scales"
USERS = 12


class Load:
    """Users who ask again and again, half of them with a new connection each time."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.failures: list[str] = []
        self.answered = 0
        self.over = False

    def ask(self, keeps: bool) -> None:
        connection = None
        while not self.over:
            try:
                connection = connection or Connection(self.server.address)
                response = connection.request("GET", "/")
                assert response.status == 200
                self.answered += 1
                if not keeps or response.closes:
                    connection.close()
                    connection = None
            except Exception as error:
                self.failures.append(repr(error))
                return
        if connection is not None:
            connection.close()


@contextmanager
def load(server: Server, all_keep: bool = False) -> Iterator[Load]:
    users = Load(server)
    threads = [threading.Thread(target=users.ask, args=(all_keep or index % 2 == 0,)) for index in range(USERS)]
    for thread in threads:
        thread.start()
    try:
        yield users
    finally:
        users.over = True
        for thread in threads:
            thread.join()


def number(server: Server) -> int:
    return int(status(server)["workers"]["current"])


# The application changes our supervisor, whose module faulthandler no interpreter beside the main one can load.
@pytest.mark.parametrize("model", [model for model in WITH_WORKERS if model != "interpreters"])
def test_follows_the_load(model: str) -> None:
    interface = "asgi" if model in ("threaded", "io_uring") else "wsgi"  # threads without a bound are not busy asleep
    threads = ("--threads", "2") if model in ("prethreaded", "poll", "epoll") else ()
    options = ("--workers", "1-3", *threads, *ENDPOINT)
    with serve(model, interface, *options, app=f"{APP}:{interface}") as server:
        assert status(server)["workers"] == {"current": 1, "min": 1, "max": 3}
        with load(server) as users:
            wait_until(lambda: number(server) == 3, "there are as many as there may be")
        wait_until(lambda: number(server) == 1, "there are as few as there may be")
        assert not users.failures
        assert users.answered > 10
        assert status(server)["requests"]["lost"] == 0
        shown = samples(server)
        assert [shown[f"septet_workers{which}"] for which in ("", "_min", "_max")] == [1, 1, 3]
        assert "SEP131 2 workers are wanted: the one was busy" in server.stderr()


@each_style
def test_kept_connections_are_spread(model: str) -> None:
    """They would stay with the first worker."""

    def busy() -> int:
        return sum(each["in_flight"] > 0 for each in status(server)["processes"] if each["kind"] == "worker")

    interface = "asgi" if model == "threaded" else "wsgi"
    threads = () if interface == "asgi" else ("--threads", "2")
    options = ("--workers", "1-2", *threads, *ENDPOINT)
    with serve(model, interface, *options, app=f"{APP}:{interface}") as server, load(server, all_keep=True) as users:
        wait_until(lambda: number(server) == 2, "there are two")
        wait_until(lambda: busy() == 2, "both have clients")
        assert not users.failures


@each_style
def test_orders(model: str) -> None:
    with serve(model, "wsgi", "--supervisor", "--workers", "1-2", *ENDPOINT, app=f"{APP}:wsgi") as server:
        for _ in range(3):
            server.send_signal(signal.SIGTTIN)
        wait_until(lambda: number(server) == 2, "an order is followed, up to the end of the range")
        server.send_signal(signal.SIGHUP)
        wait_until(lambda: "generation 1 (pid" in server.stderr() and "has ended" in server.stderr(), "another serves")
        wait_until(lambda: number(server) == 1, "it goes back to what is needed")


def test_an_order_while_the_number_is_computed() -> None:
    app = "support.app_ordered_amid_scaling:wsgi"
    with serve("epoll", "wsgi", "--workers", "1-2", *ENDPOINT, app=app) as server:
        wait_until(lambda: number(server) == 2, "the order is followed")


@pytest.mark.parametrize("supervised", [(), ("--supervisor",)], ids=["alone", "supervised"])
def test_without_metrics(supervised: tuple[str, ...]) -> None:
    """The range needs no endpoint."""
    with serve("epoll", "asgi", *supervised, "--workers", "1-2", app=f"{APP}:asgi") as server:
        with load(server) as users:
            wait_until(lambda: "SEP131 2 workers are wanted" in server.stderr(), "there are more")
        wait_until(lambda: "SEP131 1 worker is wanted" in server.stderr(), "there are fewer")
        assert not users.failures
        assert os.path.exists(f"/proc/{server.pid}")
