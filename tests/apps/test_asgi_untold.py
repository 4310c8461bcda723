"""An application that neither sends nor receives while its client leaves is cancelled."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from septet.apps import asgi
from septet.exchange import ClientGone
from support.asgi_by_hand import START, Hand, Receive, Send, body, run_in_turns


def leave_by_half_closing(hand: Hand) -> None:
    hand.session.receive(b"")
    hand.cycle.wake()


def leave_by_reset(hand: Hand) -> None:
    hand.session.lose()
    hand.cycle.wake()


async def answer_left(application: Any, leave: Callable[[Hand], None]) -> bytes:
    """Let the application begin, and its client leave; return what was sent by the application's end."""
    hand = Hand(application)
    await asyncio.sleep(0)
    leave(hand)
    return await hand.finish()


LEAVES = [leave_by_half_closing, leave_by_reset]


@pytest.mark.parametrize("leave", LEAVES)
@pytest.mark.parametrize("begins", [[START], [START, body(b"x", more=True)]], ids=["head", "content"])
def test_a_stream_that_waits_is_cancelled_when_its_client_has_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, leave: Callable[[Hand], None], begins: list[Any]
) -> None:
    """Else it stays for ever: it neither sends nor receives, and does not learn of it."""
    monkeypatch.setattr(asgi, "UNTOLD_S", 0.01)
    caplog.set_level(logging.INFO)

    async def scene() -> None:
        ended = []

        async def application(scope: Any, receive: Receive, send: Send) -> None:
            for message in begins:
                await send(message)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise

        await answer_left(application, leave)
        assert ended == ["cancelled"]

    run_in_turns(scene)
    assert [each for each in caplog.records if each.name == "septet"] == []  # nothing unusual has happened


@pytest.mark.parametrize("leave", LEAVES)
def test_an_application_that_has_not_begun_its_answer_is_not_cancelled(
    monkeypatch: pytest.MonkeyPatch, leave: Callable[[Hand], None]
) -> None:
    """It may be doing what the client has asked for, such as an order."""
    monkeypatch.setattr(asgi, "UNTOLD_S", 0.001)

    async def scene() -> None:
        done = []

        async def application(scope: Any, receive: Receive, send: Send) -> None:
            await asyncio.sleep(0.05)
            done.append("the order")

        await answer_left(application, leave)
        assert done == ["the order"]

    run_in_turns(scene)


def test_a_stream_that_goes_on_is_read_by_a_client_that_has_half_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "UNTOLD_S", 0.05)

    async def scene() -> None:
        async def application(scope: Any, receive: Receive, send: Send) -> None:
            await send(START)
            for _ in range(20):
                await send(body(b"x", more=True))
                await asyncio.sleep(0.01)
            await send(body(b"the end"))

        assert b"the end" in await answer_left(application, leave_by_half_closing)

    run_in_turns(scene)


@pytest.mark.parametrize("tells", ["send", "receive", "polled"])
def test_what_an_application_does_that_was_told_is_not_cancelled(monkeypatch: pytest.MonkeyPatch, tells: str) -> None:
    """It may put away what it has used, and take its time for it."""
    monkeypatch.setattr(asgi, "UNTOLD_S", 0.02)

    async def scene() -> None:
        done = []

        async def application(scope: Any, receive: Receive, send: Send) -> None:
            await send(START)
            await send(body(b"x", more=True))
            await receive()
            await asyncio.sleep(0.001)
            if tells == "send":
                with pytest.raises(ClientGone):
                    await send(body(b"x", more=True))
            elif tells == "polled":
                async with asyncio.timeout(5):
                    assert (await receive())["type"] == "http.disconnect"
            else:
                assert (await receive())["type"] == "http.disconnect"
            await asyncio.sleep(0.1)
            done.append("put away")

        hand = Hand(application)
        await asyncio.sleep(0)
        leave_by_reset(hand)
        hand.cycle.wake()  # as at the end of a connection of HTTP/2
        await hand.finish()
        assert done == ["put away"]

    run_in_turns(scene)
