"""Applications that take too long, in several ways, until the file `released` is there."""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from support import journal

TICK_S = 0.02


def released() -> bool:
    return (Path(os.environ[journal.VARIABLE]) / "released").exists()


def wait_for_release() -> None:
    while not released():
        time.sleep(TICK_S)


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path == "/waits":
        wait_for_release()
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/streams":
        return stream()
    if path == "/floods":
        return flood()
    return breaking() if path == "/breaks" else [b"fine"]


def stream() -> Iterator[bytes]:
    yield b"begun"
    wait_for_release()
    yield b"ended"


def flood() -> Iterator[bytes]:
    """Its thread sends all the time."""
    while not released():
        yield bytes(100_000)


def breaking() -> Iterator[bytes]:
    yield b"begun"
    wait_for_release()
    raise ValueError("in the middle")


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    path = scope["path"]
    if path == "/waits":
        await wait_for_release_asynchronously()
    if path == "/blocks":
        wait_for_release()
    if path == "/asyncio":
        await asyncio.to_thread(wait_for_release)
    if path == "/anyio":
        await asyncio.create_task(in_a_thread_of_anyio())  # in a task of its own, as Starlette's middleware does
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if path in ("/streams", "/breaks"):
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        await wait_for_release_asynchronously()
    if path == "/breaks":
        raise ValueError("in the middle")
    await send({"type": "http.response.body", "body": b"fine"})


async def in_a_thread_of_anyio() -> None:
    import anyio.to_thread

    await anyio.to_thread.run_sync(wait_for_release)


async def wait_for_release_asynchronously() -> None:
    journal.write("waits")
    try:
        while not released():  # noqa: ASYNC110  another process makes the file
            await asyncio.sleep(TICK_S)
    except asyncio.CancelledError:
        journal.write("cancelled")
        raise
