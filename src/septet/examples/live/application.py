"""An ASGI 3 application that shows a file of JSON while it changes, by Server-Sent Events.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

STATE = "SEPTET_LIVE_STATE"
"""Name of the environment variable that holds the path of the JSON file to show."""
LOOK_S = 0.25
"""Seconds between two checks whether the file has changed."""
SILENCE_MAX_S = 15.0
"""Seconds after which a comment is sent when there is nothing new, so that proxies keep the connection."""

_PAGE = (Path(__file__).parent / "page.html").read_bytes()
_HTML, _TEXT = b"text/html; charset=utf-8", b"text/plain; charset=utf-8"
_POLICY = (
    b"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
)


async def application(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    """The ASGI application. For each client of /events it reads the file that SEPTET_LIVE_STATE names every LOOK_S
    seconds, as long as that client listens.
    """
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["path"] == "/events":
        await _stream(receive, send)
    elif scope["path"] == "/":
        await _answer(200, _HTML, _PAGE, send)
    else:
        await _answer(404, _TEXT, b"The page is at /.\n", send)


async def _answer(status: int, kind: bytes, body: bytes, send: Send) -> None:
    fields = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), (b"cache-control", b"no-cache")]
    await send(
        {"type": "http.response.start", "status": status, "headers": [*fields, (b"content-security-policy", _POLICY)]}
    )
    await send({"type": "http.response.body", "body": body})


async def _stream(receive: Receive, send: Send) -> None:
    """Send the content of the file each time it has changed, until the client goes or the content says that it is the
    last.
    """
    fields = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": b": the state follows\n\n", "more_body": True})
    following = asyncio.create_task(_follow(Path(os.environ.get(STATE, "")), send))
    gone = asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait({following, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        if not following.done():
            following.cancel()
    if following.done() and not following.cancelled():
        following.result()
        await send({"type": "http.response.body", "body": b""})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _follow(path: Path, send: Send) -> None:
    sent, silent_s = b"", 0.0
    while True:
        data = _read(path)
        if data != sent:
            await send({"type": "http.response.body", "body": b"data: %b\n\n" % data, "more_body": True})
            sent, silent_s = data, 0.0
            if json.loads(data)["finished"]:
                return
        elif silent_s >= SILENCE_MAX_S:
            await send({"type": "http.response.body", "body": b": nothing new\n\n", "more_body": True})
            silent_s = 0.0
        await asyncio.sleep(LOOK_S)
        silent_s += LOOK_S


def _read(path: Path) -> bytes:
    """Return the content of the file as one line of JSON, which an event needs; b"" if the file does not exist yet."""
    try:
        return path.read_bytes().replace(b"\n", b" ")
    except OSError:
        return b""
