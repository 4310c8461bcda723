"""A proxy for WebSockets inside an application, of the shape of jupyter-server-proxy: `UPSTREAM` is the address behind.

It connects with what the client asks for before it accepts, and gives the client the subprotocol chosen behind.
Two tasks relay messages, one in each direction, and whichever side closes first, the other is closed with its code and
reason.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, WSServerHandshakeError

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

NO_CODE = (1005, 1006)
"""Codes that stand for the lack of one, and are not sent (RFC 6455 section 7.4.1)."""

GOING_AWAY = 1001
BAD_GATEWAY = 1014


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] != "websocket":
        raise NotImplementedError("there is nothing but WebSockets")
    await receive()
    target = scope["raw_path"].decode() + "?" + scope["query_string"].decode()
    async with ClientSession() as session:
        try:
            behind = await session.ws_connect(
                f"ws://{os.environ['UPSTREAM']}{target}", protocols=scope["subprotocols"], max_msg_size=0
            )
        except WSServerHandshakeError as refusal:
            await send({"type": "websocket.http.response.start", "status": refusal.status, "headers": []})
            await send({"type": "websocket.http.response.body", "body": b"refused behind the proxy"})
            return
        await send({"type": "websocket.accept", "subprotocol": behind.protocol})
        ways = [asyncio.create_task(_outward(receive, behind)), asyncio.create_task(_inward(behind, send))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        results = await asyncio.gather(*ways, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result


async def _outward(receive: Receive, behind: ClientWebSocketResponse) -> None:
    """From the client to the server behind, to the client's end."""
    while (event := await receive())["type"] == "websocket.receive":
        if event.get("text") is not None:
            await behind.send_str(event["text"])
        else:
            await behind.send_bytes(event["bytes"])
    code = event["code"]
    await behind.close(code=GOING_AWAY if code in NO_CODE else code, message=event["reason"].encode())


async def _inward(behind: ClientWebSocketResponse, send: Send) -> None:
    """From the server behind to the client, to that server's end."""
    while (message := await behind.receive()).type in (WSMsgType.TEXT, WSMsgType.BINARY):
        kind = "text" if message.type is WSMsgType.TEXT else "bytes"
        await send({"type": "websocket.send", kind: message.data})
    if message.type is WSMsgType.CLOSE:
        await send({"type": "websocket.close", "code": message.data, "reason": message.extra})
    else:
        await send({"type": "websocket.close", "code": BAD_GATEWAY})
