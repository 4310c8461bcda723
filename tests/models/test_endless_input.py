"""A client that never ceases to send, under the models with a thread for each client.

Its socket is readable whenever the thread looks. That puts off neither a deadline nor the end of the server.
"""

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from septet.exchange import Want
from septet.models._acceptor import Client
from septet.models._client_delivery import ClientDelivery
from septet.models._shared_exchange import SharedExchange
from septet.models._waker import Waker
from septet.processes.orders import Stop
from septet.protocol import CLOSE, READ, WRITE, Phase
from septet.rules import Rules, Timeouts
from septet.session.http1 import Session
from septet.session.phases import ANSWER, OVER


@pytest.fixture
def ours() -> Iterator[socket.socket]:
    """The server's end of a connection in which there is more than two calls of recv(2) take."""
    ours, client = socket.socketpair()
    with ours, client:
        ours.setblocking(False)
        client.setblocking(False)
        client.send(bytes(1 << 18))
        yield ours


@pytest.fixture
def stop() -> Iterator[Stop]:
    stop = Stop(signals=False)
    yield stop
    stop.close()


def wait_of(session: Session, ours: socket.socket, stop: Stop) -> ClientDelivery:
    acceptor: Any = SimpleNamespace(is_free=False, stop=stop, watched_listeners=())
    return ClientDelivery(Client(acceptor, ours, session, 0.0))


def test_input_after_a_deadline_is_taken_once(ours: socket.socket, stop: Stop) -> None:
    session = Session(Rules(timeouts=Timeouts(header=0.0)), None, ("/socket", None))
    session.receive(b"GET / HT")
    wait = wait_of(session, ours, stop)
    assert [wait.wait(), wait.wait()] == [READ, WRITE]
    assert session.phase is ANSWER
    assert bytes(session.output).startswith(b"HTTP/1.1 408 ")


def test_input_after_the_order_to_stop_is_taken_once(ours: socket.socket, stop: Stop) -> None:
    """What it sends is none of a request: messages of TLS, say, which the session never sees."""
    session = Session(Rules(), None, ("/socket", None))
    wait = wait_of(session, ours, stop)
    assert wait.wait() is READ
    stop.order()
    assert [wait.wait(), wait.wait()] == [READ, CLOSE]


def test_input_after_the_order_to_drain_is_taken_until_the_client_had_its_time(
    ours: socket.socket, stop: Stop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("septet.session.http1.DRAINING_S", 0.0)
    session = Session(Rules(), None, ("/socket", None))
    wait = wait_of(session, ours, stop)
    stop.order(drain=True)
    wants = [wait.wait() for _ in range(4)]
    assert wants[0] is READ
    assert wants[-1] is CLOSE


class Endless:
    """A protocol whose deadline has passed. It makes nothing of what comes."""

    phase = Phase("endless", READ, lambda timeouts: 0.0)
    exchange = SimpleNamespace(client=None, server=None, tls=None, gone=False, lost=False)
    unread = received = 0
    gone = lost = may_have_unread_input = False

    def deadline(self, now: float) -> float:
        return now

    def receive(self, data: bytes) -> Want:
        self.received += 1
        return READ

    def expire(self) -> Want:
        self.phase = OVER
        return CLOSE

    def half_close(self) -> bool:
        return False


def test_an_answer_of_asgi_ends_at_its_deadline(ours: socket.socket, stop: Stop) -> None:
    waker, session = Waker(), Endless()
    waker.open()
    try:
        exchange = SharedExchange(cast(Any, session), ours, waker, stop)
        assert exchange.deliver(lambda: None, lambda: None) is CLOSE
    finally:
        waker.close()
    assert session.received == 2, "once before the deadline was looked at, once after"
