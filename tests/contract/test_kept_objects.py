"""When an answer is sent, nothing of its request is reachable any more, though its connection is kept."""

from collections.abc import Iterator

import pytest

from support.models import CONFIGURATIONS, MODELS, refusal
from support.server import Server, serve

APP = "support.app_remembers:{}"

OF = {
    "wsgi": {"/": ("request", "frame", "input"), "/parts": ("body",), "/raises": ("request", "frame", "input")},
    "asgi": {"/": ("request", "frame"), "/parts": ("request", "body"), "/raises": ("request", "frame")},
}

HOW = [
    *(("wsgi", *(model, *options)) for model, options in CONFIGURATIONS),
    *(("asgi", model) for model in MODELS),
]


@pytest.fixture(scope="module", params=HOW, ids=" ".join)
def how(request: pytest.FixtureRequest) -> tuple[str, ...]:
    parts: tuple[str, ...] = request.param
    return parts


@pytest.fixture(scope="module")
def server(how: tuple[str, ...]) -> Iterator[Server]:
    """One at a time: its application collects garbage all the time."""
    interface, model, *options = how
    if reason := refusal(model):
        pytest.skip(reason)
    with serve(model, interface, *options, app=APP.format(interface)) as started:
        yield started


def test_an_idle_connection_keeps_nothing_of_its_last_request(server: Server, how: tuple[str, ...], token: str) -> None:
    with server.connect() as connection:
        for number, (path, what) in enumerate(OF[how[0]].items()):
            response = connection.request("POST", f"{path}?token={token}-{number}", body=b"body")
            assert response.status == (500 if path == "/raises" else 200)
            for each in what:
                server.journal.wait_for(f"{each} of {token}-{number} is gone")


def test_a_connection_that_has_ended_leaves_nothing(server: Server, how: tuple[str, ...], token: str) -> None:
    """Neither does its thread, which waits for the next client."""
    interface, model, *_ = how
    server.request("POST", f"/?token={token}", "Connection: close", body=b"body")
    for each in OF[interface]["/"] if model != "forking" else ():
        server.journal.wait_for(f"{each} of {token} is gone")
