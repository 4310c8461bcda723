"""Clients that disappear, by FIN and by RST, at every stage of a request: nothing leaks and the server lives on."""

import signal
from collections.abc import Callable

import pytest

from support.client import Connection
from support.marks import asgi_only, with_one_interface
from support.messages import render
from support.processes import await_idle, children, open_descriptors, threads
from support.server import Server, serve
from support.waiting import becomes_true

#: At each of the seven stages: 200 in all.
TIMES = 29
#: Each of the sixteen threads of a pool may make something at its first request.
BATCHES = 20
#: s; what a lingering close or a dying child may take.
RETURN_S = 3.0

Leave = Callable[[Connection], None]


def before_a_byte(connection: Connection) -> None:
    pass


def in_the_header(connection: Connection) -> None:
    connection.send(b"GET / HTTP/1.1\r\nHost: exa")


def in_the_body(connection: Connection) -> None:
    connection.send(render("POST", "/read?how=all", "Content-Length: 100000") + b"the first bytes")


def before_the_answer(connection: Connection) -> None:
    connection.send(render("GET", "/send?size=1000000&parts=10"))


def in_the_answer(connection: Connection) -> None:
    connection.send(render("GET", "/send?size=1000000&parts=10"))
    assert connection.read_head().status == 200


def in_a_file(connection: Connection) -> None:
    connection.send(render("GET", "/files/big.bin"))
    assert connection.read_head().status == 200


def after_the_answer(connection: Connection) -> None:
    assert connection.request("GET", "/").status == 200


STAGES = [in_the_body, before_the_answer, in_the_answer, after_the_answer]
STAGES_WITHOUT_THE_APPLICATION = [before_a_byte, in_the_header, in_a_file]

each_end = pytest.mark.parametrize("leave", [Connection.close, Connection.reset], ids=["FIN", "RST"])


@each_end
@pytest.mark.parametrize("stage", STAGES)
def test_client_disappears(server: Server, stage: Leave, leave: Leave) -> None:
    assert_nothing_leaks(server, stage, leave)


@with_one_interface()
@each_end
@pytest.mark.parametrize("stage", STAGES_WITHOUT_THE_APPLICATION)
def test_client_disappears_without_asking_the_application(server: Server, stage: Leave, leave: Leave) -> None:
    assert_nothing_leaks(server, stage, leave)


def assert_nothing_leaks(server: Server, stage: Leave, leave: Leave) -> None:
    """200 times over all stages, and every descriptor, thread and process that this took is given back.

    What a worker makes at its first request of a kind, and keeps, is no leak: that ends after a few batches.
    """
    assert any(gives_all_back(server, stage, leave) for _ in range(BATCHES))


def gives_all_back(server: Server, stage: Leave, leave: Leave) -> bool:
    """Whether a batch of disappearing clients leaves the server with no more than it had."""
    before = resources(server)
    for _ in range(TIMES):
        with server.connect() as connection:
            stage(connection)
            leave(connection)
    assert server.get("/").status == 200
    return becomes_true(lambda: not grown(before, resources(server)), RETURN_S)


def resources(server: Server) -> tuple[int, ...]:
    return open_descriptors(server.pid), threads(server.pid), len(children(server.pid))


def grown(before: tuple[int, ...], now: tuple[int, ...]) -> bool:
    return any(new > old for old, new in zip(before, now, strict=True))


@with_one_interface()
def test_a_client_that_sent_ahead_gets_its_answer_whole(model: str, interface: str, token: str) -> None:
    """The last one before a stop; what else the client has sent must not make the end a reset (RFC 9112, 9.6)."""
    with serve(model, interface) as server, server.connect() as connection:
        connection.send(render("GET", f"/gate?gate={token}"))
        server.journal.wait_for(f"at gate {token}")
        connection.send(render("GET", "/") * 100)
        server.send_signal(signal.SIGTERM)
        server.journal.open_gate(token)
        assert connection.read_response().body == b"rest"
        while connection.has_more() and not connection.read_response().closes:
            pass
        connection.assert_closed_in_order()
        connection.close()
        assert server.wait() == 0


@asgi_only  # no other application can be told before it writes
def test_a_client_that_sent_far_ahead_and_left_is_noticed(server: Server, token: str) -> None:
    """Nobody reads any more of it, and yet its reset is seen while the application waits for something else."""
    with server.connect() as connection:
        connection.send(render("GET", f"/client-leaves?token={token}"))
        server.journal.wait_for(f"body read {token}")
        connection.send(render("GET", "/") * 5000)
        connection.reset()
    server.journal.wait_for(f"client left {token}: http.disconnect")


@asgi_only
def test_a_disconnected_client_does_not_keep_the_application(server: Server, token: str) -> None:
    """It learns that nobody takes its parts: send() ends, once. Of WSGI: `test_an_answer_whose_client_leaves`."""
    with server.connect() as connection:
        connection.send(render("GET", f"/endless?token={token}"))
        assert connection.read_head().status == 200
        connection.reset()
    server.journal.wait_for(f"closed {token}")
    assert server.get("/").status == 200
    assert server.journal.count(f"closed {token}") == 1


@asgi_only
def test_a_client_that_half_closed_first_does_not_keep_the_application_either(server: Server, token: str) -> None:
    """It may wait for its answer still, or have left, which sending shows: only then is it lost."""
    with server.connect() as connection:
        connection.send(render("GET", f"/endless?token={token}&gate={token}"))
        connection.end_sending()
        server.journal.wait_for(f"at gate {token}")
        server.journal.open_gate(token)
        assert connection.read_head().status == 200
        await_idle(server.pid)  # the application waits for the client to take more
    server.journal.wait_for(f"closed {token}")
    assert server.get("/").status == 200
