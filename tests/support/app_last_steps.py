"""A WSGI application that does in its process what keeps that from its end, or what is found after it."""

import atexit
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support import journal


def _hang() -> None:
    journal.write(f"hangs {os.getpid()}")
    time.sleep(60)


HOW = Path(os.environ["CONTRACT_DIRECTORY"], "version").read_text()
if "hang" in HOW:
    atexit.register(_hang)
if "fail" in HOW:
    raise RuntimeError("deliberate: it cannot be imported")


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    if environ["PATH_INFO"] == "/sleep":
        journal.write("sleeps")
        time.sleep(60)
    start_response("200 OK", [("Content-Length", "4")])
    return [b"fine"]
