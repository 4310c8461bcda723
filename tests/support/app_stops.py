"""Applications that get in the way of a start or a stop, by one of the two interfaces."""

import asyncio
import atexit
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from support import journal
from support.apps_asgi import Receive, Scope, Send

if os.environ.get("STOPS_AT_IMPORT") == "exit":
    sys.exit("deliberate: no database")
if os.environ.get("STOPS_AT_IMPORT") == "chdir":
    os.chdir("/")
if os.environ.get("STOPS_AT_IMPORT") == "hang":
    journal.write("importing")
    threading.Event().wait()
if os.environ.get("STOPS_AT_IMPORT") == "child":
    subprocess.Popen(["sleep", "60"])


def _wait_for_all_children() -> None:
    while True:
        try:
            pid, _ = os.waitpid(-1, 0)
            journal.write(f"reaped {pid}")
        except ChildProcessError:
            time.sleep(0.001)


if os.environ.get("STOPS_AT_IMPORT") == "blocks":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD})
if os.environ.get("STOPS_AT_IMPORT") == "reaps":
    threading.Thread(target=_wait_for_all_children, daemon=True).start()
atexit.register(lambda: journal.write(f"exit {os.getpid()}"))


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    if environ["PATH_INFO"] == "/disarm":
        _disarm()
    if environ["PATH_INFO"] == "/hold":
        _hold()
    if environ["PATH_INFO"] == "/start":
        _start_what_goes_on()
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def _start_what_goes_on() -> None:
    """A thread and a process that Python would wait for at its exit."""
    threading.Thread(target=time.sleep, args=(60,)).start()
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    process.start()
    journal.write(f"child {process.pid}")


def _hold() -> None:
    """Log something that never comes to its end."""
    logging.getLogger().handlers[0].acquire()
    journal.write("held")
    time.sleep(60)


def _disarm() -> None:
    """Set every timer that a process has."""
    signal.alarm(0)
    for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
        signal.setitimer(timer, 0)
    journal.write("disarmed")
    while True:
        time.sleep(0.01)
        signal.setitimer(signal.ITIMER_REAL, 0)


async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await _start(os.environ.get("STOPS_AT_START", ""))
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})


async def _start(how: str) -> None:
    journal.write("starting")
    if how == "leave":
        os._exit(5)
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "hang":
        time.sleep(60)  # noqa: ASYNC251
    elif how == "thread":
        threading.Thread(target=time.sleep, args=(60,)).start()
        raise RuntimeError("deliberate: it cannot start")
    await asyncio.sleep(0)
