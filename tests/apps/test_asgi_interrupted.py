"""The server itself raises while it ends an answer, for want of memory: the client must not wait for an end.

Nothing else would cut the connection, since by then the application has ended, and what its task raises is for nobody.
"""

import asyncio
from contextlib import suppress
from itertools import count
from typing import Any

import pytest

from septet.apps.asgi import Asgi, Cycle
from septet.apps.asgi_websocket import WebSocketCycle
from septet.exchange import ClientGone, Want
from septet.protocol import CLOSE, RUN, WRITE
from septet.rules import Rules
from septet.session.http1 import Session
from septet.session.websocket import WebSockets
from septet.websocket.tunnel import TunnelOptions
from support.asgi_by_hand import GET, START, Receive, Send, body
from support.carrier import Watched, write_all
from support.fails_once import FailsOnce
from support.http2 import Peer, get
from support.messages import render
from support.struck import struck_at
from support.websocket import handshake

RULES = {"concurrent": True, "websocket": WebSockets(TunnelOptions())}


class Wants:
    """A carrier that notes what it is to do."""

    def __init__(self) -> None:
        self.last: Want | None = None

    def drive(self, want: Want) -> None:
        self.last = want


def run(cycle: Cycle | WebSocketCycle, application: Any) -> None:
    """The application to its end, of which the task knows nothing bad."""

    async def scene() -> None:
        cycle.uncork()
        await cycle.run(Asgi(application, ()))

    asyncio.run(scene())


async def accepts(scope: Any, receive: Receive, send: Send) -> None:
    await send({"type": "websocket.accept"})


async def accepts_and_fails(scope: Any, receive: Receive, send: Send) -> None:
    await send({"type": "websocket.accept"})
    raise ValueError("deliberate")


@pytest.mark.parametrize("application", [accepts, accepts_and_fails])
@pytest.mark.parametrize("name", ["close_websocket", "detach"])
@pytest.mark.parametrize("version", ["1.1", "2"])
def test_websocket(version: str, name: str, application: Any, caplog: pytest.LogCaptureFixture) -> None:
    if version == "2":
        peer = Peer(Rules(**RULES))  # type: ignore[arg-type]
        fields = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *get()[1:], (b"sec-websocket-version", b"13")]
        peer.ask(fields, end=False)
        session, exchange = peer.session, peer.due[0]
    else:
        session = exchange = Session(Rules(**RULES), ("192.0.2.1", 50000), ("192.0.2.2", 80))  # type: ignore[arg-type,assignment]
        assert session.receive(handshake("/")) is RUN
    failing: Any = FailsOnce(exchange, name)
    carrier = Wants()
    run(WebSocketCycle(failing, carrier), application)
    assert failing.failed
    assert carrier.last is CLOSE
    assert session.lost
    assert "a connection failed, and is cut" in caplog.text
    if version == "2":
        assert not session._exchanges  # the request is no longer in flight


async def is_silent(scope: Any, receive: Receive, send: Send) -> None:
    pass


async def breaks_off(scope: Any, receive: Receive, send: Send) -> None:
    await send(START)
    await send(body(b"part", more=True))
    raise ValueError("deliberate")


@pytest.mark.parametrize(("application", "name"), [(is_silent, "fail"), (breaks_off, "fail"), (breaks_off, "respond")])
@pytest.mark.parametrize("version", ["1.1", "2"])
def test_answer(version: str, name: str, application: Any, caplog: pytest.LogCaptureFixture) -> None:
    if version == "2":
        peer = Peer()
        peer.ask(get())
        session, exchange = peer.session, peer.due[0]
    else:
        session = exchange = Watched(Rules())  # type: ignore[assignment]
        assert session.receive(GET) is RUN
    failing: Any = FailsOnce(exchange, name)
    carrier = Wants()
    run(Cycle(failing, carrier), application)
    assert failing.failed
    assert carrier.last is CLOSE
    assert session.lost
    assert "a connection failed, and is cut" in caplog.text


class Uncallable(Cycle):
    """One that cannot be told at first that it has failed."""

    __slots__ = ("asked",)

    def fail(self) -> None:
        if not hasattr(self, "asked"):
            self.asked = True
            raise MemoryError("deliberate")
        super().fail()


def test_no_memory_for_a_call() -> None:
    session = Watched(Rules())
    assert session.receive(GET) is RUN
    carrier = Wants()
    with pytest.raises(MemoryError):
        run(Uncallable(session, carrier), is_silent)
    assert session.status == 500
    assert carrier.last is WRITE


class Struck(Wants):
    """A carrier whose last call in an answer is interrupted once, before its first line, as by a signal handler."""

    def drive(self, want: Want) -> None:
        if want is WRITE and not hasattr(self, "struck"):
            self.struck = True
            raise TimeoutError("deliberate")
        super().drive(want)


async def answers(scope: Any, receive: Receive, send: Send) -> None:
    await send(START)
    await send(body(b"whole"))


async def answers_and_goes_on(scope: Any, receive: Receive, send: Send) -> None:
    with suppress(TimeoutError):
        await answers(scope, receive, send)


@pytest.mark.parametrize("application", [answers, answers_and_goes_on])
def test_the_answer_is_sent_though_a_signal_handler_raises_in_its_last_call(application: Any) -> None:
    session = Watched(Rules())
    assert session.receive(GET) is RUN
    carrier = Struck()
    run(Cycle(session, carrier), application)
    assert session.status == 200
    assert carrier.struck
    assert carrier.last is WRITE


class Sends(Wants):
    """A carrier that sends all, to a client that takes it."""

    def __init__(self, session: Watched) -> None:
        super().__init__()
        self.session, self.sent = session, b""

    def drive(self, want: Want) -> None:
        try:
            self.sent += write_all(self.session)
        except BaseException:  # as `models._drive.drive` does
            self.session.lose()
            raise


SIZE = 70_000
"""Of a part of an answer: more than is buffered."""


def test_part_that_is_interrupted_anywhere_by_what_the_application_catches() -> None:
    """A signal handler raises, while the application sends: the client has all of the answer, or is cut off."""
    start = {**START, "headers": [(b"content-length", b"%d" % (3 * SIZE))]}
    for number in count():
        struck: list[bool] = []

        async def interrupted(scope: Any, receive: Receive, send: Send) -> None:
            await send(start)
            await send(body(b"a" * SIZE, more=True))
            sending: Any = send(body(b"b" * SIZE, more=True))

            def send_part() -> None:
                with suppress(StopIteration):
                    while True:
                        sending.send(None)

            struck.append(struck_at(number, send_part, real=True))  # noqa: B023
            sending.close()
            with suppress(ClientGone):
                await send(body(b"c" * SIZE))

        session = Watched(Rules())
        session.receive(GET)
        carrier = Sends(session)
        run(Cycle(session, carrier), interrupted)
        got = carrier.sent.partition(b"\r\n\r\n")[2]
        whole = b"a" * SIZE + b"b" * SIZE + b"c" * SIZE
        cut = session.lost or session.want is CLOSE
        assert got == whole or (cut and (whole.startswith(got) or (b"a" * SIZE + b"c" * SIZE).startswith(got))), number
        if struck == [False]:
            assert not cut
            break
    assert number > 10


def test_what_the_application_does_wrong_and_catches_is_no_reason_to_cut() -> None:
    async def wrong(scope: Any, receive: Receive, send: Send) -> None:
        await send(START)
        for message in ({"type": "http.response.body", "body": "text"}, {"type": "unknown"}):
            with suppress(TypeError, RuntimeError):
                await send(message)
        await send(body(b"whole"))

    session = Watched(Rules())
    session.receive(GET)
    carrier = Sends(session)
    run(Cycle(session, carrier), wrong)
    assert carrier.sent.endswith(b"whole")
    assert not session.lost


def test_what_interrupts_receive_loses_nothing_of_the_body() -> None:
    """A signal handler raises, while the application receives: it gets all of the body, or the connection is cut."""
    post = render("POST", "/", "Content-Length: 6") + b"abc"
    for number in count():
        struck: list[bool] = []
        got = b""

        async def interrupted(scope: Any, receive: Receive, send: Send) -> None:
            nonlocal got
            receiving: Any = receive()

            def receive_one() -> None:
                nonlocal got
                try:
                    receiving.send(None)
                except StopIteration as end:
                    got += end.value["body"]

            struck.append(struck_at(number, receive_one, real=True))  # noqa: B023
            receiving.close()
            session.receive(b"def")  # noqa: B023
            while not got.endswith(b"f"):
                message = await receive()
                if message["type"] != "http.request":
                    return
                got += message["body"]
            await send(START)
            await send(body(b"fine"))

        session = Watched(Rules())
        session.receive(post)
        carrier = Sends(session)
        run(Cycle(session, carrier), interrupted)
        assert got == b"abcdef" or session.lost or session.want is CLOSE, number
        if struck == [False]:
            assert got == b"abcdef"
            break
    assert number > 3
