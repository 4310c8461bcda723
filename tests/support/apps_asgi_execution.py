"""An ASGI application that observes where it runs: on which loop, in which context.

One loop runs all of it in a process, from lifespan's start to its end; a request is a task on it, with a context of its
own. Routes do what applications do that rely on that.
"""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

from support import journal
from support.apps_asgi import Receive, Scope, Send, answer
from support.behaviour import Parameters, parameters, to_json

Route = Callable[[Scope, Parameters], Awaitable[Any]]

_owner: ContextVar[str] = ContextVar("owner")
_loops: list[asyncio.AbstractEventLoop] = []
"""All that have run a part of the application, so that no identity is used twice."""
_waiting: dict[str, tuple[asyncio.Event, asyncio.Task[bool]]] = {}
_questions: asyncio.Queue[asyncio.Future[str]] = asyncio.Queue()
_tasks: set[asyncio.Task[None]] = set()


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
        return
    query = parameters(scope["query_string"].decode("latin-1"))
    await answer(send, to_json(await ROUTES[scope["path"]](scope, query)))


async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    """With a task that ticks and one that answers questions, until the end."""
    await receive()
    scope["state"]["place"] = _place()
    tasks = [asyncio.create_task(_tick()), asyncio.create_task(_answer_questions())]
    await send({"type": "lifespan.startup.complete"})
    await receive()
    for each in tasks:
        each.cancel()
    await send({"type": "lifespan.shutdown.complete"})


async def _tick() -> None:
    while True:
        journal.write("tick")
        await asyncio.sleep(0.01)


async def _answer_questions() -> None:
    while True:
        (await _questions.get()).set_result("answered")


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


async def task(scope: Scope, query: Parameters) -> str:
    """Start a task that goes on after the answer, in a copy of the request's context."""
    _owner.set(query["token"])
    later = asyncio.create_task(_later())
    _tasks.add(later)
    later.add_done_callback(_tasks.discard)
    return "started"


async def _later() -> None:
    for _ in range(5):
        await asyncio.sleep(0.01)
    journal.write(f"task of {_owner.get()} has ended")


async def wait(scope: Scope, query: Parameters) -> str:
    """For another request to `wake` this one."""
    event = asyncio.Event()
    waiting = asyncio.create_task(event.wait())
    _waiting[query["token"]] = event, waiting
    journal.write(f"waiting {query['token']}")
    await waiting
    return "woken"


async def wake(scope: Scope, query: Parameters) -> str:
    """Wait for the other's task, too: asyncio refuses that between loops."""
    event, waiting = _waiting[query["token"]]
    event.set()
    await waiting
    return "wakes"


async def ask(scope: Scope, query: Parameters) -> str:
    """Have a task of lifespan's answer, as the connections of a pool are served by its tasks."""
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    await _questions.put(future)
    return await future


ROUTES: dict[str, Route] = {"/where": where, "/task": task, "/wait": wait, "/wake": wake, "/ask": ask}
