"""An application whose signal handler raises, as time-outs by SIGALRM do, in whatever the main thread is doing.

Its answer is the number of the process, for the test to send the signal. Not to be imported by a test.
"""

import os
import signal
from typing import Any

from support import journal


def _raise(number: int, frame: Any) -> None:
    journal.write("raised")
    raise TimeoutError("deliberate: too late")


signal.signal(signal.SIGALRM, _raise)


def _pid() -> bytes:
    return str(os.getpid()).encode()


def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", str(len(_pid())))])
    return [_pid()]


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError("there is nothing to set up")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": _pid()})
