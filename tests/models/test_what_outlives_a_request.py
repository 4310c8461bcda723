"""State of a connection or a thread that outlives a request, or an exception of another thread: it misleads nobody."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from contextvars import copy_context
from types import SimpleNamespace
from typing import Any, cast

import pytest

from septet.apps import _call
from septet.apps._call import Call
from septet.apps.wsgi import Wsgi
from septet.loop import EpollLoop
from septet.models import _client_delivery
from septet.models._acceptor import Client
from septet.models._asgi_in_thread import AsgiThread
from septet.models._beside import Beside
from septet.models._blocking import dispatcher
from septet.models._client_connection import ClientConnection
from septet.models._client_delivery import ClientDelivery
from septet.models._drive import drive, receive
from septet.pollers import READABLE
from septet.processes.orders import Stop
from septet.protocol import RUN
from septet.rules import Rules
from septet.session.http1 import Session
from support.messages import render
from support.waiting import wait_until


class Struck(BaseException):
    pass


@pytest.fixture
def stop() -> Iterator[Stop]:
    stop = Stop(signals=False)
    yield stop
    stop.close()


class Connected:
    """A session with its delivery, as a blocking model has them, and its client's end of the connection."""

    def __init__(self, stop: Stop) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)
        self.theirs.settimeout(10)
        self.session = Session(Rules(), None, ("/socket", None))
        acceptor: Any = SimpleNamespace(
            is_free=False, stop=stop, watched_listeners=(), count_as_free=lambda: None, count_as_busy=lambda: None
        )
        self.client = Client(acceptor, self.ours, self.session, 0.0)
        self.delivery: Any = ClientDelivery(self.client)
        self.session.delivery = self.delivery

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


@pytest.fixture
def connected(stop: Stop) -> Iterator[Connected]:
    made = Connected(stop)
    yield made
    made.close()


def test_two_equal_requests_have_two_threads(stop: Stop) -> None:
    """Two of a connection, as by HTTP/2, whose heads are the same bytes."""
    both = threading.Barrier(3)

    def answer(application: object, call: object) -> None:
        with suppress(threading.BrokenBarrierError):
            both.wait(10)

    loop = EpollLoop()
    service: Any = SimpleNamespace(stop=stop, exhaustion=None, threads=2, context=copy_context())
    beside = Beside(loop, service, lambda: None, lambda: None)
    connection, request = SimpleNamespace(answer=answer, abandon=lambda: None), object()
    for _ in range(2):
        beside.due += [cast(Any, (connection, None, request))]
    beside._hand_out()
    try:
        both.wait(10)  # both are being answered
        wait_until(lambda: not beside.busy, "both are answered")
    finally:
        beside.end()
        loop.close()


def test_each_request_of_a_half_closed_connection_has_its_time(
    connected: Connected, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    gone: list[object] = []

    def application(environ: Any, start_response: Any) -> list[bytes]:
        nonlocal now
        write = start_response("200 OK", [("Content-Length", "4")])
        try:
            for _ in range(2):
                write(b"")
                now += 3.0
        except OSError as error:
            gone.append(error)
        return [b"fine"]

    monkeypatch.setattr(_client_delivery, "monotonic", lambda: now)
    service: Any = SimpleNamespace(context=copy_context(), site=SimpleNamespace(find=lambda _: Wsgi(application)))
    connected.theirs.sendall(2 * render("GET", "/"))
    connected.theirs.shutdown(socket.SHUT_WR)
    want = receive(connected.session, connected.ours)
    drive(want, connected.session, connected.ours, dispatcher(service, connected.client, None))
    assert not gone
    assert connected.theirs.recv(1 << 16).count(b"fine") == 2


def test_each_request_of_a_half_closed_connection_on_a_loop_has_its_time() -> None:
    session = Session(Rules(), None, ("/socket", None))
    reactor: Any = SimpleNamespace(loop=None, lock=None, site=SimpleNamespace(has_wsgi=False))
    here, there = socket.socketpair()
    with here, there:
        there.shutdown(socket.SHUT_WR)
        connection = ClientConnection(reactor, here, session)
        assert not connection.client_has_left()
        assert connection._half_closed_at is not None
        connection._end_answer()
        assert connection._half_closed_at is None


def test_an_empty_write_beside_a_thread_that_reads(connected: Connected) -> None:
    found: list[int] = []
    delivery = connected.delivery
    reads = threading.Thread(target=lambda: found.append(delivery._wait_for_client(READABLE, 10.0)))
    reads.start()
    try:
        for _ in range(40):
            delivery.check_client()
            reads.join(0.005)
    finally:
        connected.theirs.send(b"x")
        reads.join(20)
    assert found == [READABLE]


def test_an_object_that_dies_while_threads_are_noted_may_write(
    connected: Connected, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The garbage collector may call `__del__` of the application's anywhere."""
    assert connected.session.receive(render("GET", "/")) is RUN
    call = Call(connected.session)
    made = _call.OtherThreads

    def making() -> Any:
        monkeypatch.setattr(_call, "OtherThreads", made)
        call.enter()[0].leave(False)
        return made()

    monkeypatch.setattr(_call, "OtherThreads", making)
    thread = threading.Thread(target=lambda: call.enter()[0].leave(False), daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def test_a_thread_that_was_struck_as_it_took_its_turn_waits_no_more(connected: Connected) -> None:
    delivery = connected.delivery
    delivery._take_turn()

    def wait(timeout: float | None) -> list[tuple[int, int]]:
        assert delivery._waits_first == READABLE
        delivery._take_turn = struck
        return []

    def struck() -> None:
        raise Struck

    with pytest.raises(Struck):
        delivery._sleep(SimpleNamespace(wait=wait), READABLE, 0.0)
    assert delivery._waits_first is None


def test_a_loop_that_was_struck_as_it_woke_is_woken_again(stop: Stop, monkeypatch: pytest.MonkeyPatch) -> None:
    service: Any = SimpleNamespace(stop=stop, graceful_timeout=30.0, monitor=None, site=SimpleNamespace(asgis=()))
    thread = AsgiThread(service, with_lifespan=False)
    thread._wakeup.open()
    thread.post(lambda: None)

    def struck(descriptor: int) -> int:
        monkeypatch.undo()
        os.eventfd_read(descriptor)
        raise Struck

    monkeypatch.setattr(os, "eventfd_read", struck)
    with pytest.raises(Struck):
        thread._run_calls(READABLE)
    thread.post(lambda: None)
    assert os.eventfd_read(thread._wakeup.number) == 1
