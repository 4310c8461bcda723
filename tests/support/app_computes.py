"""Applications in a process of which a thread computes, from the first request on. Not to be imported by a test."""

import threading
from collections.abc import Callable, Iterable
from typing import Any

_computes = threading.Event()


def _compute() -> None:
    while True:
        _computes.wait()
        sum(range(1000))


def _begin() -> None:
    if not _computes.is_set():
        _computes.set()
        threading.Thread(target=_compute, daemon=True).start()


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    _begin()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        _begin()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})
