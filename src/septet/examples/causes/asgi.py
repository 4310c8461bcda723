"""The small applications that each isolate one cause of slowness, in ASGI 3. `wait` awaits a sleep; `cpu` computes on
the event loop, and so keeps the loop from other work.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from septet.examples.causes import CPU_MS, GREETING, PIECE, PIECES, WAIT_MS, burn, number

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await _greet(scope, send)


async def cpu(scope: Scope, receive: Receive, send: Send) -> None:
    _expect_http(scope)
    burn(number(scope["query_string"].decode("latin-1"), "ms", CPU_MS))
    await _greet(scope, send)


async def wait(scope: Scope, receive: Receive, send: Send) -> None:
    _expect_http(scope)
    await asyncio.sleep(number(scope["query_string"].decode("latin-1"), "ms", WAIT_MS) / 1000)
    await _greet(scope, send)


async def stream(scope: Scope, receive: Receive, send: Send) -> None:
    _expect_http(scope)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    for _ in range(number(scope["query_string"].decode("latin-1"), "pieces", PIECES)):
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})
    await send({"type": "http.response.body"})


async def _greet(scope: Scope, send: Send) -> None:
    _expect_http(scope)
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(GREETING)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": GREETING})


def _expect_http(scope: Scope) -> None:
    """Raise NotImplementedError if the scope is not "http". For the scope "lifespan" this tells the server that the
    application does not handle it, as the ASGI specification allows.
    """
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
