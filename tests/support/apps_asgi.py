"""The fixture application as ASGI 3; see `behaviour` for what its routes do, and `apps_wsgi` for its twin."""

import os
import threading
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Any

from support import asgi_tasks, journal
from support.behaviour import (
    BAD_FIELDS,
    GOOD_FIELDS,
    Parameters,
    error,
    expecting_refusal,
    length_field,
    parameters,
    parts,
    received,
    to_json,
)
from support.messages import pattern

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Route = Callable[[Scope, Receive, Send, Parameters], Awaitable[None]]
Fields = list[tuple[str, str]]

JSON = ("Content-Type", "application/json")
BINARY = ("Content-Type", "application/octet-stream")


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
        return
    assert scope["type"] == "http", scope["type"]
    route = ROUTES.get(scope["path"], echo)
    await route(scope, receive, send, parameters(scope["query_string"].decode("latin-1")))


def factory() -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    return app


async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    assert (await receive())["type"] == "lifespan.startup"
    journal.write("startup")
    scope["state"]["started"] = "yes"
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    journal.write("shutdown")
    await send({"type": "lifespan.shutdown.complete"})


async def start(send: Send, fields: Fields, status: int = 200) -> None:
    encoded = [(name.encode("latin-1").lower(), value.encode("latin-1")) for name, value in fields]
    await send({"type": "http.response.start", "status": status, "headers": encoded})


async def part(send: Send, body: bytes, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def answer(send: Send, body: bytes) -> None:
    await start(send, [JSON, ("Content-Length", str(len(body)))])
    await part(send, body, more=False)


async def read_all(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionAbortedError("deliberate: the client left while the body was read")
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)


async def echo(scope: Scope, receive: Receive, send: Send, query: Parameters) -> None:
    """The request as the application sees it; repeated fields joined as WSGI's servers join them."""
    body = await read_all(receive)
    fields: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        separator = "; " if name == "cookie" else ","
        fields[name] = f"{fields[name]}{separator}{value}" if name in fields else value
    seen = {
        "method": scope["method"],
        "path": scope["path"],
        "query": scope["query_string"].decode("latin-1"),
        "version": scope["http_version"],
        "scheme": scope["scheme"],
        "fields": fields,
        "client": scope["client"] or ["", 0],
        "server": scope["server"],
        "body": body.decode("latin-1"),
    }
    await answer(send, to_json(seen))


async def read(scope: Scope, receive: Receive, send: Send, query: Parameters) -> None:
    """Read the body, or its first message, or nothing of it."""
    if query["how"] == "none":
        body = b""
    elif query["how"] == "first":
        body = (await receive())["body"]
    else:
        body = await read_all(receive)
    await answer(send, received(body))


async def send_parts(scope: Scope, receive: Receive, send: Send, query: Parameters) -> None:
    """A body of a given size, in parts."""
    wrong_length = query.get("length", "auto") != "auto"
    with expecting_refusal(query) if wrong_length else nullcontext():
        await start(send, [BINARY, *length_field(query)])
        for body in parts(query):
            await part(send, body)
        await part(send, b"", more=False)


async def send_whole(scope: Scope, receive: Receive, send: Send, query: Parameters) -> None:
    """The same in one message."""
    await start(send, [BINARY, *length_field(query)])
    await part(send, pattern(int(query["size"])), more=False)


async def status(scope: Scope, receive: Receive, send: Send, query: Parameters) -> None:
    """A status of choice, with a body even where none is allowed."""
    await start(send, [BINARY, *length_field(query)], int(query["code"]))
    await part(send, query.get("body", "").encode(), more=False)


async def fields(scope: Scope, receive: Receive, send: Send, query: Parameters) -> None:
    await start(send, [BINARY, *GOOD_FIELDS])
    await part(send, b"body", more=False)


async def bad_field(scope: Scope, receive: Receive, send: Send, query: Parameters) -> None:
    with expecting_refusal(query):
        await start(send, [BINARY, BAD_FIELDS[query["kind"]]])
        await part(send, b"X-Injected: in the body", more=False)


async def fail(scope: Scope, receive: Receive, send: Send, query: Parameters) -> None:
    """Raise at the moment that `when` names."""
    if query["when"] == "before start":
        raise error(query)
    await start(send, [BINARY, *length_field(query)])
    if query["when"] == "after start":
        raise error(query)
    await part(send, b"the first part")
    if query["when"] == "second part":
        raise error(query)
    await part(send, b"", more=False)
    raise error(query)


async def silent(scope: Scope, receive: Receive, send: Send, query: Parameters) -> None:
    """Return without an answer."""


async def unfinished(scope: Scope, receive: Receive, send: Send, query: Parameters) -> None:
    """Return in the middle of an answer."""
    await start(send, [BINARY])
    await part(send, b"the first part")


async def wrong_message(scope: Scope, receive: Receive, send: Send, query: Parameters) -> None:
    """Send what no specification knows, or what is out of turn."""
    with expecting_refusal(query):
        if query["kind"] == "unknown":
            await send({"type": "http.nonsense"})
        elif query["kind"] == "body first":
            await part(send, b"a body without a start")
        else:
            await start(send, [BINARY])
            await start(send, [BINARY])


async def gate(scope: Scope, receive: Receive, send: Send, query: Parameters) -> None:
    """Send a first part (with `first`), wait at the gate, send the rest."""
    await start(send, [BINARY])
    if "first" in query:
        await part(send, b"first")
    await journal.pass_gate_async(query["gate"])
    await part(send, b"rest", more=False)


async def endless(scope: Scope, receive: Receive, send: Send, query: Parameters) -> None:
    """Parts for ever (bounded, so that a server without back-pressure ends), from when a `gate` is open; journals how
    many were taken."""
    body, taken = pattern(1 << 16), 0
    if "gate" in query:
        await journal.pass_gate_async(query["gate"])
    await start(send, [BINARY])
    try:
        while taken < 4096:
            await part(send, body)
            taken += 1
    finally:
        journal.write(f"closed {query['token']}")
        journal.write(f"parts of {query['token']}: {taken}")


async def spoil(scope: Scope, receive: Receive, send: Send, query: Parameters) -> None:
    """Change the scope; the next request must not see it."""
    names = [name.decode() for name, _ in scope["headers"]]
    stale = sorted({"contract.stale", "x-stale"} & {*scope, *scope["state"], *names})
    host = dict(scope["headers"])[b"host"].decode()
    scope["contract.stale"] = scope["state"]["contract.stale"] = "stale"
    if isinstance(scope["headers"], list):
        scope["headers"][:] = [(b"host", b"stale"), (b"x-stale", b"stale")]
    await answer(send, to_json({"stale": stale, "host": host}))


async def info(scope: Scope, receive: Receive, send: Send, query: Parameters) -> None:
    """Where the application runs, and its scope's less used keys."""
    seen = {
        "pid": os.getpid(),
        "thread": threading.get_ident(),
        "type": scope["type"],
        "asgi": scope["asgi"],
        "raw_path": scope["raw_path"].decode("latin-1"),
        "root_path": scope.get("root_path", ""),
        "state": scope["state"],
        "kinds": [type(name).__name__ + type(value).__name__ for name, value in scope["headers"]],
    }
    await answer(send, to_json(seen))


async def after_answer(scope: Scope, receive: Receive, send: Send, query: Parameters) -> None:
    """Journal what receive() gives after the body, and after the answer."""
    await read_all(receive)
    await answer(send, b"{}")
    journal.write(f"after answer {query['token']}: {(await receive())['type']}")


async def client_leaves(scope: Scope, receive: Receive, send: Send, query: Parameters) -> None:
    """Journal what receive() gives when the client goes away before its answer."""
    await read_all(receive)
    journal.write(f"body read {query['token']}")
    journal.write(f"client left {query['token']}: {(await receive())['type']}")


async def tasks(scope: Scope, receive: Receive, send: Send, query: Parameters) -> None:
    """Do what asynchronous applications do, and answer with what came of it."""
    await answer(send, to_json(await asgi_tasks.TASKS[query["name"]](query)))


ROUTES: dict[str, Route] = {
    "/read": read,
    "/send": send_parts,
    "/send-whole": send_whole,
    "/status": status,
    "/fields": fields,
    "/bad-field": bad_field,
    "/fail": fail,
    "/silent": silent,
    "/unfinished": unfinished,
    "/wrong-message": wrong_message,
    "/gate": gate,
    "/endless": endless,
    "/spoil": spoil,
    "/info": info,
    "/after-answer": after_answer,
    "/client-leaves": client_leaves,
    "/tasks": tasks,
}
