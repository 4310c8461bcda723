"""Applications whose answers end before they do, or never: for the WSGI and the ASGI contract."""

import asyncio
import ctypes
import gc
import logging
import threading

from septet.apps.asgi import Cycle
from support import journal
from support.apps_asgi import BINARY, answer, part, read_all, start
from support.behaviour import parameters, to_json


def wsgi(environ, start_response):
    query = parameters(environ["QUERY_STRING"])
    return WSGI[environ["PATH_INFO"]](start_response, query)


def plain(start_response, query):
    start_response("200 OK", [])
    return [b"fine"]


class Raising(logging.Handler):
    def emit(self, record):
        raise SystemExit("deliberate")


def log_raises(start_response, query):
    """With a log that fails, too."""
    logging.getLogger().addHandler(Raising())
    raise KeyError("deliberate")


def empties(start_response, query):
    """A part, and then nothing for ever."""
    start_response("200 OK", [])
    try:
        yield b"first"
        while True:
            yield b""
    finally:
        journal.write(f"closed {query['token']}")


def nothing(start_response, query):
    """No content at all, for ever."""
    start_response("200 OK", [])
    journal.write(f"begun {query['token']}")
    try:
        while True:
            yield b""
    finally:
        journal.write(f"closed {query['token']}")


def empty_writes(start_response, query):
    write = start_response("200 OK", [])
    try:
        write(b"first")
        while True:
            write(b"")
    finally:
        journal.write(f"closed {query['token']}")


def endless(start_response, query):
    start_response("200 OK", [])
    try:
        while True:
            yield b"more"
    finally:
        journal.write(f"closed {query['token']}")


def length(start_response, query):
    """All of the content, and then a wait."""
    start_response("200 OK", [("Content-Length", "5")])
    yield b"123"
    yield b"45"
    journal.pass_gate(query["gate"])


def late_exception(start_response, query):
    """Raised in the thread that has answered, when it waits for its client: as by a timeout that comes too late."""
    thread = ctypes.c_ulong(threading.get_ident())
    error = ctypes.py_object(SystemExit)
    threading.Timer(0.05, ctypes.pythonapi.PyThreadState_SetAsyncExc, (thread, error)).start()
    start_response("200 OK", [])
    return [b"fine"]


WSGI = {
    "/": plain,
    "/log-raises": log_raises,
    "/empties": empties,
    "/nothing": nothing,
    "/empty-writes": empty_writes,
    "/endless": endless,
    "/length": length,
    "/late-exception": late_exception,
}


async def asgi(scope, receive, send):
    if scope["type"] == "http":
        query = parameters(scope["query_string"].decode("latin-1"))
        await ASGI[scope["path"]](receive, send, query)


async def fine(receive, send, query):
    await answer(send, b"fine")


async def length_and_wait(receive, send, query):
    """All of the content, and then a wait before the last message, which says more than was promised."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"12345", "more_body": True})
    await journal.pass_gate_async(query["gate"])
    await send({"type": "http.response.body", "body": b"6"})
    journal.write(f"passed {query['gate']}")


async def unless_left(receive, send, query):
    """An answer that takes a second, and is given up when the client has left: as Django does it."""
    await read_all(receive)
    listener = asyncio.create_task(receive())
    work = asyncio.create_task(asyncio.sleep(1))
    await asyncio.wait([listener, work], return_when=asyncio.FIRST_COMPLETED)
    if not listener.done():
        await answer(send, b"fine")
    await asyncio.gather(listener, work)


async def goes_on(receive, send, query):
    await answer(send, b"fine")
    await journal.pass_gate_async(query["gate"])


async def stream(receive, send, query):
    await start(send, [BINARY])
    try:
        while True:
            await part(send, b"more")
    finally:
        journal.write(f"closed {query['token']}")


async def log_raises_too(receive, send, query):
    log_raises(None, query)


async def cycles(receive, send, query):
    """How many requests are remembered; after a wait, without which a request has no task of its own."""
    await asyncio.sleep(0.001)
    gc.collect()
    count = sum(isinstance(one, Cycle) for one in gc.get_objects())
    await answer(send, to_json(count))


async def raises_on_the_loop(receive, send, query):
    """What a task and a callback of the loop raise comes out of the loop that runs them."""

    async def task() -> None:
        raise SystemExit("deliberate")

    loop = asyncio.get_running_loop()
    query["kept"] = asyncio.create_task(task())
    loop.call_soon(raise_deliberately)
    loop.call_later(0.01, raise_deliberately)
    await answer(send, b"fine")


def raise_deliberately():
    raise KeyboardInterrupt("deliberate")


ASGI = {
    "/": fine,
    "/log-raises": log_raises_too,
    "/length": length_and_wait,
    "/unless-left": unless_left,
    "/goes-on": goes_on,
    "/endless": stream,
    "/cycles": cycles,
    "/raises-on-the-loop": raises_on_the_loop,
}
