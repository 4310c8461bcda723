"""An ASGI application with a task factory, as libraries for tracing set one: here it makes mischief once."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from support.apps_asgi import Receive, Scope, Send, answer


def cancelled(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None], **options: Any) -> Any:
    """The task of the next request is cancelled before its first step."""
    loop.set_task_factory(None)
    task = asyncio.Task(work, loop=loop, **options)
    task.cancel()
    return task


def another(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None], **options: Any) -> Any:
    """The next request has a task that never runs what it was made for."""
    loop.set_task_factory(None)
    work.close()
    return asyncio.Task(asyncio.sleep(0), loop=loop, **options)


FACTORIES = {"/cancelled": cancelled, "/another": another}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise RuntimeError("deliberate: it is not known here")
    if scope["path"] in FACTORIES:
        asyncio.get_running_loop().set_task_factory(FACTORIES[scope["path"]])
    await answer(send, b"fine")
