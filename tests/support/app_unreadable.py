"""An ASGI application that sends files which it has opened for writing alone: /PATH; and answers anything else."""

import os
from typing import Any


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError("there is nothing to set up")
    if scope["path"] == "/":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"fine"})
        return
    descriptor = os.open(scope["path"], os.O_WRONLY)
    try:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.zerocopysend", "file": descriptor, "offset": 0})
    finally:
        os.close(descriptor)
