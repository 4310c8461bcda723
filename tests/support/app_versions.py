"""An application whose answer is the text of a file that it read when it was imported, and which obeys that text."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from support import journal

VERSION = Path(os.environ["CONTRACT_DIRECTORY"], "version").read_text().strip()

if VERSION == "broken":
    raise ValueError("deliberate: this version is broken")
if VERSION == "slow":
    print("this version is slow", file=sys.stderr, flush=True)
    time.sleep(60)
if VERSION == "deaf":  # as if it did not return to Python
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    print("this version is deaf", file=sys.stderr, flush=True)
    time.sleep(60)
if VERSION == "exit":
    os._exit(7)


LONG_S = 3.0
"""Longer than the supervisor waits for a process that has not started (KILL_MARGIN_S)."""


def _is_first_worker() -> bool:
    try:
        os.close(os.open(Path(os.environ["CONTRACT_DIRECTORY"], "first"), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def wsgi(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/slow":
        time.sleep(0.05)
    if environ["PATH_INFO"] == "/gate":
        journal.pass_gate(VERSION)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{VERSION} {os.getpid()}".encode()]


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        if VERSION == "unwell":
            await send({"type": "lifespan.startup.failed", "message": "deliberate: no database"})
            return
        if VERSION == "uneven" and not _is_first_worker():
            await asyncio.sleep(60)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("the application has ended", VERSION, file=sys.stderr, flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/gate":
        await journal.pass_gate_async(VERSION)
    if scope["path"] == "/long":
        journal.write(f"long, {VERSION}")
        await asyncio.sleep(LONG_S)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": f"{VERSION} {os.getpid()}".encode()})
