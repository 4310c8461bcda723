"""An ASGI application with WebSockets; its routes are what tests of them need."""

import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

from support import apps_asgi, journal

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] != "websocket":
        await apps_asgi.app(scope, receive, send)
        return
    assert (await receive()) == {"type": "websocket.connect"}
    query = dict(parse_qsl(scope["query_string"].decode()))
    await ROUTES[scope["path"]](scope, receive, send, query)


async def echo(scope: Any, receive: Receive, send: Send, query: dict[str, str]) -> None:
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send(event | {"type": "websocket.send"})
    journal.write(f"{query.get('token')} {event['code']} {event['reason']}")


async def describe(scope: Any, receive: Receive, send: Send, query: dict[str, str]) -> None:
    subprotocols = scope["subprotocols"]
    accept: dict[str, Any] = {"type": "websocket.accept", "headers": [(b"x-application", b"yes")]}
    if subprotocols:
        accept["subprotocol"] = subprotocols[-1]
    await send(accept)
    shown = {key: value for key, value in scope.items() if key not in ("headers", "client", "server")}
    shown["raw_path"], shown["query_string"] = scope["raw_path"].decode(), scope["query_string"].decode()
    await send({"type": "websocket.send", "text": json.dumps(shown)})
    await send({"type": "websocket.close", "code": 3333, "reason": "that is all"})
    event = await receive()
    journal.write(f"{query.get('token')} {event['type']} {event['code']}")
    try:
        await send({"type": "websocket.send", "text": "too late"})
    except RuntimeError as error:
        journal.write(f"{query.get('token')} {error}")


async def deny(scope: Any, receive: Receive, send: Send, query: dict[str, str]) -> None:
    if "status" in query:
        fields = [(b"content-type", b"text/plain"), (b"x-why", b"deliberate")]
        await send({"type": "websocket.http.response.start", "status": int(query["status"]), "headers": fields})
        await send({"type": "websocket.http.response.body", "body": b"in two ", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"parts"})
    else:
        await send({"type": "websocket.close"})
    event = await receive()
    journal.write(f"{query.get('token')} {event['type']} {event['code']}")


async def fail(scope: Any, receive: Receive, send: Send, query: dict[str, str]) -> None:
    if query["when"] == "accepted":
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "now"})
    raise ValueError("deliberate")


async def leave(scope: Any, receive: Receive, send: Send, query: dict[str, str]) -> None:
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "bytes": b"last words"})


async def flood(scope: Any, receive: Receive, send: Send, query: dict[str, str]) -> None:
    """Send messages, and note each."""
    await send({"type": "websocket.accept"})
    for number in range(int(query["count"])):
        await send({"type": "websocket.send", "bytes": number.to_bytes(4) * 25_000})
        journal.write(f"{query['token']} sent")


async def hold(scope: Any, receive: Receive, send: Send, query: dict[str, str]) -> None:
    """Take no message before the gate is open; then count them until one of no bytes."""
    await send({"type": "websocket.accept"})
    await journal.pass_gate_async(query["token"])
    count = 0
    while (event := await receive())["type"] == "websocket.receive" and event["bytes"]:
        count += 1
    await send({"type": "websocket.send", "text": str(count)})
    await receive()


ROUTES = {
    "/echo": echo,
    "/describe": describe,
    "/deny": deny,
    "/fail": fail,
    "/leave": leave,
    "/flood": flood,
    "/hold": hold,
}
