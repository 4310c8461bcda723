"""An exception of another thread, or of a signal handler, anywhere in what a WSGI application has the server do.

The application catches it and goes on. Then the client has all of the answer, or its connection is cut.
"""

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from septet.apps.wsgi import Wsgi
from septet.exchange import ClientGone, Delivery
from septet.http.head import response_head
from septet.loop import EpollLoop
from septet.models._acceptor import Client
from septet.models._client_connection import ClientConnection
from septet.models._client_delivery import ClientDelivery
from septet.models._drive import leaves_whole
from septet.pollers import READABLE
from septet.rules import Rules
from septet.session.http1 import Session
from support.messages import render
from support.struck import struck_at

PARTS = b"one,", b"two,", b"three,"
HEAD = response_head(200, b"OK", ((b"Content-Length", b"14"),))


class TooLate(Exception):
    """What the signal handler of an application raises."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    def handle(number: int, frame: object) -> None:
        raise TooLate

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def blocking(sock: socket.socket, session: Session) -> Delivery:
    acceptor: Any = SimpleNamespace(is_free=False, count_as_free=lambda: None)
    return ClientDelivery(Client(acceptor, sock, session, 0.0))


def on_loop(sock: socket.socket, session: Session) -> Delivery:
    runner = SimpleNamespace(leads=lambda: False)
    reactor: Any = SimpleNamespace(
        loop=None, lock=None, site=SimpleNamespace(has_wsgi=True), runner=runner, call_on_loop=lambda function: None
    )
    connection = ClientConnection(reactor, sock, session)
    connection._mask = 1  # READABLE
    return connection


each_carrier = pytest.mark.parametrize("carrier", [blocking, on_loop])


@contextmanager
def served(carrier: Callable[..., Delivery], request: bytes) -> Iterator[tuple[Session, Delivery, socket.socket]]:
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        there.setblocking(False)
        session = Session(Rules(), None, ("192.0.2.2", 80))
        delivery = session.delivery = carrier(here, session)
        session.receive(request)
        yield session, delivery, there


@each_carrier
def test_part_of_an_answer(carrier: Callable[..., Delivery]) -> None:
    for number in count():
        with served(carrier, render("GET", "/")) as (session, delivery, client):
            delivery.deliver(HEAD, PARTS[0], False)
            struck = struck_at(number, lambda: delivery.deliver(None, PARTS[1], False), real=True)
            with suppress(ClientGone):
                delivery.deliver(None, PARTS[2], False)
                delivery.deliver(None, b"", True)
            body = client.recv(1000).partition(b"\r\n\r\n")[2]
            cut = session.lost or session.phase.name == "over"
            assert (
                body == b"one,two,three,"
                or (cut and b"".join(PARTS).startswith(body))
                or (cut and body in (b"one,three,", b"one,thr"))
            ), (number, body, session.phase)
            if not struck:
                assert not cut
                break
    assert number > 10


@each_carrier
def test_what_the_server_refuses_is_no_reason_to_cut(carrier: Callable[..., Delivery]) -> None:
    with served(carrier, render("GET", "/")) as (session, delivery, client):
        delivery.deliver(HEAD, PARTS[0], False)
        for wrong in ("text", 5):
            with pytest.raises(TypeError):
                delivery.deliver(None, wrong, False)  # type: ignore[arg-type]
        delivery.deliver(None, b"two,three,", True)
        assert client.recv(1000).endswith(b"one,two,three,")
        assert not session.lost


@pytest.mark.parametrize(("code", "whole"), [("raise ValueError('refused')", True), ("int('no number')", False)])
def test_what_another_thread_raises_is_not_taken_for_what_the_server_raises(code: str, whole: bool) -> None:
    """It comes at a call, as what a function in C raises does, and may be of the same type."""
    with pytest.raises(ValueError, match=r"refused|invalid") as caught:
        exec(f"def push():\n    {code}\npush()", {"__name__": "septet.session.a_test"})
    assert leaves_whole(caught.value) == whole


def test_time_limit_of_an_application_that_waits_for_its_client() -> None:
    head = response_head(200, b"OK", ((b"Content-Length", b"5000004"),))
    with served(blocking, render("GET", "/")) as (session, delivery, client):
        with pytest.raises(TooLate), time_limit(0.05):
            delivery.deliver(head, bytes(5_000_000), False)
        client.settimeout(10)
        received = bytearray()

        def take() -> None:
            while not received.endswith(b"end!"):
                received.extend(client.recv(1 << 20))

        taker = Thread(target=take)
        taker.start()
        delivery.deliver(None, b"end!", True)
        taker.join()
        assert received.partition(b"\r\n\r\n")[2] == bytes(5_000_000) + b"end!"
        assert not session.lost


def body_read(read: Callable[[Any], object], request: bytes, later: bytes, number: int = -1) -> tuple[bool, Any]:
    """Have an application read with an exception at the number-th place, or a time limit, and then read the rest."""
    seen: list[Any] = []

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        source = environ["wsgi.input"]
        if number < 0:
            try:
                with time_limit(0.05):
                    read(source)
            except TooLate:
                seen.append("late")
            other.send(later)
        else:
            other.send(later)
            seen.append(struck_at(number, lambda: read(source), real=True))
        try:
            seen.append(source.read())
        except OSError as error:
            seen.append(error)
        start_response("200 OK", [])
        return [b"fine"]

    with served(blocking, request) as (session, _, other):
        Wsgi(application)(session)
        return session.lost, seen


HALF = 40_000 * b"a"
WHOLE = HALF + 40_000 * b"b"
UPLOAD = render("POST", "/", "Content-Length: 80000") + HALF


def test_time_limit_before_anything_of_a_body_has_come() -> None:
    lost, seen = body_read(lambda source: source.read(5), UPLOAD[: -len(HALF)], b"x" * 80_000)
    assert seen == ["late", b"x" * 80_000]
    assert not lost


def test_time_limit_in_the_middle_of_a_body() -> None:
    """Python's own reader forgets what it had read in the call that is interrupted, so no more is read."""
    lost, seen = body_read(lambda source: source.read(), UPLOAD, WHOLE[len(HALF) :])
    assert seen[0] == "late"
    assert "an earlier read" in str(seen[1])
    assert not lost


@pytest.mark.parametrize(
    "read",
    [
        lambda source: source.read1(500),
        lambda source: source.readline(),
        lambda source: source.readinto(bytearray(500)),
        lambda source: next(source),
        lambda source: list(source),
    ],
)
def test_time_limit_between_two_pieces_of_a_body(read: Callable[[Any], object]) -> None:
    """Nothing of it is lost: what had come was returned by calls before."""

    def read_all_and_on(source: Any) -> object:
        assert source.read(len(HALF)) == HALF
        return read(source)

    lost, seen = body_read(read_all_and_on, UPLOAD, WHOLE[len(HALF) :])
    assert seen == ["late", WHOLE[len(HALF) :]]
    assert not lost


def test_read_that_is_struck_anywhere() -> None:
    for number in count():
        taken: list[bytes] = []
        _, seen = body_read(lambda source: taken.append(source.read1(50)), UPLOAD, WHOLE[len(HALF) :], number)  # noqa: B023
        struck, rest = seen
        if struck and not taken:
            assert isinstance(rest, OSError) or rest == WHOLE or rest == WHOLE[50:], number
        if not struck:
            assert taken[0] + rest == WHOLE
            break
    assert number > 5


def test_a_connection_that_is_struck_as_it_is_repaired_is_not_watched_for_ever() -> None:
    """Else its descriptor's number would be taken, and every later client that gets this number would be cut."""
    loop = EpollLoop()
    try:
        for number in count():
            with served(on_loop, render("GET", "/")) as (_, delivery, _):
                connection: Any = delivery
                connection.loop, connection._mask = loop, 0
                connection._watch(READABLE)
                struck = struck_at(number, connection.forget_watch, real=True)
                connection.detach()  # as the end of a connection does
                assert not loop._interest.watchers, number
            if not struck:
                break
        assert number > 3
    finally:
        loop.close()
