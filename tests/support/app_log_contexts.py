"""Applications whose filter of log records looks at a context variable, as those do that add the id of a request."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from support import journal
from support.apps_asgi import Receive, Scope, Send, part, start

request: ContextVar[str] = ContextVar("request", default="none")


def note(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    if record.name == "septet.access" or "is answered" in message:
        journal.write(f"in {request.get()}: {message}")
    return True


for name in ("septet", "septet.access"):
    logging.getLogger(name).addFilter(note)


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes] | Iterator[bytes]:
    path = environ["PATH_INFO"]
    request.set(path)
    start_response("200 OK", [])
    if path.startswith("/waits"):
        time.sleep(0.05)
    return _parts(path) if path.startswith("/parts") else [b"fine"]


def _parts(path: str) -> Iterator[bytes]:
    yield b"fi"
    time.sleep(0.05)
    yield b"ne"


async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise RuntimeError("deliberate: it is not known here")
    path = scope["path"]
    request.set(path)
    if path.startswith("/waits"):
        await asyncio.sleep(0.05)
    await start(send, [("Content-Length", "4")] if path.startswith("/length") else [])
    if path.startswith(("/parts", "/length")):
        await asyncio.sleep(0.05)
        await part(send, b"fine" if path.startswith("/length") else b"fi", more=True)
        await asyncio.sleep(0.05)
    await part(send, b"" if path.startswith("/length") else b"fine", more=False)
