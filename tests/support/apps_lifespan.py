"""ASGI applications that differ in their lifespan; each answers every request with 204."""

import asyncio
from typing import Any

from support import journal
from support.apps_asgi import Receive, Scope, Send
from support.behaviour import DeliberateError


async def _answer(send: Send) -> None:
    journal.write("request")
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


async def refuses(scope: Scope, receive: Receive, send: Send) -> None:
    """Start-up fails, and says why."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "the database is not there"})
    else:
        await _answer(send)


async def unsupported(scope: Scope, receive: Receive, send: Send) -> None:
    """Knows requests only: the specification tells servers to go on without lifespan."""
    if scope["type"] != "http":
        raise DeliberateError("deliberate: only http is known here")
    await _answer(send)


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    """Returns from lifespan without a word."""
    if scope["type"] == "http":
        await _answer(send)


async def slow(scope: Scope, receive: Receive, send: Send) -> None:
    """Takes its time to start and to stop; no request may come in between."""
    if scope["type"] != "lifespan":
        await _answer(send)
        return
    await receive()
    journal.write("starting")
    await asyncio.sleep(0.1)
    journal.write("started")
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await asyncio.sleep(0.1)
    journal.write("stopped")
    await send({"type": "lifespan.shutdown.complete"})


async def background(scope: Scope, receive: Receive, send: Send) -> None:
    """Keeps a task running from start-up to shutdown, on the loop that serves the requests."""
    if scope["type"] != "lifespan":
        await _answer_with_ticks(scope["state"], send)
        return
    await receive()
    scope["state"]["ticks"] = ticks = asyncio.Event()
    task = asyncio.create_task(_tick(ticks))
    await send({"type": "lifespan.startup.complete"})
    await receive()
    task.cancel()
    journal.write("stopped")
    await send({"type": "lifespan.shutdown.complete"})


async def _tick(ticks: asyncio.Event) -> None:
    while True:
        ticks.set()
        await asyncio.sleep(0.01)


async def _answer_with_ticks(state: dict[str, Any], send: Send) -> None:
    """Wait for the task's next tick, then answer."""
    state["ticks"].clear()
    async with asyncio.timeout(10):
        await state["ticks"].wait()
    await _answer(send)
