"""Carrying a session over a real socket, as far as that goes without waiting; and the turn of an application."""

import logging
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from septet.http.events import ClientGone, Exchange, FileRegion, Response
from septet.http.states import ANSWER, CLOSE, DRAIN, IDLE, LINGER, READ, RUN, TURN, WRITE, Want
from septet.models._carry import RECEIVE_BYTES, Turn, carry, receive, release, take_turn
from septet.session import Session
from support.carrier import Watched, ok
from support.messages import pattern, render

GET = render("GET", "/")
CLOSING = render("GET", "/", "Connection: close")


class Pair(NamedTuple):
    """A session on one end of a pair of sockets, and the client's end."""

    session: Watched
    sock: socket.socket
    client: socket.socket

    def bring(self, data: bytes, turn: Turn) -> Want:
        """Send this, receive it and carry on."""
        self.client.sendall(data)
        return self.go(turn)

    def go(self, turn: Turn) -> Want:
        return carry(receive(self.session, self.sock), self.session, self.sock, turn)

    def read(self) -> bytes:
        """All that has arrived at the client's end."""
        data = b""
        try:
            while piece := self.client.recv(1 << 16):
                data += piece
        except BlockingIOError:
            pass
        return data


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield Pair(Watched(), ours, theirs)


class Parts:
    """A generator as far as `take_turn` needs one, which counts how often it is closed."""

    def __init__(self, *parts: bytes | FileRegion | Exception) -> None:
        self._parts = list(parts)
        self.closed = 0

    def __next__(self) -> bytes | FileRegion:
        if not self._parts:
            raise StopIteration
        part = self._parts.pop(0)
        if isinstance(part, Exception):
            raise part
        return part

    def close(self) -> None:
        self.closed += 1


def turn_of(application: Callable[[Exchange], Response]) -> Turn:
    return lambda session: take_turn(application, session)


def hello(session: Session) -> Want:
    return session.respond(ok(), b"hello", True)


def elsewhere(session: Session) -> None:
    """The application runs in another thread or task."""


# Carrying


def test_whole_exchange_in_one_go(pair: Pair) -> None:
    assert pair.bring(GET + GET, hello) is READ
    assert pair.read().count(b"\r\n\r\nhello") == 2
    assert pair.session.trail == [IDLE, TURN, ANSWER, TURN, ANSWER, IDLE]


def test_application_that_runs_elsewhere(pair: Pair) -> None:
    assert pair.bring(GET, elsewhere) is RUN
    assert carry(hello(pair.session), pair.session, pair.sock, elsewhere) is READ
    assert pair.read().endswith(b"hello")


def test_nothing_has_come(pair: Pair) -> None:
    assert pair.go(hello) is READ
    assert pair.session.trail == [IDLE]


def test_client_that_has_gone(pair: Pair) -> None:
    pair.client.close()
    assert pair.go(hello) is CLOSE


def test_reset(pair: Pair) -> None:
    """Unread data at the other end when it closes is a reset at ours."""
    pair.sock.send(b"unread")
    pair.client.close()
    assert pair.go(hello) is CLOSE
    assert pair.session.lost


def test_client_that_goes_before_its_answer(pair: Pair) -> None:
    assert pair.bring(GET, elsewhere) is RUN
    pair.client.close()
    assert carry(hello(pair.session), pair.session, pair.sock, elsewhere) is CLOSE
    assert pair.session.lost


def test_full_socket_is_come_back_to(pair: Pair) -> None:
    content = pattern(4 << 20)
    assert pair.bring(GET, lambda session: session.respond(ok(), content, True)) is WRITE
    got = b""
    want = WRITE
    while want is WRITE:
        got += pair.read()
        want = carry(WRITE, pair.session, pair.sock, hello)
    assert want is READ
    assert (got + pair.read()).partition(b"\r\n\r\n")[2] == content


def test_end_shuts_our_side_down_first(pair: Pair) -> None:
    """What is left of an unread body is read and let go, so that the answer is not lost to a reset."""
    assert pair.bring(render("POST", "/", "Content-Length: 1000000") + b"some", hello) is READ
    assert pair.session.phase is LINGER
    assert pair.client.recv(1000).endswith(b"hello")
    assert pair.client.recv(1000) == b""
    assert pair.bring(b"more", hello) is READ
    pair.client.close()
    assert pair.go(hello) is CLOSE


def test_end_without_a_rest(pair: Pair) -> None:
    assert pair.bring(CLOSING, hello) is CLOSE
    assert not pair.session.half_close()


@pytest.mark.parametrize("offset", [0, 1000])
def test_file(pair: Pair, tmp_path: Path, offset: int) -> None:
    content = pattern(3 << 20)
    path = tmp_path / "file"
    path.write_bytes(content)
    descriptor = os.open(path, os.O_RDONLY)
    count = len(content) - offset
    head = ok((b"Content-Length", b"%d" % count))
    turn = turn_of(lambda exchange: (head, FileRegion(descriptor, offset, count), Parts()))
    want = pair.bring(GET, turn)
    got = b""
    while want is WRITE:
        got += pair.read()
        want = carry(WRITE, pair.session, pair.sock, turn)
    assert want is READ
    assert (got + pair.read()).partition(b"\r\n\r\n")[2] == content[offset:]
    os.close(descriptor)


def test_file_that_has_shrunk(pair: Pair, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"short")
    descriptor = os.open(path, os.O_RDONLY)
    head = ok((b"Content-Length", b"10"))
    want = pair.bring(GET, lambda session: session.respond(head, FileRegion(descriptor, 0, 10), True))
    os.close(descriptor)
    assert want is CLOSE
    assert pair.read().endswith(b"short")


def test_one_receive_is_bounded(pair: Pair) -> None:
    pair.client.setblocking(True)
    pair.client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    pair.client.sendall(render("POST", "/", body=b"a" * 100_000))
    assert receive(pair.session, pair.sock) is RUN
    assert pair.session.http.pending < RECEIVE_BYTES


def test_drain_over_a_socket(pair: Pair) -> None:
    data = render("POST", "/", body=b"12345")
    assert pair.bring(data[:-3], hello) is READ
    assert pair.session.phase is DRAIN
    assert pair.bring(data[-3:] + GET, hello) is READ
    assert pair.read().count(b"hello") == 2


# The application's turn


def test_parts_are_asked_for_one_at_a_time(pair: Pair) -> None:
    parts = Parts(b"two", b"three")
    assert pair.bring(GET, turn_of(lambda exchange: (ok(), b"one", parts))) is READ
    assert pair.read().endswith(b"3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n")
    assert parts.closed == 1
    assert pair.session.parts is None


def test_application_that_raises(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    def application(exchange: Exchange) -> Response:
        raise KeyError("the cause")

    assert pair.bring(GET + CLOSING, turn_of(application)) in (READ, CLOSE)
    assert pair.read().startswith(b"HTTP/1.1 500 ")
    assert caplog.records[0].levelno == logging.ERROR
    assert "the cause" in caplog.text


@pytest.mark.parametrize("error", [ConnectionRefusedError, ConnectionResetError, BrokenPipeError, TimeoutError])
def test_applications_own_connections_fail_loudly(
    pair: Pair, error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    """A database that refuses is the application's failure, and is logged; only a lost client is nobody's."""

    def application(exchange: Exchange) -> Response:
        raise error("the database")

    pair.bring(GET, turn_of(application))
    assert pair.read().startswith(b"HTTP/1.1 500 ")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_client_that_goes_is_not_logged(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    def application(exchange: Exchange) -> Response:
        raise ClientGone("in the middle of its body")

    pair.bring(GET, turn_of(application))
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


def test_parts_that_raise(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """The connection is cut: what has come must not be taken for the whole."""
    parts = Parts(b"two", KeyError("the cause"))
    assert pair.bring(GET, turn_of(lambda exchange: (ok(), b"one", parts))) is CLOSE
    assert pair.read().endswith(b"two\r\n")
    assert pair.session.lost
    release(pair.session)
    release(pair.session)
    assert parts.closed == 1
    assert "the cause" in caplog.text


def test_close_that_raises(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged; the answer was whole before."""

    class Raising(Parts):
        def close(self) -> None:
            raise KeyError("the cause")

    assert pair.bring(GET + GET, turn_of(lambda exchange: (ok(), b"one", Raising()))) is READ
    assert pair.read().count(b"0\r\n\r\n") == 2
    assert caplog.text.count("KeyError: 'the cause'") == 2
