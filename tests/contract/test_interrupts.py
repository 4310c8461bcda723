"""A signal handler of the application's that raises: the server goes on, wherever its main thread is interrupted."""

import os
import signal

import pytest

from support.client import Truncated
from support.models import MODELS
from support.server import Server, serve
from support.waiting import wait_until

APP = "support.app_interrupts:{}"

HOW = [*((model,) for model in MODELS), ("epoll", "--threads", "0"), ("prethreaded", "--workers", "2")]


@pytest.mark.parametrize("of_the_application", [True, False], ids=["the process that answers", "the first process"])
@pytest.mark.parametrize("how", HOW, ids=" ".join)
def test_server_goes_on(how: tuple[str, ...], interface: str, of_the_application: bool) -> None:
    """Struck when an answer is out and its client is still connected, so that the main thread waits for something."""
    model, *options = how
    with serve(model, interface, *options, app=APP.format(interface)) as server:
        for number in range(1, 4):
            with server.connect() as connection:
                pid = int(connection.request("GET", "/").body)
                os.kill(pid if of_the_application else server.pid, signal.SIGALRM)
                wait_until(lambda number=number: server.journal.count("raised") >= number, "the handler has raised")
        assert server.get("/").status == 200
        assert server.running


@pytest.mark.parametrize("how", HOW, ids=" ".join)
def test_strikes_in_a_row(how: tuple[str, ...], interface: str) -> None:
    """They meet the main thread while it still handles the one before."""
    model, *options = how
    with serve(model, interface, *options, app=APP.format(interface)) as server:
        for number in range(1, 11):
            os.kill(server.pid, signal.SIGALRM)
            wait_until(lambda number=number: server.journal.count("raised") >= number, "the handler has raised")
        wait_until(lambda: all(_answers(server) for _ in range(3)), "it answers again")


def _answers(server: Server) -> bool:
    try:
        return server.get("/").status == 200
    except (Truncated, OSError):  # the last strikes may meet the client
        return False
