"""A session of HTTP/2 without sockets: what ends one stream alone, what ends with the client's input, what is kept."""

import weakref
from io import BytesIO
from typing import Any

import pytest

from septet.exchange import ClientGone, ProtocolError
from septet.http.head import response_head
from septet.protocol import CLOSE, EITHER, READ, RUN, WRITE
from septet.rules import Rules
from support.http2 import Client, Peer, get


def ok() -> Any:
    return response_head(200, b"", ())


class Full(BytesIO):
    """Temporary files are at their limit."""

    def write(self, data: Any) -> int:
        raise ProtocolError(503, "too much is stored already")


def test_body_for_which_there_is_no_room_ends_its_stream_alone() -> None:
    peer = Peer(Rules(concurrent=True, spool=Full))
    other = peer.ask(get())
    full = peer.ask(get(method=b"POST"), b"part", end=False)
    assert peer[full].status == 503
    peer.due[0].respond(ok(), b"well", True)
    peer.send()
    assert peer[other].body == b"well"
    assert not peer.session.lost


@pytest.mark.parametrize("concurrent", [False, True])
def test_answer_that_has_no_room_when_the_client_sends_no_more(concurrent: bool) -> None:
    """No window opens any more: the stream is reset, its application is told, and the connection ends."""
    peer = Peer(concurrent=concurrent)
    stream = peer.ask(get())
    (exchange,) = peer.due
    exchange.respond(ok(), b"x" * 100_000, False)
    peer.client.reads = False
    peer.send()
    assert exchange.blocked
    peer.receive(b"")
    peer.send()
    assert peer[stream].reset is not None
    assert exchange.lost
    exchange.fail()
    assert peer.send() is CLOSE


@pytest.mark.parametrize("concurrent", [False, True])
def test_nothing_is_read_when_the_client_sends_no_more(concurrent: bool) -> None:
    """The end of its input makes a socket readable for ever."""
    peer = Peer(concurrent=concurrent)
    stream = peer.ask(get())
    (exchange,) = peer.due
    want = peer.receive(b"")
    assert want is (READ if concurrent else RUN)
    assert peer.session.phase.deaf is concurrent
    assert exchange.respond(ok(), b"answer", True) is WRITE
    assert peer.send() is CLOSE
    assert peer[stream].body == b"answer"


def test_output_is_read_beside_as_long_as_the_client_sends() -> None:
    peer = Peer()
    peer.ask(get())
    assert peer.due[0].respond(ok(), b"answer", True) is EITHER


def test_client_that_ends_before_its_preface() -> None:
    peer = Peer(client=Silent())
    peer.receive(b"")
    assert peer.send(told=False) is CLOSE


class Silent(Client):
    """Has connected, and sends nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.h2.data_to_send()


def test_idle_connection_keeps_nothing_of_its_last_request() -> None:
    peer = Peer(concurrent=False)
    peer.ask(get())
    ended = weakref.ref(_Held(peer.due.pop()))
    assert peer.send() is READ
    assert ended() is None
    assert peer.session.exchange is None


class _Held:
    """What an exchange refers to; the exchange itself has no weak references."""

    def __init__(self, exchange: Any) -> None:
        exchange.observer_state = self
        exchange.respond(ok(), b"answer", True)


def test_body_that_cannot_be_read_for_want_of_frames() -> None:
    """What is lost of it does not come back: the application is told so at each later read."""
    peer = Peer()
    peer.ask(get(method=b"POST"), b"body", end=False)
    (exchange,) = peer.due

    def used(stream: int, count: int) -> None:
        raise RecursionError

    exchange._session = _Raising(peer.session, used)
    with pytest.raises(RecursionError):
        exchange.poll()
    with pytest.raises(ClientGone):
        exchange.poll()


class _Raising:
    def __init__(self, session: Any, used: Any) -> None:
        self._session, self.codec = session, type("Codec", (), {"used": staticmethod(used)})

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)
