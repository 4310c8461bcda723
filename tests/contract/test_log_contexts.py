"""In which context log records are made: that of their request, or one that is no request's.

A filter that adds the id of a request would else add another request's.
"""

from pathlib import Path

import pytest

from support.http2 import Connection as Http2Connection
from support.http2 import get
from support.messages import render
from support.models import LOOPS
from support.server import Server, serve
from support.waiting import wait_until

APP = "support.app_log_contexts:{}"
MALFORMED = b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"
FIRST = ("/quick", "/waits", "/parts", "/length")


def serve_logged(model: str, interface: str, *more: str) -> Server:
    options = ("--access-log", "logger", "--access-log-format", "{path} {status}", "--log-level", "debug", *more)
    return serve(model, interface, *options, app=APP.format(interface))


def assert_in_contexts_of_their_own(server: Server, count: int) -> None:
    def lines() -> list[str]:
        return server.journal.starting("in ")

    wait_until(lambda: sum("is answered" not in line for line in lines()) >= count, f"{count} answers are logged")
    for line in lines():
        context, message = line.split(": ", 1)
        assert context in ("none", message.split()[0]), line


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
@pytest.mark.parametrize("model", ["prethreaded", *LOOPS])
def test_pipelined_requests(model: str, interface: str, static_tree: Path) -> None:
    """What follows a request on its connection, be it for the application, for a file, or malformed."""
    with serve_logged(model, interface, "--static", f"/files={static_tree}") as server:
        for first in FIRST:
            for second in (render("GET", "/second"), render("GET", "/files/index.html"), MALFORMED):
                with server.connect() as client:
                    client.send(render("GET", first) + second + (b"" if second is MALFORMED else MALFORMED))
                    client.read_to_end()
        assert_in_contexts_of_their_own(server, len(FIRST) * (3 + 3 + 2))


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
@pytest.mark.parametrize("model", LOOPS)
def test_streams_side_by_side(model: str, interface: str) -> None:
    with serve_logged(model, interface, "--http2-cleartext") as server:
        with Http2Connection(server.address) as client:
            streams = [client.ask(get(f"{FIRST[number % 4]}/{number}")) for number in range(24)]
            assert {client.answer(stream).status for stream in streams} == {200}
        assert_in_contexts_of_their_own(server, 24)
