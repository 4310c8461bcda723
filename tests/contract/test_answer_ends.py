"""An answer ends when its content does, for its client and for the connection's next request, in every model."""

from collections.abc import Iterator

import pytest

from contract.conftest import staying_well
from support.client import connections
from support.messages import render
from support.models import CONFIGURATIONS, LOOPS, MODELS, STYLES, Configuration
from support.pool import Pool
from support.server import Server, serve
from support.waiting import wait_until

APP = "support.app_ends"

each_model = pytest.mark.parametrize("model", MODELS)


@pytest.fixture
def asgi(servers_of_file: Pool, model: str) -> Iterator[Server]:
    with staying_well(servers_of_file.get(model, "asgi", app=f"{APP}:asgi")) as server:
        yield server


@pytest.fixture
def of_configuration(servers_of_file: Pool, configuration: Configuration) -> Iterator[Server]:
    model, options = configuration
    with staying_well(servers_of_file.get(model, "wsgi", *options, app=f"{APP}:wsgi")) as server:
        yield server


@each_model
def test_a_client_that_half_closes_gets_its_answer(asgi: Server) -> None:
    """RFC 9112 section 9.6: it has said all that it has to say, and listens."""
    with asgi.connect() as connection:
        connection.send(render("GET", "/unless-left"))
        connection.end_sending()
        assert connection.read_response().body == b"fine"
        connection.assert_closed()


@each_model
def test_an_application_that_goes_on_holds_nothing_back(asgi: Server, token: str) -> None:
    with asgi.connect() as connection:
        assert connection.request("GET", f"/goes-on?gate={token}").body == b"fine"
        assert connection.request("GET", "/").body == b"fine"
        asgi.journal.open_gate(token)


@each_model
@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_an_endless_answer_to_head(servers_of_file: Pool, model: str, interface: str, token: str) -> None:
    server = servers_of_file.get(model, interface, app=f"{APP}:{interface}")
    with server.connect() as connection:
        assert connection.request("HEAD", f"/endless?token={token}").status == 200
        assert connection.request("GET", "/").body == b"fine"
        server.journal.wait_for(f"closed {token}")


@pytest.mark.parametrize("model", ["threaded", *LOOPS])
def test_idle_connections_keep_no_request(asgi: Server) -> None:
    with connections(asgi.address, 20) as clients:
        for client in clients:
            assert client.request("GET", "/cycles").status == 200
        wait_until(lambda: int(asgi.get("/cycles").body) <= 2, "requests that were answered are forgotten")


@each_model
def test_what_is_raised_on_the_loop(asgi: Server) -> None:
    with asgi.connect() as connection:
        for _ in range(5):
            assert connection.request("GET", "/raises-on-the-loop").body == b"fine"
    assert asgi.get("/").body == b"fine"


@pytest.mark.parametrize("way", ["empties", "empty-writes"])
@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=str)
def test_empty_parts_do_not_hide_that_the_client_has_left(of_configuration: Server, token: str, way: str) -> None:
    server = of_configuration
    with server.connect() as connection:
        connection.send(render("GET", f"/{way}?token={token}"))
        assert connection.read_head().status == 200
        connection.reset()
    server.journal.wait_for(f"closed {token}")
    assert server.get("/").body == b"fine"


BY_AN_END = [each for each in CONFIGURATIONS if each.model in STYLES and not each.options]
"""Where an end in order is tried, too: a model of each style, for it is noticed after `HALF_CLOSED_S` only."""


@pytest.mark.parametrize(
    ("configuration", "end"),
    [*((each, "reset") for each in CONFIGURATIONS), *((each, "close") for each in BY_AN_END)],
    ids=str,
)
def test_an_answer_without_content_notices_that_the_client_has_left(
    of_configuration: Server, token: str, end: str
) -> None:
    """Others are served then, where one thread serves all; by an end in order a client may mean to wait a while."""
    server = of_configuration
    with server.connect() as connection:
        connection.send(render("GET", f"/nothing?token={token}"))
        server.journal.wait_for(f"begun {token}")
        if end == "reset":
            connection.reset()
    server.journal.wait_for(f"closed {token}")
    assert server.get("/").body == b"fine"


@each_model
def test_an_asgi_answer_ends_with_its_content_length(asgi: Server, token: str) -> None:
    """Its last message is not waited for; what it says too much is told."""
    before = len(asgi.stderr())
    with asgi.connect() as connection:
        assert connection.request("GET", f"/length?gate={token}").body == b"12345"
        assert connection.request("GET", "/").body == b"fine"
        asgi.journal.open_gate(token)
        asgi.journal.wait_for(f"passed {token}")
        assert asgi.stderr()[before:].count("but its Content-Length is 5") == 1


@pytest.mark.parametrize("model", ["prethreaded", "epoll", "iterative"])
def test_an_answer_ends_with_its_content_length(servers_of_file: Pool, model: str, token: str) -> None:
    server = servers_of_file.get(model, "wsgi", app=f"{APP}:wsgi")
    with server.connect() as connection:
        assert connection.request("GET", f"/length?gate={token}").body == b"12345"
        if model == "epoll":
            assert connection.request("GET", "/").body == b"fine"
        server.journal.open_gate(token)


@each_model
@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_a_handler_of_the_log_that_raises_ends_nothing(model: str, interface: str) -> None:
    options = ["--threads", "2"] if model == "prethreaded" else []
    with serve(model, interface, *options, app=f"{APP}:{interface}") as server:
        for _ in range(3):
            assert server.get("/log-raises").status == 500
            assert server.get("/").body == b"fine"
