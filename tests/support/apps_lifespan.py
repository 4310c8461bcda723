"""ASGI applications that differ in their lifespan; each answers every request with 204."""

import asyncio
import os
import signal
import sys
import threading
import time
from typing import Any

from support import journal
from support.apps_asgi import Receive, Scope, Send
from support.behaviour import DeliberateError


async def _answer(send: Send) -> None:
    journal.write("request")
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


async def refuses(scope: Scope, receive: Receive, send: Send) -> None:
    """Start-up fails, and says why."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "the database is not there"})
    else:
        await _answer(send)


async def exits(scope: Scope, receive: Receive, send: Send) -> None:
    """Start-up ends the process, or would like to."""
    await receive()
    sys.exit("deliberate: the database is not there")


async def exits_with_number(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    sys.exit(0)


async def exits_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    """Before it has looked at what it is called for."""
    sys.exit("deliberate: at once")


async def raises(scope: Scope, receive: Receive, send: Send) -> None:
    """Start-up fails, and says so by an exception."""
    await receive()
    raise DeliberateError("deliberate: the database is not there")


async def forks(scope: Scope, receive: Receive, send: Send) -> None:
    """Start-up forks a child, which comes back from here."""
    if scope["type"] != "lifespan":
        await _answer(send)
        return
    await receive()
    child = os.fork()
    if child:
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        journal.write(f"child ended with {os.waitstatus_to_exitcode(status)}")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})


async def interrupts(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    raise KeyboardInterrupt


async def waits_for_ever(scope: Scope, receive: Receive, send: Send) -> None:
    """Start-up waits for something that does not come."""
    await receive()
    journal.write("starting")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        journal.write("startup cancelled")
        raise


async def is_told_in_its_thread(scope: Scope, receive: Receive, send: Send) -> None:
    """The thread that runs the startup gets the order to stop, as if the kernel had chosen it."""
    await receive()
    journal.write("starting")
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    await asyncio.Event().wait()


async def blocks_for_ever(scope: Scope, receive: Receive, send: Send) -> None:
    """The same without letting the loop go on."""
    await receive()
    journal.write("starting")
    time.sleep(3600)  # noqa: ASYNC251 - that is the fault


async def unsupported(scope: Scope, receive: Receive, send: Send) -> None:
    """Knows requests only: the specification tells servers to go on without lifespan."""
    if scope["type"] != "http":
        raise DeliberateError("deliberate: only http is known here")
    await _answer(send)


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    """Returns from lifespan without a word."""
    if scope["type"] == "http":
        await _answer(send)


async def slow(scope: Scope, receive: Receive, send: Send) -> None:
    """Takes its time to start and to stop; no request may come in between."""
    if scope["type"] != "lifespan":
        await _answer(send)
        return
    await receive()
    journal.write("starting")
    await asyncio.sleep(0.1)
    journal.write("started")
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await asyncio.sleep(0.1)
    journal.write("stopped")
    await send({"type": "lifespan.shutdown.complete"})


async def never_answers(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        journal.write("stopped")
        await send({"type": "lifespan.shutdown.complete"})
        return
    journal.write("request")
    try:
        await asyncio.Event().wait()
    finally:
        journal.write("cancelled")


async def cancels_all_tasks(scope: Scope, receive: Receive, send: Send) -> None:
    """Tidies up at its start and at its end, and leaves a task factory that makes none."""
    if scope["type"] != "lifespan":
        await _answer(send)
        return
    await receive()
    _cancel_others()
    await asyncio.sleep(0)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    _cancel_others()
    asyncio.get_running_loop().set_task_factory(_make_none)
    await asyncio.sleep(0)
    journal.write("stopped")
    await send({"type": "lifespan.shutdown.complete"})


def _cancel_others() -> None:
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


def _make_none(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> Any:
    raise DeliberateError("deliberate: no tasks")
