"""An application that, like a program for the command line, has signals end the process that Python ignores."""

import os
import signal
from collections.abc import Callable, Iterable
from typing import Any

from support.apps_asgi import Receive, Scope, Send

for _number in (signal.SIGPIPE, signal.SIGXFSZ):
    signal.signal(_number, signal.SIG_DFL)

PARTS = [bytes(100_000)] * 80


def _child_ends() -> bytes:
    child = os.fork()
    if not child:
        signal.raise_signal(signal.SIGPIPE)
        os._exit(0)
    return str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode()


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return iter(PARTS) if environ["PATH_INFO"] == "/much" else [_child_ends()]


async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise RuntimeError("deliberate: HTTP alone is known here")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/much":
        for part in PARTS:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})
    else:
        await send({"type": "http.response.body", "body": _child_ends()})
