"""What two threads do to one session, step by step."""

import os
import resource
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from septet.models._asgi_in_thread import AsgiThread
from septet.models._shared_exchange import SharedExchange
from septet.models._waker import Waker
from septet.pollers import READABLE
from septet.processes.orders import Stop
from septet.protocol import READ, RUN
from septet.rules import Rules
from septet.session.http1 import Session
from septet.session.phases import BODY
from support.messages import render

STOP = cast(Stop, SimpleNamespace(ordered=False))


@pytest.fixture
def waker() -> Iterator[Waker]:
    waker = Waker()
    waker.open()
    yield waker
    waker.close()


@contextmanager
def exchange_of(waker: Waker, data: bytes) -> Iterator[tuple[SharedExchange, Session, socket.socket]]:
    """One request as far as `data` goes, and its client's end of the connection."""
    ours, client = socket.socketpair()
    with ours, client:
        ours.setblocking(False)
        session = Session(Rules(), None, ("/socket", None))
        assert session.receive(data) is RUN
        yield SharedExchange(session, ours, waker, STOP), session, client


def test_a_thread_that_does_not_wait_is_not_woken(waker: Waker) -> None:
    waker.wake()
    assert waker.wait(0) == {}


def test_a_thread_that_waits_is_woken_once(waker: Waker) -> None:
    waker.prepare_to_wait()
    waker.wake()
    ready = waker.wait(10)
    assert len(ready) == 1
    waker.stop_waiting(ready)
    waker.wake()
    assert waker.wait(0) == {}


def test_a_closed_waker_writes_to_no_descriptor(waker: Waker) -> None:
    """Its descriptor's number may be another's by now."""
    waker.prepare_to_wait()
    waker.close()
    other = os.eventfd(0, os.EFD_NONBLOCK)
    try:
        waker.wake()
        with pytest.raises(BlockingIOError):
            os.eventfd_read(other)
    finally:
        os.close(other)


def test_an_order_that_comes_while_the_loop_ends_writes_to_no_other_file() -> None:
    """A program orders its embedded server to stop, in a thread of its own. That is held just before it wakes the loop,
    which ends meanwhile, for it was awake and has seen the order.
    """
    stop, awake, ordered, ended = Stop(signals=False), threading.Event(), threading.Event(), threading.Event()
    site = SimpleNamespace(asgis=())
    service: Any = SimpleNamespace(stop=stop, graceful_timeout=30.0, monitor=None, site=site)
    loop = AsgiThread(service, with_lifespan=False)
    raised: list[OSError] = []

    def hold(frame: Any, event: str, argument: Any) -> None:
        if event == "c_call" and argument is os.eventfd_write:
            ordered.set()
            ended.wait(30)

    def order() -> None:
        sys.setprofile(hold)
        try:
            loop.order()
        except OSError as error:
            raised.append(error)
        finally:
            sys.setprofile(None)

    assert loop.start()
    loop.post(lambda: awake.set() or ordered.wait(30))
    assert awake.wait(30)
    program = threading.Thread(target=order)
    program.start()
    loop.finish()
    others = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(4)]
    ended.set()
    program.join(30)
    try:
        assert not raised
        for other in others:
            with pytest.raises(BlockingIOError):
                os.eventfd_read(other)
    finally:
        for other in others:
            os.close(other)
        stop.close()


def test_without_descriptors_the_wait_ends_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """And there is a waker as soon as there is a descriptor."""
    waker = Waker()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        waker.open()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    waker.prepare_to_wait()
    waker.wake()
    assert waker.wait(None) == {}
    waker.open()
    waker.prepare_to_wait()
    waker.wake()
    assert waker.wait(10)
    waker.close()


def test_a_piece_that_comes_between_two_questions_is_not_waited_for(waker: Waker) -> None:
    """`receive` asks for a piece, and then for more: what comes in between must not be missed."""
    with exchange_of(waker, render("POST", "/", "Content-Length: 4")) as (exchange, _session, client):
        assert exchange.poll() is None
        client.send(b"body")
        exchange._advance(READABLE, timed_out=False)
        assert exchange.want_body() is RUN
        assert exchange.poll() == b"body"


def test_more_of_a_body_is_waited_for(waker: Waker) -> None:
    with exchange_of(waker, render("POST", "/", "Content-Length: 4")) as (exchange, session, client):
        assert exchange.poll() is None
        assert exchange.want_body() is READ
        assert session.phase is BODY
        client.send(b"bo")
        assert exchange._advance(READABLE, timed_out=False), "the application is told"
        assert exchange.poll() == b"bo"


def test_what_a_client_sends_ahead_is_not_the_applications_business(waker: Waker) -> None:
    with exchange_of(waker, render("GET", "/")) as (exchange, _session, client):
        client.send(render("GET", "/next"))
        assert not exchange._advance(READABLE, timed_out=False)
        client.close()
        assert exchange._advance(READABLE, timed_out=False), "that the client is gone is"
        assert exchange.gone


def test_a_client_that_is_cut(waker: Waker) -> None:
    with exchange_of(waker, render("GET", "/")) as (exchange, session, _client):
        changes: list[Any] = []
        exchange.deliver(exchange.cut, lambda: changes.append("told"))
        assert session.lost


def test_a_piece_that_the_application_did_not_get_is_not_passed_over(waker: Waker) -> None:
    """Another thread's exception comes as the lock is released: an application that goes on to read would miss it."""

    class Struck(BaseException):
        pass

    class Lock:
        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> None:
            if not session.lost:
                raise Struck

    data = render("POST", "/", body=b"body")
    with exchange_of(waker, data) as (exchange, session, _):
        waker.lock = cast(Any, Lock())
        with pytest.raises(Struck):
            exchange.poll()
        assert session.lost
