"""What an ASGI application receives: its request's body as it comes, and the disconnect."""

import asyncio
from typing import Any

import pytest

from septet.http.states import READ
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
    """As frameworks do it: one task listens for the disconnect while another answers."""

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
