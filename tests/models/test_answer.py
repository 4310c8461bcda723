"""One answer of an application that is called: its parts, its end, and what it raises."""

import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

from septet.exchange import ClientGone, Exchange, FileRegion, Response, ResponseHead
from septet.http.head import response_head
from septet.protocol import CLOSE, RUN
from septet.session.http1 import Session
from septet.session.phases import IDLE
from support.carrier import ByHand, Watched, ok, take_turn
from support.messages import render

GET = render("GET", "/")


class Parts:
    """What is left of an answer, which counts how often it is closed, and remembers what the client had by then."""

    whole = False

    def __init__(self, *parts: bytes | FileRegion | Exception) -> None:
        self._parts = list(parts)
        self.closed = 0
        self.asked = 0

    def __next__(self) -> bytes | FileRegion:
        self.asked += 1
        if not self._parts:
            raise StopIteration
        part = self._parts.pop(0)
        if isinstance(part, Exception):
            raise part
        return part

    def detach(self) -> None:
        pass

    def close(self) -> None:
        self.closed += 1


Application = Callable[[Exchange], Response]


def run(application: Application, data: bytes = GET) -> ByHand:
    """All requests of `data`, one after the other."""
    session = Watched()
    by_hand = ByHand(session)
    want = session.receive(data)
    while want is RUN:
        want = take_turn(application, session)
    return by_hand


def test_parts_one_after_the_other() -> None:
    parts = Parts(b"two", b"three")
    assert run(lambda exchange: (ok(), b"one", parts)).written.endswith(
        b"3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n"
    )
    assert parts.closed == 1


@pytest.mark.parametrize("error", [KeyError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_application_that_raises(error: type[BaseException], caplog: pytest.LogCaptureFixture) -> None:
    def application(exchange: Exchange) -> Response:
        raise error("the cause")

    assert run(application, GET + GET).written.startswith(b"HTTP/1.1 500 ")
    assert caplog.records[0].levelno == logging.ERROR
    assert "the cause" in caplog.text


@pytest.mark.parametrize("error", [ConnectionRefusedError, ConnectionResetError, BrokenPipeError, TimeoutError])
def test_applications_own_connections_fail_loudly(error: type[Exception], caplog: pytest.LogCaptureFixture) -> None:
    """A database that refuses is the application's failure, and is logged; only a lost client is nobody's."""

    def application(exchange: Exchange) -> Response:
        raise error("the database")

    assert run(application).written.startswith(b"HTTP/1.1 500 ")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_client_that_goes_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    def application(exchange: Exchange) -> Response:
        raise ClientGone("in the middle of its body")

    run(application)
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


def test_parts_that_raise(caplog: pytest.LogCaptureFixture) -> None:
    """The connection is cut: what has come must not be taken for the whole."""
    parts = Parts(b"two", KeyError("the cause"))
    by_hand = run(lambda exchange: (ok(), b"one", parts))
    assert by_hand.session.want is CLOSE
    assert by_hand.written.endswith(b"two\r\n")
    assert by_hand.session.lost
    assert parts.closed == 1
    assert "the cause" in caplog.text


def test_close_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged; the answer was whole before."""

    class Raising(Parts):
        def close(self) -> None:
            raise KeyError("the cause")

    assert run(lambda exchange: (ok(), b"one", Raising()), GET + GET).written.count(b"0\r\n\r\n") == 2
    assert caplog.text.count("KeyError: 'the cause'") == 2


def test_the_answer_ends_before_close() -> None:
    """A client need not wait for what an application does at its end."""
    seen: list[bytes] = []

    class Slow(Parts):
        def close(self) -> None:
            seen.append(by_hand[0].written)

    by_hand: list[Any] = []
    session = Watched()
    by_hand.append(ByHand(session))
    session.receive(GET)
    take_turn(lambda exchange: (ok(), b"one", Slow(b"two")), session)
    assert seen[0].endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    ("data", "head"),
    [
        (render("HEAD", "/"), ok()),
        (GET, ok((b"Content-Length", b"4"))),
    ],
    ids=["HEAD", "beyond its Content-Length"],
)
def test_nothing_is_asked_for_that_may_not_be_sent(data: bytes, head: Any) -> None:
    """An endless answer ends where its client's interest does."""

    class Endless(Parts):
        def __next__(self) -> bytes:
            self.asked += 1
            return b"more"

    parts = Endless()
    run(lambda exchange: (head, b"one", parts), data)
    assert parts.asked <= 1
    assert parts.closed == 1


@pytest.mark.parametrize(
    ("data", "head", "given"),
    [
        (render("HEAD", "/"), ok(), [b"one"]),
        (GET, response_head(204, b"No Content", ()), [b"one"]),
        (GET, response_head(304, b"Not Modified", ()), [b"one"]),
        (GET, ok((b"Content-Length", b"6")), [b"one", b"two", b"", b""]),
        (render("HEAD", "/"), ok(), [b"one", b"", b""]),
    ],
    ids=["HEAD", "204", "304", "empty parts after the last", "HEAD, empty parts after the last"],
)
def test_an_iterable_comes_to_its_end_after_the_answer_has(
    data: bytes, head: ResponseHead, given: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """What an application does after its last part is done. (One of a2wsgi's would wait for ever in its `send`.)"""
    ended: list[bool] = []

    class Ending(Parts):
        def __next__(self) -> bytes | FileRegion:
            if not self._parts:
                ended.append(session.phase is IDLE)
            return super().__next__()

    parts = Ending(*given[1:])
    session = Watched()
    ByHand(session)
    session.receive(data)
    take_turn(lambda exchange: (head, given[0], parts), session)
    assert ended == [True]
    assert parts.closed == 1
    assert caplog.records == []


def test_empty_parts_without_end_after_the_answer() -> None:
    class Empty(Parts):
        def __next__(self) -> bytes:
            self.asked += 1
            return b""

    parts = Empty()
    run(lambda exchange: (ok(), b"one", parts), render("HEAD", "/"))
    assert parts.asked < 20
    assert parts.closed == 1


def test_empty_parts_end_with_the_client() -> None:
    class Empty(Parts):
        def __next__(self) -> bytes:
            self.asked += 1
            if self.asked == 5:
                session.lose()
            return b""

    parts = Empty()
    session: Session = Watched()
    assert isinstance(session, Watched)
    ByHand(session)
    session.receive(GET)
    take_turn(lambda exchange: (ok(), b"one", parts), session)
    assert (parts.asked, parts.closed) == (5, 1)


def test_each_answer_has_a_context_of_its_own() -> None:
    variable: ContextVar[int] = ContextVar("variable")
    seen = []

    def application(exchange: Exchange) -> Response:
        seen.append(variable.get(0))
        variable.set(len(seen))
        return ok(), b"", None

    run(application, GET + GET)
    assert seen == [0, 0]
