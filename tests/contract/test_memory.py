"""Memory that does not grow with the clients that were served."""

from random import Random

import pytest

from support.messages import render
from support.processes import private_memory
from support.server import Server, serve

UPLOADS = 4000

#: Bytes; with receive buffers among which small objects survived it was 2 to 4 MB for so many uploads.
GROWTH = 1 << 20


@pytest.mark.parametrize(("model", "options"), [("prethreaded", ["--threads", "4"]), ("preforked", ["--workers", "1"])])
def test_uploads_that_are_broken_off(model: str, options: list[str]) -> None:
    random = Random(32)
    with serve(model, "wsgi", *options) as server:
        break_off_uploads(server, random)
        before = private_memory(server.pid)
        break_off_uploads(server, random)
        grown = private_memory(server.pid) - before
        assert grown < GROWTH


def break_off_uploads(server: Server, random: Random) -> None:
    for _ in range(UPLOADS):
        fields = f"X-Filler: {'y' * random.randrange(2000)}", "Content-Length: 1000000"
        with server.connect() as client:
            client.send_if_possible(render("POST", "/read?how=all", *fields) + b"x" * random.randrange(1000, 70000))
            client.reset()
