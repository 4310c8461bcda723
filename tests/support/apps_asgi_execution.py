"""An ASGI application that observes where it runs: on which loop, in which context.

One loop runs all of it in a process, from lifespan's start to its end; a request is a task on it, with a context of its
own.
"""

import asyncio
import os
import threading
from contextvars import ContextVar
from typing import Any

from support.apps_asgi import Receive, Scope, Send, answer
from support.behaviour import Parameters, parameters, to_json

_owner: ContextVar[str] = ContextVar("owner")
_loops: list[asyncio.AbstractEventLoop] = []
"""All that have run a part of the application, so that no identity is used twice."""


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
        return
    query = parameters(scope["query_string"].decode("latin-1"))
    await answer(send, to_json(await where(scope, query)))


async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    scope["state"]["place"] = _place()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


def _place() -> list[int]:
    """Process, loop and thread."""
    loop = asyncio.get_running_loop()
    if loop not in _loops:
        _loops.append(loop)
    return [os.getpid(), _loops.index(loop), threading.get_ident()]


async def where(scope: Scope, query: Parameters) -> dict[str, Any]:
    """Before and after a wait, in which other requests set the same variable."""
    before, place = _owner.get(""), _place()
    _owner.set(query["token"])
    await asyncio.sleep(0.01)
    after = [_owner.get(), asyncio.current_task() is not None, _place() == place]
    return {"before": before, "after": after, "place": place, "lifespan": scope["state"]["place"]}
