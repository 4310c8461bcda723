"""Calls that raise while a session ends an answer, for want of memory: its carrier closes it, and all is given back."""

import os
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any
from weakref import ref

import pytest

from septet.exchange import FileRegion
from septet.http.head import response_head
from septet.protocol import CLOSE, EITHER
from septet.rules import Rules
from septet.session.websocket import WebSockets
from septet.websocket.tunnel import TunnelOptions
from support.carrier import Watched, write_all
from support.fails_once import FailsOnce
from support.http2 import Client, Peer, get
from support.messages import render
from support.struck import struck_at


class Counts:
    """An `Admission`, an `Observer` and the `Traffic` of WebSockets: how many of each are there."""

    def __init__(self) -> None:
        self.admitted = self.websockets = 0
        self.observed: set[object] = set()

    def enter(self) -> bool:
        self.admitted += 1
        return True

    def leave(self) -> None:
        self.admitted -= 1

    def began(self, exchange: object) -> None:
        self.observed.add(exchange)

    def ended(self, exchange: object) -> None:
        self.observed.discard(exchange)

    closed = ended

    def websocket_opened(self) -> None:
        self.websockets += 1

    def websocket_closed(self, code: int) -> None:
        self.websockets -= 1

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_: None


def close(session: Any) -> None:
    """What each carrier does after an exception: a call that has failed is made again."""
    for call in (session.lose, session.close):
        with suppress(MemoryError):
            call()
        call()


def websocket_fields() -> list[tuple[bytes, bytes]]:
    return [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *get()[1:], (b"sec-websocket-version", b"13")]


@pytest.mark.parametrize("lost", [False, True], ids=["answered", "cancelled"])
@pytest.mark.parametrize("name", ["leave", "forget", "closed"])
def test_request_over_http2(name: str, lost: bool) -> None:
    counts = Counts()
    failing: Any = FailsOnce(counts, name)
    peer = Peer(Rules(concurrent=True, admission=failing, observer=failing))
    stream = peer.ask(get())
    if name == "forget":
        peer.session.codec = failing = FailsOnce(peer.session.codec, name)  # type: ignore[assignment]
    exchange = peer.due[0]
    if lost:
        peer.client.h2.reset_stream(stream)
        peer.exchange_data()
    with suppress(MemoryError):
        exchange.respond(response_head(200, b"", ()), b"hello", True)
        if name != "closed":  # of which the observer is told if the answer was not sent
            peer.exchange_data()
    close(peer.session)
    assert failing.failed
    assert (counts.admitted, counts.observed) == (0, set())


@pytest.mark.parametrize("name", ["leave", "ended", "closed"])
def test_request_over_http1(name: str) -> None:
    counts = Counts()
    failing: Any = FailsOnce(counts, name)
    session = Watched(Rules(admission=failing, observer=failing))
    session.receive(render("GET", "/"))
    session.respond(response_head(200, b"", ()), b"hello", True)
    with suppress(MemoryError):
        write_all(session)
    close(session)
    assert failing.failed
    assert (counts.admitted, counts.observed) == (0, set())


@pytest.mark.parametrize("name", ["leave", "forget", "dispose", "websocket_closed"])
def test_websocket_over_http2(name: str) -> None:
    counts = Counts()
    failing: Any = FailsOnce(counts, name)
    rules = Rules(
        concurrent=True,
        admission=failing,
        observer=counts,
        traffic=failing,
        websocket=WebSockets(TunnelOptions()),
    )
    peer = Peer(rules, client=Client())
    stream = peer.ask(websocket_fields(), end=False)
    exchange: Any = peer.due[0]
    exchange.upgrade(None, ())
    peer.exchange_data()
    assert (counts.admitted, counts.websockets) == (1, 1)
    if name == "forget":
        peer.session.codec = failing = FailsOnce(peer.session.codec, name)  # type: ignore[assignment]
    elif name == "dispose":
        exchange.tunnel = failing = FailsOnce(exchange.tunnel, name)
    peer.client.h2.reset_stream(stream)
    peer.exchange_data()
    with pytest.raises(MemoryError):
        exchange.detach()
    close(peer.session)
    assert (counts.admitted, counts.websockets, counts.observed) == (0, 0, set())


@pytest.mark.parametrize("concurrent", [False, True], ids=["in order", "concurrent"])
def test_file_of_an_answer_that_is_cut(concurrent: bool, tmp_path: Path) -> None:
    """Its owner closes the descriptor when nothing refers to it any more, and no garbage collector is waited for."""
    (tmp_path / "file").write_bytes(bytes(1_000_000))

    class Owner:
        def __init__(self) -> None:
            self.descriptor = os.open(tmp_path / "file", os.O_RDONLY)

        def __del__(self) -> None:
            os.close(self.descriptor)

    peer = Peer(concurrent=concurrent)
    peer.ask(get(), end=True)
    owner = Owner()
    descriptor, dead = owner.descriptor, ref(owner)
    head = response_head(200, b"", ((b"Content-Length", b"1000000"),))
    want = peer.due[0].respond(head, FileRegion(descriptor, 0, 1_000_000, None, owner), True)
    del owner
    while want is EITHER and peer.session.output:
        want = peer.session.wrote(len(peer.session.output))
    assert peer.session.file is not None
    peer.session.close()  # as after an exception, without `lose`
    peer.due.clear()
    assert dead() is None
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(descriptor)


@pytest.mark.parametrize("name", ["send_head", "take_output"])
def test_websocket_that_is_not_opened(name: str) -> None:
    """Its Close frame was sent before any head, if the exception was no MemoryError."""
    peer = Peer(Rules(concurrent=True, websocket=WebSockets(TunnelOptions())), client=Client())
    peer.ask(websocket_fields(), end=False)
    exchange: Any = peer.due[0]
    peer.session.codec = failing = FailsOnce(peer.session.codec, name, RuntimeError)  # type: ignore[assignment]
    with pytest.raises(RuntimeError):
        exchange.upgrade(None, ())
    assert failing.failed
    assert exchange.fail() is CLOSE
    assert not peer.session.output
    assert not peer.session._exchanges


def _first_frames(stage: str) -> tuple[Peer, bytes]:
    """A session with frames that are not taken yet, some of the library's and some of ours, and what is to be sent."""
    peer = Peer()
    peer.ask(get())
    peer.ask(get())
    if stage != "nothing waits":
        peer.due[0].respond(response_head(200, b"OK", ()), b"some", False)
    if stage == "a part was sent":
        peer.session.wrote(5)
    codec = peer.session.codec
    codec.ping(b"before..")
    codec.send_content(3, b"content", False)
    codec.ping(b"after...")
    return peer, bytes(peer.session.output)


@pytest.mark.parametrize("stage", ["nothing waits", "some waits", "a part was sent"])
def test_output_is_lost_nowhere(stage: str) -> None:
    """An exception of another thread comes while frames are taken out of the codec."""
    peer, waits = _first_frames(stage)
    peer.session._has_output()
    whole = bytes(peer.session.output)
    assert (whole.startswith(waits), whole.count(b"content")) == (True, 1)
    for number in count():
        peer, _ = _first_frames(stage)
        struck = struck_at(number, peer.session._has_output, real=True)
        peer.session._has_output()
        assert bytes(peer.session.output) == whole, f"struck at {number}"
        if not struck:
            break
    assert number > 3


def test_farewell_loses_no_frame() -> None:
    for number in count():
        peer, _ = _first_frames("nothing waits")
        struck = struck_at(number, lambda: peer.session.codec.go_away(0), real=True)  # noqa: B023
        peer.session._has_output()
        assert b"before.." in peer.session.output, f"struck at {number}"
        assert b"after..." in peer.session.output, f"struck at {number}"
        if not struck:
            break
    assert number > 3
