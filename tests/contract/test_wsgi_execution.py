"""Where a WSGI application runs: PEP 3333 as frameworks live it, in every model and with every kind of thread.

The call, every next() and close() of one answer happen on one thread, in one context of its own, in which asyncio has
no running loop, and no other request's code runs on that thread in between. The application observes this itself, see
`support.apps_execution`; here are the requests that would make a server depart from it.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain

import pytest

from support.apps_execution import marked, row
from support.behaviour import digest
from support.client import Connection, Truncated
from support.messages import chunked, pattern, render
from support.models import CONFIGURATIONS, Configuration
from support.observed import assert_own, observed, read_in_turns
from support.server import Server

APP = "support.apps_execution:app"

#: More than a loop takes of one client at once.
MANY = 40

#: Bytes; so small that a slow reader's answer does not disappear in the kernel's buffers.
SMALL_BUFFER = 1 << 16

READERS = 32

#: Where a connection is kept, though others wait.
KEEPING = [one for one in CONFIGURATIONS if one.model not in ("iterative", "preforked", "prethreaded")]

#: Frameworks are tried where a thread is chosen in each of the ways there are: they cannot see more than APP looks for.
FOR_FRAMEWORKS = pytest.mark.parametrize(
    "configuration",
    [one for one in CONFIGURATIONS if one.model in ("forking", "prethreaded", "epoll")],
    ids=str,
)


@pytest.fixture
def server(shared_server: Callable[[str], Server]) -> Server:
    return shared_server(APP)


# One answer


@pytest.mark.parametrize("parts", [1, 3, MANY])
@pytest.mark.parametrize("way", ["", "&write"], ids=["given", "written"])
def test_an_answer_has_one_thread_and_one_context(server: Server, token: str, parts: int, way: str) -> None:
    assert_own(server.get(f"/observe?token={token}&parts={parts}&size=1000{way}"), token, 1000, parts)
    assert observed(server, token).steps >= parts + 1


def test_so_has_one_for_a_slow_reader(server: Server, token: str) -> None:
    with Connection(server.address, receive_buffer=SMALL_BUFFER) as connection:
        connection.send(render("GET", f"/observe?token={token}&parts={MANY}&size=100000", "Connection: close"))
        (response,) = read_in_turns([connection])
    assert_own(response, token, 100_000, MANY)
    assert observed(server, token).steps == MANY + 2  # and one that ends the iteration, and close()


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_so_has_one_that_reads_a_body(server: Server, token: str, framing: str) -> None:
    """In its call and between its parts; the body is one that goes to a temporary file where it is collected."""
    body, target = pattern(3_000_000), f"/observe?how=upload&token={token}"
    with server.connect() as connection:
        if framing == "length":
            connection.send(render("POST", target, body=body))
        else:
            connection.send(render("POST", target, "Transfer-Encoding: chunked") + chunked(body, 50_000))
        assert connection.read_response().body.endswith(f" {len(body)} {digest(body)}".encode())
    observed(server, token)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_answer_that_ends_before_its_parts_do(server: Server, token: str, method: str) -> None:
    """Its length is reached, or nothing of it is wanted: it is closed where it was called."""
    length = len(marked(token, 1000)) * 2
    with server.connect() as connection:
        response = connection.request(method, f"/observe?token={token}&parts={MANY}&size=1000&length={length}")
        assert response.body == (marked(token, 1000) * 2 if method == "GET" else b"")
        observed(server, token)
        assert connection.request("GET", f"/enter?token={token}").status == 200


@pytest.mark.parametrize("size", [1000, 3_000_000])
def test_a_file_is_closed_by_the_thread_that_opened_it(server: Server, token: str, size: int) -> None:
    with Connection(server.address, receive_buffer=SMALL_BUFFER) as connection:
        connection.send(render("GET", f"/file?token={token}&size={size}", "Connection: close"))
        (response,) = read_in_turns([connection])
    assert_own(response, token, size)
    observed(server, token)


def test_an_answer_that_fails_at_its_first_part(server: Server, token: str) -> None:
    assert server.get(f"/observe?token={token}&parts=2&fail=0").status == 500
    observed(server, token)


def test_an_answer_that_fails_at_a_late_part(server: Server, token: str) -> None:
    """The connection is cut, so that nothing is taken for the whole."""
    with server.connect() as connection, pytest.raises(Truncated) as end:
        connection.request("GET", f"/observe?token={token}&parts={MANY}&size=1000&fail=30")
    assert end.value.received == marked(token, 1000) * 30
    assert observed(server, token).steps == 32  # 30 parts, the failure, close()


@pytest.mark.parametrize("leave", [Connection.close, Connection.reset], ids=["FIN", "RST"])
def test_an_answer_whose_client_leaves(server: Server, token: str, leave: Callable[[Connection], None]) -> None:
    with server.connect() as connection:
        connection.send(render("GET", f"/endless?token={token}"))
        assert connection.read_head().status == 200
        leave(connection)
    observed(server, token)


def test_the_head_may_change_until_bytes_are_out(server: Server, token: str) -> None:
    """PEP 3333: start_response with exc_info replaces the head before the first part, and raises after it."""
    replaced = server.get(f"/replaced?token={token}")
    assert (replaced.status, replaced.get("x-first"), replaced.get("x-second")) == (503, None, "yes")
    with pytest.raises(Truncated):
        server.get(f"/replaced?late&token={token}")


# Several answers


@pytest.mark.parametrize("at_once", [False, True], ids=["one by one", "in one piece"])
def test_answers_of_a_connection_share_nothing(server: Server, token: str, at_once: bool) -> None:
    """A context that another request has used is a fault to the application, be it on the same thread or not."""
    tokens = [f"{token}{number}" for number in range(20)]
    requests = [render("GET", f"/observe?token={own}&parts=20&size=1000") for own in tokens]
    with server.connect() as connection:
        if at_once:
            connection.send(b"".join(requests))
        for own, request in zip(tokens, requests, strict=True):
            if not at_once:
                connection.send(request)
            assert_own(connection.read_response(), own, 1000, 20)
    for own in tokens:
        observed(server, own)


@pytest.mark.parametrize("configuration", KEEPING, ids=str)
def test_answers_that_share_a_server_share_nothing(server: Server, token: str) -> None:
    """Several clients at the same time, of whom each has several answers."""
    tokens = [[f"{token}{client}x{number}" for number in range(4)] for client in range(8)]
    with readers(server, len(tokens)) as clients:
        for number in range(4):
            for client, own in zip(clients, tokens, strict=True):
                close = ["Connection: close"] * (number == 3)
                client.send(render("GET", f"/observe?token={own[number]}&parts=20&size=20000", *close))
        for client in clients:
            client.end_sending()
        read = zip(read_in_turns(clients), clients, tokens, strict=True)
        for response, client, own in read:
            assert_own(response, own[0], 20_000, 20)
            for later in own[1:]:
                assert_own(client.read_response(), later, 20_000, 20)
    for own in chain.from_iterable(tokens):
        observed(server, own)


def test_slow_readers_never_see_each_others_bytes(shared_server: Callable[[str], Server], token: str) -> None:
    """The parts of an answer are what its thread-local and its context say at each of them."""
    server = shared_server(APP)
    read_slowly(server, "/observe", token)
    for number in range(READERS):
        observed(server, f"{token}x{number}")


@FOR_FRAMEWORKS
def test_nor_do_those_of_flask(shared_server: Callable[[str], Server], token: str) -> None:
    read_slowly(shared_server("support.app_flask:app"), "/mine", token)


def read_slowly(server: Server, target: str, token: str) -> None:
    tokens = [f"{token}x{number}" for number in range(READERS)]
    with readers(server, READERS) as clients:
        for client, own in zip(clients, tokens, strict=True):
            client.send(render("GET", f"{target}?token={own}&parts={MANY}&size=50000", "Connection: close"))
        for response, own in zip(read_in_turns(clients), tokens, strict=True):
            assert response.framing == "chunked"
            assert_own(response, own, 50_000, MANY)


@contextmanager
def readers(server: Server, count: int) -> Iterator[list[Connection]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(Connection(server.address, receive_buffer=SMALL_BUFFER, timeout_s=60))
            for _ in range(count)
        ]


# What an application may do


@pytest.mark.parametrize("deed", ["asyncio.run", "async_to_sync"])
def test_a_loop_of_its_own(server: Server, token: str, deed: str) -> None:
    """In the call, in next() and in close()."""
    response = server.get(f"/do?deed={deed}&token={token}")
    assert (response.status, response.body) == (200, b"call: ran, next: ran")
    observed(server, token)
    assert f"in close {token}: ran" in server.journal.lines()


def test_handlers_of_signals_are_the_main_threads(server: Server, configuration: Configuration, token: str) -> None:
    """Python lets no other thread set one: signal.signal raises ValueError there."""
    outcome = "set" if configuration.in_main_thread else "ValueError"
    assert server.get(f"/do?deed=signal&token={token}").body == f"call: {outcome}, next: {outcome}".encode()
    assert observed(server, token).main is configuration.in_main_thread


def test_rows_of_a_database(server: Server, token: str) -> None:
    """sqlite3 lets no other thread than the one that connected have a row."""
    response = server.get(f"/rows?token={token}&rows=500&width=10000")
    assert response.body == b"".join(row(number, "x" * 10_000) for number in range(500))
    observed(server, token)


@FOR_FRAMEWORKS
def test_what_flask_does(shared_server: Callable[[str], Server], token: str) -> None:
    server = shared_server("support.app_flask:app")
    assert server.get("/async/Flask").body == b"Hello, Flask!"
    assert_own(server.get(f"/mine?token={token}&parts={MANY}&size=1000"), token, 1000, MANY)


@FOR_FRAMEWORKS
def test_what_django_does(shared_server: Callable[[str], Server]) -> None:
    server = shared_server("support.app_django:wsgi")
    assert server.get("/async/Django").body == b"Hello, Django!"
    assert server.get("/database").body == b"499500"
    with readers(server, 2) as clients:
        for client in clients:
            client.send(render("GET", "/export?rows=300", "Connection: close"))
        for response in read_in_turns(clients):
            assert response.body.split() == [f"{number:09999}".encode() for number in range(300)]
