"""The end of a request that exceeds `--request-timeout`, beside the thread that runs its application."""

import socket
from collections.abc import Iterator
from threading import Thread
from types import SimpleNamespace
from typing import Any, cast

import pytest

from septet.exchange import ClientGone
from septet.models._acceptor import Acceptor, Client
from septet.models._client_delivery import ClientDelivery
from septet.models._late_requests import TURN_S, BlockedThread
from septet.processes.request_watch import ANSWERED, CUT
from septet.protocol import CLOSE
from support.carrier import Watched, ok
from support.messages import render
from support.waiting import wait_until


class Blocked:
    """A request whose application runs in the thread of the test, and its client's end of the connection."""

    def __init__(self, sock: socket.socket, client: socket.socket) -> None:
        sock.setblocking(False)
        client.settimeout(20)
        self.client = client
        self.session = Watched()
        self.session.receive(render("GET", "/"))
        acceptor = cast(Acceptor, SimpleNamespace(is_free=False, count_as_free=lambda: None))
        self.delivery: Any = ClientDelivery(Client(acceptor, sock, self.session, 0.0))
        self.session.delivery = self.delivery
        self.outcomes: list[str | None] = []
        late, request = BlockedThread(self.session), self.session.request

        def is_over() -> bool:
            return self.session.answered or self.session.request is not request

        self.ending = Thread(target=lambda: self.outcomes.append(late.end(0.0, is_over)))

    def read(self) -> bytes:
        data = b""
        while piece := self.client.recv(65536):
            data += piece
        return data


@pytest.fixture
def blocked() -> Iterator[Blocked]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Blocked(ours, theirs)


def test_takes_its_turn(blocked: Blocked) -> None:
    """What the application's thread does with the session at that moment is done to its end first."""
    with blocked.delivery.turn:
        blocked.ending.start()
        blocked.ending.join(TURN_S / 5)
        assert (blocked.session.status, blocked.session.lost, bytes(blocked.session.output)) == (0, False, b"")
    assert blocked.read().startswith(b"HTTP/1.1 504 ")
    blocked.ending.join()
    assert blocked.outcomes == [ANSWERED]
    with pytest.raises(ClientGone):
        blocked.delivery.deliver(ok(), b"late", True)


def test_answer_that_is_complete_just_then(blocked: Blocked) -> None:
    with blocked.delivery.turn:
        blocked.ending.start()
        blocked.session.exchange.respond(ok(), b"fine", True)
    blocked.ending.join()
    assert blocked.outcomes == [None]
    assert blocked.session.output.startswith(b"HTTP/1.1 200 ")


def test_answer_that_has_begun(blocked: Blocked) -> None:
    blocked.delivery.deliver(ok(), b"some", False)
    blocked.ending.start()
    blocked.ending.join()
    assert blocked.outcomes == [CUT]


def test_call_that_has_begun_sends_nothing_more(blocked: Blocked) -> None:
    """The thread was about to take its turn: it had found the method, which is refused from then on."""
    deliver = blocked.delivery.deliver
    blocked.ending.start()
    blocked.ending.join()
    with pytest.raises(ClientGone):
        deliver(ok(), b"late", False)
    answer = blocked.read()
    assert answer.startswith(b"HTTP/1.1 504 ")
    assert b"late" not in answer


def test_turn_that_does_not_come(blocked: Blocked) -> None:
    with blocked.delivery.turn:
        blocked.ending.start()
        assert blocked.read() == b""  # the connection has ended
        blocked.ending.join()
        assert not blocked.session.lost
    assert blocked.outcomes == [CUT]
    with pytest.raises(ClientGone):
        blocked.delivery.deliver(ok(), b"late", False)
    blocked.delivery.give_up()  # as `answer` does then
    assert blocked.session.phase.want is CLOSE, "the request is not dispatched again"


def test_thread_that_waits_for_a_slow_client(blocked: Blocked) -> None:
    """It does not hold the turn meanwhile, and is told of the end."""
    raised: list[BaseException] = []

    def send() -> None:
        try:
            blocked.delivery.deliver(ok(), bytes(50_000_000), False)
        except ClientGone as error:
            raised.append(error)

    sender = Thread(target=send)
    sender.start()
    wait_until(lambda: blocked.delivery._waits_first, "it waits for the client")
    blocked.ending.start()
    blocked.ending.join()
    sender.join(20)
    assert len(raised) == 1
    assert len(blocked.read()) < 50_000_000


def test_next_request_is_left_alone(blocked: Blocked) -> None:
    """The late one was answered while its stacks were logged."""
    blocked.delivery.deliver(ok(), b"", True)
    assert blocked.client.recv(65536).startswith(b"HTTP/1.1 200 ")
    blocked.session.receive(render("GET", "/next"))
    blocked.ending.start()
    blocked.ending.join()
    blocked.delivery.deliver(ok(), b"next", True)
    assert blocked.client.recv(65536).endswith(b"next")
