"""What an application says is checked: what may not go out becomes a 500, and what is mistaken is told in the log."""

from collections.abc import Iterator

import pytest

from support.app_says import BODIES, FILE, HEADS, MISTAKEN
from support.client import Truncated
from support.marks import asgi_only, each_style, wsgi_only
from support.messages import pattern, render
from support.server import Server, serve
from support.waiting import wait_until

EXTENSIONS = {"wsgi": (), "asgi": ("--asgi-extensions", "early_hint,trailers,pathsend,zerocopysend")}

_servers: dict[tuple[str, str], Server] = {}


@pytest.fixture(scope="module", autouse=True)
def _stop_servers() -> Iterator[None]:
    yield
    while _servers:
        _servers.popitem()[1].__exit__(None, None, None)


@pytest.fixture
def talker(model: str, interface: str) -> Iterator[Server]:
    """A server of an application that says what it should not; it runs on whatever is said."""
    if (model, interface) not in _servers:
        _servers[model, interface] = serve(
            model, interface, *EXTENSIONS[interface], app=f"support.app_says:{interface}"
        ).__enter__()
    server = _servers[model, interface]
    yield server
    assert server.get("/").body == b"fine"


def assert_logged_once(server: Server, words: str, before: int) -> None:
    wait_until(lambda: words in server.stderr()[before:], f"the log says {words!r}")
    assert server.stderr()[before:].count(words) == 1


@each_style
@pytest.mark.parametrize("name", [*HEADS, *BODIES])
def test_what_is_no_answer_is_a_500(talker: Server, name: str) -> None:
    before = len(talker.stderr())
    response = talker.get(f"/{name}")
    assert response.status == 500
    assert "x-injected" not in str(response).lower()
    assert_logged_once(talker, f"the application raised at GET /{name}", before)


@each_style
@pytest.mark.parametrize("name", BODIES)
def test_part_that_is_no_content_cuts_the_answer(talker: Server, name: str) -> None:
    before = len(talker.stderr())
    with talker.connect() as connection, pytest.raises(Truncated) as end:
        connection.request("GET", f"/mid-{name}")
    assert end.value.received == b"first"
    assert_logged_once(talker, f"the application raised at GET /mid-{name}", before)


@each_style
@pytest.mark.parametrize("name", ["short", "short-parts"])
def test_less_than_its_length_closes_the_connection(talker: Server, name: str) -> None:
    before = len(talker.stderr())
    with talker.connect() as connection, pytest.raises(Truncated) as end:
        connection.request("GET", f"/{name}")
    assert end.value.received == b"".join(MISTAKEN[name][2])
    assert_logged_once(talker, f"GET /{name} {MISTAKEN[name][3]}", before)


@each_style
@pytest.mark.parametrize("name", ["long", "long-parts", "no-content", "not-modified"])
def test_excess_is_left_out(talker: Server, name: str) -> None:
    before = len(talker.stderr())
    status, _, _, words = MISTAKEN[name]
    with talker.connect() as connection:
        response = connection.request("GET", f"/{name}")
        assert (response.status, response.body) == (status, b"123" if status == 200 else b"")
        assert connection.request("GET", "/").body == b"fine"
    assert_logged_once(talker, words, before)


@each_style
@pytest.mark.parametrize("name", ["long", "short"])
def test_nobody_complains_of_the_content_of_a_head_request(talker: Server, name: str) -> None:
    before = len(talker.stderr())
    with talker.connect() as connection:
        assert connection.request("HEAD", f"/{name}").get("content-length") == MISTAKEN[name][1][0][1]
        assert connection.request("GET", "/").body == b"fine"
    assert f"/{name} has" not in talker.stderr()[before:]


@each_style
def test_fields_of_the_connection_are_the_servers(talker: Server) -> None:
    with talker.connect() as connection:
        response = connection.request("GET", "/ours")
        assert (response.body, response.framing) == (b"fine", "length")
        assert {"keep-alive", "connection", "te"}.isdisjoint(name.lower() for name, _ in response.fields)
        assert connection.request("GET", "/").body == b"fine"


# WSGI


@each_style
@wsgi_only
def test_write_kept_from_an_earlier_request(talker: Server) -> None:
    """It reaches no later answer of the connection: it raises, where it is called."""
    with talker.connect() as connection:
        assert connection.request("GET", "/keep").body == b"fine"
        late = connection.request("GET", "/late")
        assert (late.status, "x-injected" in str(late)) == (500, False)
        assert connection.request("GET", "/").body == b"fine"


@each_style
@wsgi_only
def test_text_that_is_written_is_a_500(talker: Server) -> None:
    assert talker.get("/write-text").status == 500


@wsgi_only
def test_error_after_writing(talker: Server) -> None:
    """What `write` was given has gone to the client: there is no way back to a 500."""
    with talker.connect() as connection:
        connection.send(render("GET", "/write-and-raise"))
        with pytest.raises(Truncated) as end:
            connection.read_response()
        assert end.value.received == b"written"


# Interim answers


@each_style
def test_early_hints(talker: Server) -> None:
    with talker.connect() as connection:
        response = connection.request("GET", "/hints")
        assert (response.status, response.body) == (200, b"fine")
        assert [hint.status for hint in response.interim] == [103, 103]
        assert [hint.all("link") for hint in response.interim] == [
            ["</a.css>; rel=preload", "</b.js>; rel=preload"],
            ["</c.css>; rel=preload"],
        ]
        assert response.get("link") is None
        assert connection.request("GET", "/").interim == ()


def test_early_hints_do_not_wait_for_the_answer(talker: Server, token: str) -> None:
    with talker.connect() as connection:
        connection.send(render("GET", f"/slow-hints?{token}"))
        assert connection.read_head().status == 103
        talker.journal.open_gate(token)
        assert connection.read_response().body == b"fine"


@each_style
def test_early_hints_are_not_for_http_1_0(talker: Server) -> None:
    with talker.connect() as connection:
        connection.send(render("GET", "/hints", version="1.0"))
        response = connection.read_response()
        assert (response.body, response.interim) == (b"fine", ())


@each_style
def test_hint_that_would_split_the_response(talker: Server) -> None:
    response = talker.get("/bad-hints")
    assert (response.status, response.interim) == (500, ())


# Extensions of ASGI


@each_style
@asgi_only
@pytest.mark.parametrize("asks", [True, False])
def test_trailers(talker: Server, asks: bool) -> None:
    """RFC 9110 section 6.5.1, and the specification of the extension: for a client that says TE: trailers."""
    with talker.connect() as connection:
        connection.send(render("GET", "/trailers", *["TE: trailers"] * asks, "Connection: close"))
        raw = connection.read_to_end()
    expected = b"6\r\nonetwo\r\n0\r\n" + b"x-sum: 6\r\nx-sign: ok\r\n" * asks + b"\r\n"
    assert raw.endswith(b"\r\n\r\n" + expected)
    assert talker.get("/trailers").body == b"onetwo"


@each_style
@asgi_only
def test_trailer_that_would_be_framing(talker: Server) -> None:
    with talker.connect() as connection, pytest.raises(Truncated):
        connection.request("GET", "/bad-trailers")


@asgi_only
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_path_is_sent(talker: Server, method: str) -> None:
    with talker.connect() as connection:
        response = connection.request(method, "/path")
        assert response.get("content-length") == str(len(FILE))
        assert response.body == (FILE if method == "GET" else b"")
        assert connection.request("GET", "/").body == b"fine"


@each_style
@asgi_only
def test_path_that_leads_nowhere_is_the_applications_to_handle(talker: Server) -> None:
    assert talker.get("/no-path").body == b"the application has found another way"


@asgi_only
@pytest.mark.parametrize(("name", "framing"), [("region", "length"), ("chunked-region", "chunked")])
def test_stretches_of_a_file_between_other_content(talker: Server, name: str, framing: str) -> None:
    with talker.connect() as connection:
        response = connection.request("GET", f"/{name}")
        assert response.framing == framing
        assert response.body == b"begin" + FILE[1000:101_000] + pattern(1 << 20)[-7:]
        assert connection.request("GET", "/").body == b"fine"
