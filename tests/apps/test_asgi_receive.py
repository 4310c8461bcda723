"""What an ASGI application receives: its request's body as it comes, and the disconnect."""

import asyncio
from typing import Any

import pytest

from septet.protocol import READ, WRITE
from support.asgi_by_hand import GET, START, Hand, Receive, Send, body, run
from support.messages import render

POST = render("POST", "/", body=b"12345")


def test_body_is_received_as_it_comes() -> None:
    async def scene() -> None:
        messages: list[dict[str, Any]] = []

        async def application(scope: Any, receive: Receive, send: Send) -> None:
            while not messages or messages[-1]["more_body"]:
                messages.append(await receive())
            await send(START)
            await send(body())

        hand = Hand(application, POST[:-3])
        await hand.reach(READ)
        hand.receive(POST[-3:])
        await hand.finish()
        assert messages == [
            {"type": "http.request", "body": b"12", "more_body": True},
            {"type": "http.request", "body": b"345", "more_body": False},
        ]

    run(scene)


def test_request_without_a_body_is_one_message() -> None:
    async def scene() -> None:
        messages: list[dict[str, Any]] = []

        async def application(scope: Any, receive: Receive, send: Send) -> None:
            messages.append(await receive())
            await send(START)
            await send(body())
            messages.append(await receive())

        await Hand(application).finish()
        assert messages == [{"type": "http.request", "body": b"", "more_body": False}, {"type": "http.disconnect"}]

    run(scene)


@pytest.mark.parametrize("lost", [True, False])
@pytest.mark.parametrize("data", [GET, POST[:-1]])
def test_client_that_goes_is_a_disconnect(data: bytes, lost: bool) -> None:
    async def scene() -> None:
        messages: list[dict[str, Any]] = []

        async def application(scope: Any, receive: Receive, send: Send) -> None:
            while not messages or messages[-1]["type"] != "http.disconnect":
                messages.append(await receive())

        hand = Hand(application, data)
        while not messages:  # noqa: ASYNC110 - the application's own code shall be as it is elsewhere
            await asyncio.sleep(0)
        if lost:
            hand.session.lose()
        else:
            hand.session.receive(b"")
        hand.cycle.wake()
        await hand.finish()
        assert [message["type"] for message in messages] == ["http.request", "http.disconnect"]

    run(scene)


def test_disconnect_comes_to_whoever_waits_beside_the_answer() -> None:
    """One task waits for the disconnect while another answers, as in frameworks."""

    async def scene() -> None:
        async def application(scope: Any, receive: Receive, send: Send) -> None:
            await receive()
            listener = asyncio.ensure_future(receive())
            await asyncio.sleep(0)
            await send(START)
            await send(body(b"a"))
            assert (await listener) == {"type": "http.disconnect"}

        assert (await Hand(application).finish()).endswith(b"a")

    run(scene)


# Whose fault it is that there is no answer


class FrameworkError(Exception):
    """A framework's own exception for a client that has left."""


async def returns(receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def raises(receive: Receive, send: Send) -> None:
    await returns(receive, send)
    raise FrameworkError("the client left")


async def begins_and_returns(receive: Receive, send: Send) -> None:
    await send(START)
    await send(body(b"x", more=True))
    await returns(receive, send)


async def translates(receive: Receive, send: Send) -> None:
    await returns(receive, send)
    try:
        await send(START)
        await send(body(b"x"))
    except OSError:
        raise FrameworkError("the client left") from None


async def translates_in_a_group(receive: Receive, send: Send) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(translates(receive, send))
    finally:
        pass


def logged(way: Any, data: bytes, lost: bool, caplog: pytest.LogCaptureFixture) -> list[str]:
    """The errors that are logged if the client ends its body early, or leaves."""

    async def application(scope: Any, receive: Receive, send: Send) -> None:
        await way(receive, send)

    async def scene() -> None:
        hand = Hand(application, data)
        await asyncio.sleep(0)
        if hand.session.want is WRITE:
            hand.write()
        if lost:
            hand.session.lose()
            hand.cycle.wake()
        else:
            hand.receive(b"")
        await hand.finish()

    run(scene)
    return [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("lost", [True, False])
@pytest.mark.parametrize("data", [POST[:-1], render("POST", "/", "Transfer-Encoding: chunked") + b"5\r\n12"])
@pytest.mark.parametrize("way", [returns, raises, begins_and_returns, translates, translates_in_a_group])
def test_application_is_not_blamed_for_its_client(
    way: Any, data: bytes, lost: bool, caplog: pytest.LogCaptureFixture
) -> None:
    assert logged(way, data, lost, caplog) == []


def test_application_is_not_blamed_for_a_body_that_is_malformed(caplog: pytest.LogCaptureFixture) -> None:
    data = render("POST", "/", "Transfer-Encoding: chunked") + b"zz"
    assert logged(returns, data, False, caplog) == []


def test_application_that_was_told_nothing_is_blamed(caplog: pytest.LogCaptureFixture) -> None:
    async def silent(receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.01)

    assert logged(silent, GET, False, caplog) == ["SEP142 the application returned without a whole answer at GET /"]
