"""An application that handles a signal of its own, and answers with the process that serves."""

import os
import signal
from collections.abc import Callable
from typing import Any

from support import journal

signal.signal(signal.SIGUSR1, lambda number, frame: journal.write(f"handled {os.getpid()}"))


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
