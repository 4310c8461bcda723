"""An exception that strikes the thread of an ASGI application's loop, at any call, costs one request: its client is
answered, wholly, or cut.

Other threads and signal handlers of the application raise such ones.
"""

from itertools import count

import pytest

from support.client import Connection, Truncated
from support.messages import render
from support.pool import Pool
from support.server import Server

#: s; without an answer.
LONG_S = 8.0

WHOLE = "first second third"

#: More is sent than is received at once, so that the application waits for its body.
BODY = b"x" * 100_000


@pytest.fixture(params=["threaded", "epoll", "io_uring"])
def server(servers_of_file: Pool, request: pytest.FixtureRequest) -> Server:
    return servers_of_file.get(request.param, "asgi", app="support.app_struck_loop:app")


@pytest.mark.parametrize("kind", ["own", "interrupt"])
def test_each_client_is_answered_or_cut(server: Server, kind: str) -> None:
    for number in count():
        found = visit(server, f"/arm?number={number}&kind={kind}")
        assert found in ("cut", "500", WHOLE), f"{found} after a strike at call {number}"
        while (said := visit_once(server, render("GET", "/disarm"))) not in ("struck", "nothing came"):
            assert said in ("cut", "500"), said  # it was struck itself
            assert server.running, f"the server has ended with {server.process.returncode} at call {number}"
        if said == "nothing came":
            break
    assert number > 50


def visit(server: Server, arm: str) -> str:
    return visit_once(server, render("GET", arm), render("POST", "/parts", body=BODY))


def visit_once(server: Server, *requests: bytes) -> str:
    """What becomes of the last of these requests of one connection: its answer, a status, or that it was cut."""
    try:
        with Connection(server.address, LONG_S) as connection:
            for request in requests:
                connection.send(request)
                response = connection.read_response()
            return response.body.decode() if response.status == 200 else str(response.status)
    except (Truncated, ConnectionError):
        return "cut"
    except (AssertionError, TimeoutError) as error:
        return f"{type(error).__name__}: {error}"
