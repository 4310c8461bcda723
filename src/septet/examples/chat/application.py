"""The chat as an ASGI 3 application: a page at /chat, and the scope `websocket` at /chat/socket."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from septet.examples.chat.line import NotALine, parse
from septet.examples.chat.relay import RelayUnavailable, open_relay
from septet.examples.chat.room import Member, Room

Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

POLICY_VIOLATION = 1008
TRY_AGAIN_LATER = 1013

_log = logging.getLogger("septet.examples.chat")
_PAGE = (Path(__file__).parent / "page.html").read_bytes()
_room = Room()
_relay = open_relay()
_following: "asyncio.Task[None] | None" = None
_begun = asyncio.Event()


async def application(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    """The ASGI application. Each process has one event loop, and one room with the clients that this loop serves."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
    elif scope["type"] == "websocket" and scope["path"] == "/chat/socket":
        await _chat(receive, send)
    elif scope["type"] == "websocket":
        await send({"type": "websocket.close"})
    else:
        await _answer(scope["path"], send)


async def _live(receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})


async def _answer(path: str, send: Send) -> None:
    status, body = (200, _PAGE) if path in ("/", "/chat") else (404, b"The chat is at /chat.\n")
    kind = b"text/html; charset=utf-8" if status == 200 else b"text/plain; charset=utf-8"
    fields = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), (b"cache-control", b"no-cache")]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def _chat(receive: Receive, send: Send) -> None:
    """Serve the WebSocket of one member until the member leaves: pass what the member writes to the relay, and send the
    member every line of the room.
    """
    await receive()
    try:
        async with _membership() as member:
            await send({"type": "websocket.accept"})
            reading = asyncio.create_task(_read_aloud(member, send))
            try:
                await _listen(receive)
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
    except NotALine as error:
        await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": str(error)})
    except RelayUnavailable as error:
        _log.error("the chat's Redis is not available: %s", error)
        await send({"type": "websocket.close", "code": TRY_AGAIN_LATER, "reason": "the chat is out of order"})


async def _listen(receive: Receive) -> None:
    while (event := await receive())["type"] == "websocket.receive":
        await _relay.publish(parse(event.get("text")))


async def _read_aloud(member: Member, send: Send) -> None:
    while True:
        await send({"type": "websocket.send", "text": await member.next()})


@asynccontextmanager
async def _membership() -> Any:
    """Context manager: put a new member into this process's room and yield the member; at the end, take it out of the
    room. While the room has members, it receives lines from the relay. Raises RelayUnavailable.
    """
    global _following
    member = _room.enter()
    try:
        if _following is None or _following.done():
            _begun.clear()
            _following = asyncio.create_task(_relay.follow(_room, _begun))
        waiting = asyncio.create_task(_begun.wait())
        await asyncio.wait((waiting, _following), return_when=asyncio.FIRST_COMPLETED)
        if not _begun.is_set():
            waiting.cancel()
            await _following  # raises
        yield member
    finally:
        _room.leave(member)
        if _room.empty and _following is not None:
            _following.cancel()
            _following = None
