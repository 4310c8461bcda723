"""A signal handler of the application's that raises: the server goes on, wherever its main thread is interrupted."""

import pytest

from support.models import MODELS
from support.server import serve
from support.waiting import wait_until

APP = "support.app_interrupts:{}"

HOW = [*((model,) for model in MODELS), ("epoll", "--threads", "0"), ("prethreaded", "--workers", "2")]


@pytest.mark.parametrize("path", ["/soon", "/parent"])
@pytest.mark.parametrize("how", HOW, ids=" ".join)
def test_server_goes_on(how: tuple[str, ...], interface: str, path: str) -> None:
    model, *options = how
    if path == "/parent" and model not in ("forking", "preforked") and "--workers" not in options:
        path = "/soon"  # its parent is the test
    with serve(model, interface, *options, app=APP.format(interface)) as server:
        for number in range(1, 4):
            assert server.get(path).body == b"ok"
            if model != "forking" or path == "/parent":  # a child of forking may be gone before its time is up
                wait_until(lambda number=number: server.journal.count("raised") >= number, "the handler has raised")
        for _ in range(3):
            assert server.get("/").body == b"ok"
        assert server.running
