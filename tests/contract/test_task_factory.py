"""Tasks of requests that never run: a client gets an answer all the same."""

import pytest

from support.app_task_factory import FACTORIES
from support.http2 import Connection as Http2Connection
from support.messages import render
from support.models import LOOPS
from support.server import serve

APP = "support.app_task_factory:app"

HANDSHAKE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


@pytest.mark.parametrize("path", FACTORIES)
@pytest.mark.parametrize("model", ["prethreaded", *LOOPS])
def test_task_that_does_not_run(model: str, path: str) -> None:
    with serve(model, "asgi", "--http2-cleartext", app=APP) as server:
        with server.connect() as client:
            for fields in ((), HANDSHAKE):
                client.send(render("GET", path))
                assert client.read_response().status == 200
                client.send(render("GET", "/", *fields))
                assert client.read_response().status == 500
            client.send(render("GET", "/"))
            assert client.read_response().body == b"fine"
        with Http2Connection(server.address) as http2:
            assert http2.request(path).status == 200
            assert http2.request("/").status == 500
            assert http2.request("/").status == 200
        server.stop()
