"""When an answer is sent, nothing of its request is reachable any more, though its connection is kept."""

import pytest

from support.models import CONFIGURATIONS, MODELS
from support.server import serve

APP = "support.app_remembers:{}"

OF = {
    "wsgi": {"/": ("request", "frame", "input"), "/parts": ("body",), "/raises": ("request", "frame", "input")},
    "asgi": {"/": ("request", "frame"), "/parts": ("request", "body"), "/raises": ("request", "frame")},
}

HOW = [
    *(("wsgi", *(model, *options)) for model, options in CONFIGURATIONS),
    *(("asgi", model) for model in MODELS),
]


@pytest.mark.parametrize("how", HOW, ids=" ".join)
def test_an_idle_connection_keeps_nothing_of_its_last_request(how: tuple[str, ...], token: str) -> None:
    interface, model, *options = how
    with serve(model, interface, *options, app=APP.format(interface)) as server, server.connect() as connection:
        for number, (path, what) in enumerate(OF[interface].items()):
            response = connection.request("POST", f"{path}?token={token}-{number}", body=b"body")
            assert response.status == (500 if path == "/raises" else 200)
            for each in what:
                server.journal.wait_for(f"{each} of {token}-{number} is gone")


@pytest.mark.parametrize("how", HOW, ids=" ".join)
def test_a_connection_that_has_ended_leaves_nothing(how: tuple[str, ...], token: str) -> None:
    """Neither does its thread, which waits for the next client."""
    interface, model, *options = how
    with serve(model, interface, *options, app=APP.format(interface)) as server:
        server.request("POST", f"/?token={token}", "Connection: close", body=b"body")
        for each in OF[interface]["/"] if model != "forking" else ():
            server.journal.wait_for(f"{each} of {token} is gone")
