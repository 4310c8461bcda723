"""The ASGI interface (specification 3.0, HTTP 2.4): its scope and what an application sends."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from septet.apps._channel import BUFFER_BYTES
from septet.apps.asgi import Asgi
from septet.exchange import ClientGone, Want
from septet.protocol import CLOSE, WRITE
from septet.rules import Rules
from septet.session.http1 import Session
from septet.settings.extensions import NAMES, parse_extensions
from support.asgi_by_hand import GET, START, Hand, Receive, Send, answered, body, run
from support.carrier import Watched, write_all
from support.messages import render

# The scope


def test_scope_of_a_request() -> None:
    asgi = Asgi(lambda: None, ["http.response.early_hint", "x"])  # type: ignore[arg-type, misc]
    asgi.state["pool"] = 1
    session = Watched()
    session.receive(render("GET", "/a%20b/%C3%A9?x=%20&y", "X-A: 1", "x-a: 2"))
    assert asgi.scope(session) == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/a b/é",
        "raw_path": b"/a%20b/%C3%A9",
        "query_string": b"x=%20&y",
        "root_path": "",
        "headers": [(b"host", b"example.test"), (b"x-a", b"1"), (b"x-a", b"2")],
        "client": ("192.0.2.1", 50000),
        "server": ("192.0.2.2", 80),
        "state": {"pool": 1},
        "extensions": {"http.response.early_hint": {}, "x": {}},
    }


def test_scope_is_made_anew_for_equal_requests() -> None:
    """What the application writes into a scope, however deep, does not reach other requests."""
    asgi = Asgi(lambda: None, ["http.response.pathsend"])  # type: ignore[arg-type, misc]
    for number in range(3):
        session = Session(Rules(), ("198.51.100.7", number), ("192.0.2.2", 80))
        session.receive(GET)
        scope = asgi.scope(session)
        assert (scope["client"], scope["path"]) == (("198.51.100.7", number), "/")
        assert len(scope["headers"]) == 1
        assert "mine" not in scope["state"]
        assert "mine" not in repr(scope)
        scope["headers"].append((b"mine", b""))
        scope["state"]["mine"] = scope["extensions"]["mine"] = scope["path"] = "mine"
        scope["asgi"]["mine"] = scope["extensions"]["http.response.pathsend"]["mine"] = "mine"


def test_old_clients_get_nothing_that_they_do_not_know() -> None:
    session = Watched()
    session.receive(render("GET", "/", version="1.0"))
    asgi = Asgi(lambda: None, parse_extensions(",".join(NAMES)))  # type: ignore[arg-type, misc]
    assert set(asgi.scope(session)["extensions"]) == {"http.response.pathsend", "http.response.zerocopysend"}


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("name", NAMES)
def test_extension_that_is_not_offered_is_refused(name: str, version: str) -> None:
    """A message of an unknown type: `send` raises (ASGI, "Error Handling")."""

    async def application(scope: Any, receive: Receive, send: Send) -> None:
        with pytest.raises(RuntimeError, match=f"'http.response.{name}' is no message of HTTP, nor of an extension"):
            await send({"type": f"http.response.{name}", "links": []})
        await send(START)
        await send(body(b"hello"))

    assert answered(application, render("GET", "/", version=version)).endswith(b"hello")


def test_offered_hints_for_an_old_client_are_left_out() -> None:
    async def application(scope: Any, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.early_hint", "links": [b"</a>"]})
        await send(START)
        await send(body(b"hello"))

    answer = answered(application, render("GET", "/", version="1.0"), ["http.response.early_hint"])
    assert answer.startswith(b"HTTP/1.1 200 ")


# Answers


def test_answer_of_one_part_has_a_length() -> None:
    async def application(scope: Any, receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b"hello"))

    assert answered(application) == b"HTTP/1.1 200 OK\r\na: b\r\nContent-Length: 5\r\n\r\nhello"


def test_defaults_of_messages() -> None:
    async def application(scope: Any, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 404})
        await send({"type": "http.response.body"})

    assert answered(application) == b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("pair", [tuple, list])
def test_bytes_and_pairs_of_any_kind(kind: Callable[[bytes], Any], pair: Callable[[Any], Any]) -> None:
    async def application(scope: Any, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [pair((b"a", b"b"))]})
        await send(body(kind(b"one"), more=True))
        await send(body(kind(b"two")))

    assert answered(application).endswith(b"\r\na: b\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nonetwo\r\n0\r\n\r\n")


def test_nothing_goes_before_there_is_content() -> None:
    async def scene() -> None:
        started, seen = asyncio.Event(), asyncio.Event()

        async def application(scope: Any, receive: Receive, send: Send) -> None:
            await send(START)
            started.set()
            await seen.wait()
            raise KeyError

        hand = Hand(application)
        await started.wait()
        assert not hand.session.responding
        seen.set()
        assert (await hand.finish()).startswith(b"HTTP/1.1 500 ")

    run(scene)


def test_parts_go_when_the_application_waits() -> None:
    """Parts sent without a wait in between go together; no part waits for one that is not ready."""

    async def scene() -> None:
        waits, goes_on = asyncio.Event(), asyncio.Event()

        async def application(scope: Any, receive: Receive, send: Send) -> None:
            await send(START)
            for word in (b"one", b"two"):
                await send(body(word, more=True))
            waits.set()
            await goes_on.wait()
            for word in (b"three", b"four"):
                await send(body(word, more=True))
            await send(body(b"five"))

        hand = Hand(application)
        await hand.reach(WRITE)
        assert waits.is_set()
        hand.write()
        assert hand.written.endswith(b"\r\n\r\n6\r\nonetwo\r\n")
        goes_on.set()
        assert (await hand.finish()).endswith(b"onetwo\r\nd\r\nthreefourfive\r\n0\r\n\r\n")

    run(scene)


def test_sending_waits_when_the_client_does_not_read() -> None:
    """At most BUFFER_BYTES are buffered, and nothing while earlier output waits for the client."""

    async def scene() -> None:
        sent = []

        async def application(scope: Any, receive: Receive, send: Send) -> None:
            await send(START)
            for number in range(3):
                await send(body(b"%d" % number * BUFFER_BYTES, more=True))
                sent.append(number)
            await asyncio.sleep(0)
            await send(body())

        hand = Hand(application)
        for number in range(3):
            await hand.reach(WRITE)
            await asyncio.sleep(0)
            assert sent == list(range(number))
            hand.write()
        assert (await hand.finish()).endswith(b"222\r\n0\r\n\r\n")

    run(scene)


def test_fast_reader_leaves_others_their_turn() -> None:
    class Taking(Hand):
        """A client that takes everything at once."""

        def carry(self, want: Want) -> None:
            self.written += write_all(self.session)

    async def scene() -> None:
        turns = []

        async def application(scope: Any, receive: Receive, send: Send) -> None:
            await send(START)
            for _ in range(3):
                await send(body(b"x" * BUFFER_BYTES, more=True))
                asyncio.get_running_loop().call_soon(turns.append, len(turns))
            await send(body())

        await Taking(application).finish()
        assert len(turns) >= 2

    run(scene)


def fails_at_once(send: Send) -> Awaitable[None]:
    raise KeyError("the cause")


async def sends_text(send: Send) -> None:
    await send(START)
    await send(body("text"))  # type: ignore[arg-type]


async def sends_unknown(send: Send) -> None:
    await send({"type": "http.response.unknown"})


async def sends_start_twice(send: Send) -> None:
    await send(START)
    await send(START)


async def sends_body_first(send: Send) -> None:
    await send(body(b"a"))


async def sends_splitting(send: Send) -> None:
    await send({**START, "headers": [(b"a", b"b\r\nc: d")]})
    await send(body(b"a"))


async def sends_nothing(send: Send) -> None:
    pass


@pytest.mark.parametrize(
    "wrong",
    [fails_at_once, sends_text, sends_unknown, sends_start_twice, sends_body_first, sends_splitting, sends_nothing],
)
def test_application_that_breaks_the_rules(
    wrong: Callable[[Send], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    async def application(scope: Any, receive: Receive, send: Send) -> None:
        await wrong(send)

    assert answered(application).startswith(b"HTTP/1.1 500 ")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


@pytest.mark.parametrize("raises", [True, False])
def test_half_an_answer_cuts_the_connection(raises: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async def application(scope: Any, receive: Receive, send: Send) -> None:
            await send(START)
            await send(body(b"part", more=True))
            if raises:
                raise KeyError

        hand = Hand(application)
        await hand.finish()
        assert (hand.session.want, hand.session.lost) == (CLOSE, True)
        assert len(caplog.records) == 1

    run(scene)


def test_sending_after_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    """`send` raises, and the part reaches neither this answer nor the next."""

    async def application(scope: Any, receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b"a"))
        await send(body(b"b"))

    assert answered(application).endswith(b"\r\n\r\na")
    assert "after the answer" in caplog.text


def test_sending_to_a_lost_client_is_an_oserror(caplog: pytest.LogCaptureFixture) -> None:
    """ASGI HTTP 2.4: `send` raises an OSError. It is no fault of the application, so nothing is logged."""

    async def scene() -> None:
        caught = []

        async def application(scope: Any, receive: Receive, send: Send) -> None:
            await send(START)
            try:
                await send(body(b"a" * BUFFER_BYTES, more=True))
            except OSError as error:
                caught.append(error)
                raise

        hand = Hand(application)
        await hand.reach(WRITE)
        hand.session.lose()
        hand.cycle.wake()
        await hand.finish()
        assert isinstance(caught[0], ClientGone)
        assert caplog.records == []

    run(scene)
