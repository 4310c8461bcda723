"""Driving a session over a real socket, as far as that goes without waiting."""

import os
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from septet.exchange import FileRegion, Want
from septet.models._drive import RECEIVE_BYTES, Dispatch, drive, receive, receive_compactly, receive_into
from septet.protocol import CLOSE, READ, RUN, WRITE
from septet.session.http1 import Session
from septet.session.phases import ANSWER, DRAIN, IDLE, LINGER, TURN
from support.carrier import Watched, ok
from support.messages import pattern, render

GET = render("GET", "/")
CLOSING = render("GET", "/", "Connection: close")


class Pair(NamedTuple):
    """A session on one end of a pair of sockets, and the client's end."""

    session: Watched
    sock: socket.socket
    client: socket.socket

    def bring(self, data: bytes, turn: Dispatch) -> Want:
        """Send this, receive it and carry on."""
        self.client.sendall(data)
        return self.go(turn)

    def go(self, turn: Dispatch) -> Want:
        return drive(receive(self.session, self.sock), self.session, self.sock, turn)

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
    assert drive(hello(pair.session), pair.session, pair.sock, elsewhere) is READ
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
    assert drive(hello(pair.session), pair.session, pair.sock, elsewhere) is CLOSE
    assert pair.session.lost


def test_full_socket_is_come_back_to(pair: Pair) -> None:
    content = pattern(4 << 20)
    assert pair.bring(GET, lambda session: session.respond(ok(), content, True)) is WRITE
    got = b""
    want = WRITE
    while want is WRITE:
        got += pair.read()
        want = drive(WRITE, pair.session, pair.sock, hello)
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

    def turn(session: Session) -> Want:
        return session.respond(head, FileRegion(descriptor, offset, count), True)

    want = pair.bring(GET, turn)
    got = b""
    while want is WRITE:
        got += pair.read()
        want = drive(WRITE, pair.session, pair.sock, turn)
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


class Struck(Watched):
    """A session whose call `name` is interrupted before its first line, as by another thread's exception."""

    __slots__ = ("name",)

    def wrote(self, count: int) -> Want:
        if self.name == "wrote":
            raise TimeoutExpiredError
        return super().wrote(count)

    def receive(self, data: bytes) -> Want:
        if self.name == "receive":
            raise TimeoutExpiredError
        return super().receive(data)


class TimeoutExpiredError(BaseException):
    """Of an application that bounds what it does."""


def test_what_was_sent_and_not_noted_is_not_sent_again(pair: Pair) -> None:
    """The next answer would begin with it."""
    session = Struck()
    session.name = "wrote"
    session.receive(GET)
    with pytest.raises(TimeoutExpiredError):
        drive(RUN, session, pair.sock, lambda exchange: hello(session))
    assert session.lost
    assert drive(session.phase.want, session, pair.sock, lambda exchange: None) is CLOSE
    assert pair.read().count(b"hello") == 1


@pytest.mark.parametrize("how", [receive_compactly, partial(receive_into, memoryview(bytearray(RECEIVE_BYTES)))])
def test_what_was_received_and_not_taken_is_not_left_out(pair: Pair, how: Callable[..., Want]) -> None:
    """What follows it would be taken for the next request."""
    session = Struck()
    session.name = "receive"
    pair.client.sendall(GET)
    with pytest.raises(TimeoutExpiredError):
        how(session, pair.sock)
    assert session.lost
