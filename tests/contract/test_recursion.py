"""An application may call the server with few frames left: what then raises in the server's code corrupts no answer.

The application catches it and goes on. Its client has a right answer, or its connection is cut; never are bytes lost or
sent twice in the middle of an answer, and the next request on the connection is answered.
"""

import re
from collections.abc import Callable

import pytest

from support.client import Malformed, Truncated
from support.http2 import Connection, get
from support.messages import chunked, render
from support.models import LOOPS, MODELS
from support.server import Server, serve

APP = "support.app_recurses:{}"

#: Frames that the application leaves: from none to more than a call of the server needs.
LEFT = range(0, 40, 1)

WHOLE = re.compile(rb"(begin,)?(deep,)?(more,)?(body)?end")

HOW = [*((model,) for model in MODELS), *((model, "--threads", "0") for model in LOOPS)]


def ask(server: Server, target: str, body: bytes | None) -> None:
    """Ask twice on one connection."""
    with server.connect() as connection:
        try:
            connection.send(_request(target, body))
            response = connection.read_response()
            assert response.status == 500 or WHOLE.fullmatch(response.body), response.body
            if not response.closes:
                assert connection.request("GET", "/").body == b"end"
        except (Malformed, TimeoutError) as error:
            raise AssertionError(f"{target}: {error!r}") from error
        except (Truncated, ConnectionError):
            pass


def _request(target: str, body: bytes | None) -> bytes:
    if body is None:
        return render("GET", target)
    return render("POST", target, "Transfer-Encoding: chunked") + chunked(body, 1)


def ask_over_http2(server: Server, target: str, body: bytes | None) -> None:
    with Connection(server.address) as connection:
        streams = [connection.ask(get(target, method=b"POST" if body else b"GET"), body), connection.ask(get("/"))]
        for stream in streams:
            answer = connection.client.answers[stream]
            while not (answer.ended or answer.reset is not None):
                if not connection.receive():
                    return
            assert not answer.ended or answer.status == 500 or WHOLE.fullmatch(answer.body), (target, answer.body)


BOTH = pytest.mark.parametrize("visit", [ask, ask_over_http2], ids=["HTTP/1.1", "HTTP/2"])


@BOTH
@pytest.mark.parametrize("how", HOW, ids=" ".join)
def test_wsgi(how: tuple[str, ...], visit: Callable[[Server, str, bytes | None], None]) -> None:
    model, *options = how
    with serve(model, "wsgi", "--http2-cleartext", *options, app=APP.format("wsgi")) as server:
        for left in LEFT[:: 4 if model == "forking" else 1]:
            visit(server, f"/write?left={left}", None)
            visit(server, f"/read?left={left}", b"body")
            visit(server, f"/hints?left={left}", None)
        assert server.get("/").body == b"end"


@BOTH
@pytest.mark.parametrize("model", MODELS)
def test_asgi(model: str, visit: Callable[[Server, str, bytes | None], None]) -> None:
    with serve(model, "asgi", "--http2-cleartext", app=APP.format("asgi")) as server:
        for left in LEFT[:: 4 if model == "forking" else 1]:
            visit(server, f"/send?left={left}", None)
            visit(server, f"/send?left={left}&last=1", None)
        assert server.get("/").body == b"end"
