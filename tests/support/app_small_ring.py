"""An application on a ring whose completion queue is soon full, and that keeps its loop busy when it is told to."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from septet.pollers.ring import Ring

Ring.__init__.__defaults__ = (8,)  # entries: the completion queue has four times as many

BUSY_S = 1.0


def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/busy":
        time.sleep(BUSY_S)
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", "1")] if body else [("Content-Length", "0")])
    return [b"x"] if body else []
