"""WSGI and ASGI applications together under a loop: the threads of the WSGI applications are part of the saturation."""

from contextlib import ExitStack

import pytest

from contract.test_metrics_endpoint import ENDPOINT, samples, status
from support.messages import render
from support.models import LOOPS
from support.processes import children
from support.server import Server
from support.waiting import wait_until

MIXED = ("--mount=/api=support.app_late:asgi", "--mount=/shop=support.app_late:wsgi", "--threads", "2")


@pytest.mark.parametrize("model", LOOPS)
def test_threads_that_are_all_taken_are_saturation(model: str) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(Server("--model", model, *MIXED, *ENDPOINT, "--workers", "1-2"))
        assert server.get("/shop/").status == 200
        (worker,) = [each["pid"] for each in status(server)["processes"] if each["kind"] == "worker"]
        for _ in range(5):
            stack.enter_context(server.connect()).send(render("GET", "/shop/waits"))

        def is_full() -> bool:
            (found,) = [each for each in status(server)["processes"] if each["pid"] == worker]
            return bool(found["pool"] == {"threads": 2, "requests": 5} and found["saturation"] >= 0.9)

        wait_until(is_full, "all threads are taken")
        assert status(server)["thread_wait"]["waiting"] == samples(server)["septet_requests_waiting"] == 3
        assert server.get("/api/").status == 200
        wait_until(lambda: len(children(server.pid)) == 2, "another worker is started")
        assert "SEP131" in server.stderr()
        (server.directory / "released").touch()
