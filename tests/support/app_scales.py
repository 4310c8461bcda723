"""An application whose requests last a while, in a server that follows the load more quickly than it would otherwise.
Not to be imported by a test."""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

from septet.metrics import reader
from septet.processes import scaling, supervisor

reader.SAMPLE_S = 0.1
supervisor.TURN_S = 0.1
scaling.GROW_S = 0.5
scaling.SHRINK_S = 1.0
scaling.HOLD_S = 3.0
scaling.FULL_S = 0.5

BUSY_S = 0.05


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    time.sleep(BUSY_S)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    until = time.monotonic() + BUSY_S
    while time.monotonic() < until:  # the loop is busy
        pass
    await asyncio.sleep(0)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
