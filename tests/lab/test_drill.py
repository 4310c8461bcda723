"""Drills: what counts as lost, and a drill of a real server."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from click.testing import CliRunner

from septet.lab.bench_command import bench
from septet.lab.drill.drill import Outcome, sentence
from septet.lab.drill.users import Loss, Tally, Users
from support.server import loopback
from support.waiting import in_time_enough

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[tuple[str, int]]:
    """Accepts clients, reads a request of each, and leaves the rest to `answer`."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                with client:
                    if client.recv(4096):
                        answer(client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def _reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda client: None, "closed without an answer"),
        (lambda client: client.sendall(OK[:-1]), "closed within the answer"),
        (lambda client: client.sendall(OK.replace(b"200 OK", b"503 No")), "status 503"),
        (_reset, "receiving: ECONNRESET"),
    ],
)
def test_losses_are_seen(answer: Callable[[socket.socket], None], reason: str) -> None:
    with server(answer) as address:
        tally = in_time_enough(
            lambda duration_s: Users(address, "/", 1, 1, 40.0).run(duration_s, []),
            lambda tally: {loss.keeps for loss in tally.losses} == {True, False},
            0.2,
        )
    assert tally.answered == 0
    assert {loss.reason for loss in tally.losses} == {reason}
    assert {loss.keeps for loss in tally.losses} == {True, False}


def test_refused_connections_are_lost() -> None:
    with socket.create_server((loopback(), 0)) as gone:
        address = gone.getsockname()
    tally = Users(address, "/", 1, 0, 40.0).run(0.2, [])
    assert {loss.reason for loss in tally.losses} == {"connecting: ECONNREFUSED"}


def test_none_begins_after_the_order_to_stop() -> None:
    """Also of those that were due before it, however long the order took."""
    with socket.create_server((loopback(), 0)) as gone:
        address = gone.getsockname()
    users = Users(address, "/", 2, 2, 1e9)
    assert not users.run(0.1, [(0.0, users.begin_no_more)]).losses


def test_connection_that_ends_while_it_is_idle_is_no_loss() -> None:
    with server(lambda client: client.sendall(OK)) as address:
        tally = Users(address, "/", 1, 0, 10.0).run(0.5, [])
    assert not tally.losses
    assert tally.answered >= 2
    assert tally.closed_idle


def test_outcome_in_words() -> None:
    tally = Tally(answered=1000, slowest_s=0.0612, losses=[Loss(1.25, 1.26, "receiving: ECONNRESET", True)])
    outcome = Outcome("epoll", tally, [1.0], 1, 0, 0)
    assert not outcome.passed
    assert sentence(outcome) == (
        "epoll: lost: 1 of 1,001 requests; 1 order, 1 carried out; slowest 61 ms\n"
        "  1 x receiving: ECONNRESET (kept connections); the first began 250 ms after order 1"
    )
    assert Outcome("epoll", Tally(answered=5), [1.0], 1, 0, 0).passed
    assert not Outcome("epoll", Tally(answered=5), [1.0], 0, 0, 0).passed  # no order was carried out


@pytest.mark.parametrize("name", ["reload", "stop"])
def test_drill_of_a_server(name: str) -> None:
    arguments = ["hello", "--drill", name, "--models", "epoll", "--for", "2s", "--users", "8", "--rate", "80"]
    done = CliRunner().invoke(bench, arguments, standalone_mode=False)
    assert done.exception is None, done.output
    assert done.output.startswith("epoll: lost: 0 of ")
    assert " order" in done.output
