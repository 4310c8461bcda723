"""What an application lets out beside an Exception ends its request, and nothing else."""

import pytest

from support.app_raises import RAISED
from support.messages import render
from support.models import LOOPS, MODELS
from support.server import serve

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
