"""An application whose signal handler raises, as time-outs by SIGALRM do, in whatever the main thread is doing.

Not to be imported by a test.
"""

import os
import signal
from typing import Any

from support import journal


def _raise(number: int, frame: Any) -> None:
    journal.write("raised")
    raise TimeoutError("deliberate: too late")


signal.signal(signal.SIGALRM, _raise)


def _interrupt(path: str) -> None:
    if path == "/soon":
        signal.setitimer(signal.ITIMER_REAL, 0.02)  # when the answer is out, and the main thread waits
    elif path == "/parent":
        os.kill(os.getppid(), signal.SIGALRM)


def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    _interrupt(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError("there is nothing to set up")
    _interrupt(scope["path"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
