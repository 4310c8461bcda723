"""An ASGI application that lives on its loop: what it makes at its start, or in one request, others go on with."""

import asyncio
import sys
import weakref
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

from starlette.responses import StreamingResponse

from support import journal
from support.apps_asgi import Message, Receive, Scope, Send, answer, part, read_all, start
from support.behaviour import Parameters, parameters, to_json

at_import: ContextVar[str] = ContextVar("at_import")
at_import.set("set")
in_request: ContextVar[Any] = ContextVar("in_request", default="unset")

made: dict[str, Any] = {"ticks": 0}
events: dict[str, asyncio.Event] = {}
kept: set[asyncio.Task[Any]] = set()


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    else:
        query = parameters(scope["query_string"].decode("latin-1"))
        await ROUTES[scope["path"]](scope, receive, send, query)


async def lifespan(receive: Receive, send: Send) -> None:
    await receive()
    made.update(loop=asyncio.get_running_loop(), queue=asyncio.Queue(), lock=asyncio.Lock())
    kept.update(map(asyncio.create_task, (tick(), consume(made["queue"]))))
    await send({"type": "lifespan.startup.complete"})
    await receive()
    same = asyncio.get_running_loop() is made["loop"]
    journal.write(f"shutdown on the loop of the startup: {same}")
    await send({"type": "lifespan.shutdown.complete"})


async def tick() -> None:
    while True:
        await asyncio.sleep(0.01)
        made["ticks"] += 1
        if made["ticks"] % 10 == 0:
            journal.write("ten ticks")


async def consume(queue: "asyncio.Queue[tuple[str, asyncio.Future[str]]]") -> None:
    """Answers what requests ask."""
    while True:
        question, reply = await queue.get()
        reply.set_result(question.upper())


async def about_loop(scope: Scope, receive: Receive, send: Send, query: Parameters) -> None:
    seen = {
        "same": asyncio.get_running_loop() is made["loop"],
        "a task": asyncio.current_task() is not None,
        "at import": at_import.get("unset"),
        "of another request": in_request.get(),
    }
    in_request.set("left behind")
    if "wait" in query:
        await asyncio.sleep(0)
        seen["of this request"] = in_request.get()
        seen["a task"] = asyncio.current_task() in asyncio.all_tasks()
    await answer(send, to_json(seen))


async def create(scope: Scope, receive: Receive, send: Send, query: Parameters) -> None:
    """Answer, and leave a task behind."""
    task = asyncio.create_task(later(query["token"]))
    kept.add(task)
    task.add_done_callback(kept.discard)
    await answer(send, b"{}")


async def later(token: str) -> None:
    for _ in range(3):
        await asyncio.sleep(0.02)
    journal.write(f"later {token}")


async def ask(scope: Scope, receive: Receive, send: Send, query: Parameters) -> None:
    """Use what was made at the start and is bound to its loop, and wait for it."""
    async with made["lock"]:
        reply: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        await made["queue"].put((query["what"], reply))
        await answer(send, to_json(await reply))


async def wait(scope: Scope, receive: Receive, send: Send, query: Parameters) -> None:
    """A long poll: answer when another request sets the event."""
    event = events.setdefault(query["token"], asyncio.Event())
    journal.write(f"waits {query['token']}")
    await event.wait()
    await answer(send, b"{}")


async def set_event(scope: Scope, receive: Receive, send: Send, query: Parameters) -> None:
    events.setdefault(query["token"], asyncio.Event()).set()
    await answer(send, b"{}")


async def sse(scope: Scope, receive: Receive, send: Send, query: Parameters) -> None:
    """Server-sent events by Starlette, to a client of which it learns by `send` alone."""

    async def lines() -> AsyncIterator[str]:
        try:
            while True:
                yield "data: tick\n\n"
                await asyncio.sleep(0.01)
        finally:
            journal.write(f"generator ended {query['token']}")

    await StreamingResponse(lines(), media_type="text/event-stream")(scope, receive, send)  # type: ignore[arg-type]


async def sse_in_group(scope: Scope, receive: Receive, send: Send, query: Parameters) -> None:
    """Server-sent events as sse-starlette makes them: one task has nothing to send, one waits for the disconnect."""

    async def stream() -> None:
        await start(send, [("Content-Type", "text/event-stream")])
        await part(send, b"data: first\n\n")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            journal.write(f"stream cancelled {query['token']}")
            raise

    streaming = asyncio.create_task(stream())
    await receive()
    message: Message = await receive()
    journal.write(f"{message['type']} {query['token']}")
    streaming.cancel()
    await asyncio.wait([streaming])


async def upload(scope: Scope, receive: Receive, send: Send, query: Parameters) -> None:
    """Read the body when the gate is open."""
    await journal.pass_gate_async(query["token"])
    await answer(send, to_json(len(await read_all(receive))))


async def go_on(scope: Scope, receive: Receive, send: Send, query: Parameters) -> None:
    """Answer, and go on until the gate is open."""
    await answer(send, b"{}")
    await journal.pass_gate_async(query["token"])
    await asyncio.sleep(0.05)
    journal.write(f"went on {query['token']}")


async def end(scope: Scope, receive: Receive, send: Send, query: Parameters) -> None:
    """What ends a process elsewhere, in a task of the request's."""

    async def raise_it() -> None:
        await asyncio.sleep(0)
        if query["how"] == "exit":
            sys.exit("deliberate")
        raise KeyboardInterrupt("deliberate")

    task = asyncio.create_task(raise_it())
    if "await" in query:
        await task
    else:
        await asyncio.wait([task])
        assert task.exception() is not None
    await answer(send, b"{}")


async def loop(scope: Scope, receive: Receive, send: Send, query: Parameters) -> None:
    """Meddle with the loop."""
    here: Any = asyncio.get_running_loop()
    if query["how"] == "stop":
        here.stop()
    elif query["how"] == "cancel":
        for task in asyncio.all_tasks() - {asyncio.current_task()} - kept:
            task.cancel()
    elif query["how"] == "close":
        here._poller.close()
    await asyncio.sleep(0)
    await answer(send, b"{}")


class Marker:
    """Whose end is noticed."""


async def leave_nothing(scope: Scope, receive: Receive, send: Send, query: Parameters) -> None:
    """Journal when nothing refers to what belongs to this request any more."""
    scope["marker"] = Marker()
    in_request.set(scope["marker"])
    weakref.finalize(scope["marker"], journal.write, f"gone {query['token']}")
    if "wait" in query:
        await asyncio.sleep(0)
    await read_all(receive)
    await answer(send, b"{}")


async def nothing(scope: Scope, receive: Receive, send: Send, query: Parameters) -> None:
    await answer(send, b"{}")


ROUTES = {
    "/": nothing,
    "/about-loop": about_loop,
    "/create": create,
    "/ask": ask,
    "/wait": wait,
    "/set": set_event,
    "/sse": sse,
    "/sse-in-group": sse_in_group,
    "/upload": upload,
    "/go-on": go_on,
    "/end": end,
    "/loop": loop,
    "/leave-nothing": leave_nothing,
}
