"""Applications that call the server with few frames left before Python's limit, and go on when it has raised.

/write?left=N    WSGI: `write` of a part; then more of the answer
/read?left=N     WSGI: `read` of the body; then the rest of it
/hints?left=N    WSGI: early hints; then the answer
/send?left=N     ASGI: `send` of a part that is not the last; then more of the answer. waits: of the last one
"""

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from support.behaviour import parameters


def with_frames(left: int, function: Callable[[], Any]) -> bool:
    """Call it when `left` frames more would be too many; whether it could be called."""
    depth, frame = 0, sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back

    def go_down(more: int) -> None:
        go_down(more - 1) if more > 0 else function()

    try:
        go_down(sys.getrecursionlimit() - depth - left)
    except RecursionError:
        return False
    return True


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    query = parameters(environ["QUERY_STRING"])
    left = int(query.get("left", "0"))
    path = environ["PATH_INFO"]
    if path == "/write":
        write = start_response("200 OK", [])
        write(b"begin,")
        with_frames(left, lambda: write(b"deep,"))
        with suppress(OSError):
            write(b"more,")
        return [b"end", b""]
    body = bytearray()
    if path == "/read":
        with_frames(left, lambda: body.extend(environ["wsgi.input"].read(3)))
        body += environ["wsgi.input"].read()
    elif path == "/hints":
        with_frames(left, lambda: environ["wsgi.early_hints"]([("Link", "</a>")]))
    start_response("200 OK", [("Content-Length", str(len(body) + 3))])
    return [bytes(body) + b"end"]


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError("there is nothing to set up")
    query = parameters(scope["query_string"].decode())
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/send":
        await send({"type": "http.response.body", "body": b"begin,", "more_body": True})
        await asyncio.sleep(0)
        last = "last" in query
        message = {"type": "http.response.body", "body": b"end" if last else b"deep,", "more_body": not last}

        def step() -> None:
            work = send(message)
            with suppress(StopIteration):
                work.send(None)
            work.close()

        with_frames(int(query["left"]), step)
        if last:
            return
        await send({"type": "http.response.body", "body": b"more,", "more_body": True})
    await send({"type": "http.response.body", "body": b"end"})
