"""What asynchronous applications do with their event loop, one coroutine a subject; each returns what came of it."""

import asyncio
import contextvars
import socket
import threading
from collections.abc import Awaitable, Callable

from support.behaviour import Parameters

_variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def gather(query: Parameters) -> object:
    """Two tasks that need each other: neither ends alone."""
    first, second = asyncio.Event(), asyncio.Event()

    async def meet(mine: asyncio.Event, other: asyncio.Event, value: int) -> int:
        mine.set()
        await other.wait()
        await asyncio.sleep(0.001)
        return value

    return await asyncio.gather(meet(first, second, 1), meet(second, first, 2))


async def thread(query: Parameters) -> object:
    """A function in another thread than the loop's."""
    return await asyncio.to_thread(threading.get_ident) != threading.get_ident()


async def connection(query: Parameters) -> object:
    """A stream to another server."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(query["port"]))
    writer.write(b"GET / HTTP/1.1\r\nHost: example.test\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer.partition(b"\r\n")[0].decode()


async def own_server(query: Parameters) -> object:
    """A server of the application's own, and a client to it, on the same loop."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello\n")
        line = await reader.readline()
        writer.close()
        await writer.wait_closed()
    return line.decode()


async def names(query: Parameters) -> object:
    """A look-up of a name."""
    found = await asyncio.get_running_loop().getaddrinfo("localhost", 80, family=socket.AF_INET)
    return found[0][4][0]


async def timeout(query: Parameters) -> object:
    """A time-out that strikes."""
    try:
        async with asyncio.timeout(0.01):
            await asyncio.get_running_loop().create_future()
    except TimeoutError:
        return "timed out"
    return None


async def call_later(query: Parameters) -> object:
    """Timers, called in the order of their times."""
    loop = asyncio.get_running_loop()
    called: list[str] = []
    done = loop.create_future()
    loop.call_later(0.02, done.set_result, None)
    loop.call_later(0.01, called.append, "second")
    loop.call_soon(called.append, "first")
    await done
    return called


async def context(query: Parameters) -> object:
    """A context variable that ends with its request."""
    before = _variable.get()
    _variable.set("set")
    return [before, await asyncio.to_thread(_variable.get)]


async def cancel(query: Parameters) -> object:
    """A task that is cancelled."""
    task = asyncio.create_task(asyncio.sleep(60))
    await asyncio.sleep(0)
    task.cancel()
    return (await asyncio.gather(task, return_exceptions=True))[0].__class__.__name__


TASKS: dict[str, Callable[[Parameters], Awaitable[object]]] = {
    "gather": gather,
    "thread": thread,
    "connection": connection,
    "own_server": own_server,
    "names": names,
    "timeout": timeout,
    "call_later": call_later,
    "context": context,
    "cancel": cancel,
}
