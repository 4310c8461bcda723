"""What an application lets out beside an Exception ends its request, and nothing else."""

import pytest

from support.app_raises import PLACES, RAISED
from support.client import Malformed, Truncated
from support.messages import render
from support.models import LOOPS, MODELS
from support.server import Server, serve

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
