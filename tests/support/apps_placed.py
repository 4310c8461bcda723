"""Small applications that say where they are mounted."""

from collections.abc import Callable, Iterable
from typing import Any

from support import journal


def make_plain() -> Callable[..., Iterable[bytes]]:
    """A factory of a WSGI application, which says where it is."""

    def plain(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{environ['SCRIPT_NAME']}|{environ['PATH_INFO']}".encode("latin-1")]

    return plain


async def other(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """A bare ASGI application with a lifespan."""
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            journal.write(f"other {kind}")
            scope["state"]["greeting"] = "hello"
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 200})
    text = scope["state"]["greeting"] if scope["path"].endswith("/greeting") else scope["path"]
    await send({"type": "http.response.body", "body": f"{scope['root_path']}|{text}".encode()})


async def fails(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """An ASGI application that does not start."""
    assert scope["type"] == "lifespan"
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "deliberate"})
