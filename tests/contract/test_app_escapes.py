"""What an application lets out beside an Exception ends its request, and nothing else."""

import pytest

from support.app_raises import PLACES, RAISED
from support.client import Malformed, Truncated
from support.http2 import Connection as Http2Connection
from support.http2 import get
from support.messages import render
from support.models import LOOPS, MODELS
from support.server import Server, serve
from support.waiting import wait_until

WITH_THREADS = [(model, "--threads", number) for model in LOOPS for number in ("2", "0")]


@pytest.mark.parametrize("how", [*((model,) for model in MODELS), *WITH_THREADS], ids=" ".join)
def test_every_way_out_is_a_500(how: tuple[str, ...], interface: str) -> None:
    """More of them than there are threads or workers, and each client is answered; so is the next."""
    model, *options = how
    options += ["--threads", "2"] if model == "prethreaded" else []
    options += ["--workers", "1"] if model == "preforked" else []
    with serve(model, interface, *options, app=f"support.app_raises:{interface}") as server:
        for name in [*RAISED, *RAISED]:
            assert server.get(f"/{name}").status == 500, name
            assert server.get("/").body == b"fine", name


@pytest.mark.parametrize("model", MODELS)
def test_the_rest_of_a_failed_answer_is_nobody_elses(model: str, interface: str) -> None:
    with serve(model, interface, app=f"support.app_raises:{interface}") as server, server.connect() as connection:
        connection.send(render("GET", "/split") + render("GET", "/", "Connection: close"))
        assert connection.read_response().status == 500
        assert connection.read_response().body == b"fine"
        connection.assert_closed()


#: What becomes of a request: these, and nothing else.
ENDS = {"200", "500", "cut"}


def end_of(server: Server, target: str) -> str:
    try:
        return str(server.get(target).status)
    except (Truncated, Malformed, ConnectionError):
        return "cut"


@pytest.mark.parametrize("how", [*((model,) for model in MODELS), *WITH_THREADS], ids=" ".join)
def test_whatever_an_application_raises_wherever_it_does(how: tuple[str, ...], interface: str) -> None:
    """In a method of its iterable, after its answer has begun or ended, in what it leaves behind on the loop."""
    model, *options = how
    options += ["--threads", "2"] if model == "prethreaded" else []
    options += ["--workers", "1"] if model == "preforked" else []
    if interface == "wsgi":
        targets = ["recursion", "headers", "status", *(f"write-{name}" for name in RAISED)]
        targets += [f"{place}.{name}" for place in PLACES for name in RAISED]
    else:
        targets = ["recursion", *(f"{when}-{name}" for when in ("waits", "task", "begun", "after") for name in RAISED)]
    with serve(model, interface, *options, app=f"support.app_raises:{interface}") as server:
        for target in targets[:: 5 if model == "forking" else 1]:  # a process for each takes its time
            assert end_of(server, f"/{target}") in ENDS, target
            assert server.get("/").body == b"fine", target


@pytest.mark.parametrize("model", MODELS)
def test_handler_of_the_access_log_that_raises(model: str, interface: str) -> None:
    """It costs no client its connection; and requests whose clients leave do not count as in flight for ever."""
    options = ("--access-log", "logger", "--http2-cleartext", "--limit-concurrency", "3")
    with serve(model, interface, *options, app=f"support.app_log_raises:{interface}") as server:
        with server.connect() as connection:
            for _ in range(3):
                assert connection.request("GET", "/").status == 200
        with Http2Connection(server.address) as several:
            streams = [several.ask(get(f"/send?size={size}")) for size in (300_000, 1000)]
            assert [several.answer(stream).status for stream in streams] == [200, 200]
            assert several.request("/").status == 200
        for _ in range(3):
            with Http2Connection(server.address) as leaves:
                for _ in range(2):
                    leaves.ask(get("/send?size=10000000&parts=100"))
                assert leaves.receive()
        wait_until(lambda: all(server.get("/").status == 200 for _ in range(3)), "all who left are forgotten")
