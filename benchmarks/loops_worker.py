"""One event loop at one piece of work, in a process of its own: `python loops_worker.py LOOP WORK [NUMBER]`.

A server prints `{"port": N}` (or a path) and serves until its standard input ends; the command that started it reads
this process's CPU clock. A piece of work without a peer measures itself, and prints CPU seconds and their number.
"""

import asyncio
import importlib
import json
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

LOOPS = {
    "asyncio": "asyncio:new_event_loop",
    "uvloop": "uvloop:new_event_loop",
    "rloop": "rloop:new_event_loop",
    "poll": "septet.loop:PollLoop",
    "epoll": "septet.loop:EpollLoop",
    "io_uring": "septet.loop:UringLoop",
}

DIRECTORY = os.getcwd()
"""Of the files, called 0, 1, 2 and so on."""


class Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class OneAnswer(Echo):
    """A connection for each request: answers, and closes."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)
        self.transport.close()


class EchoDatagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.transport.sendto(data, address)


async def echo_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


# -- servers


async def serve_protocol(protocol: Callable[[], asyncio.Protocol] = Echo) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    address = listener.getsockname()  # rloop takes the socket away
    server = await asyncio.get_running_loop().create_server(protocol, sock=listener, backlog=4096)
    await until_told(address)
    server.close()


async def serve_answers() -> None:
    await serve_protocol(OneAnswer)


async def serve_streams() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    address = listener.getsockname()
    server = await asyncio.start_server(echo_stream, sock=listener, backlog=4096)
    await until_told(address)
    server.close()


async def serve_unix() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-loops-") as directory:
        path = f"{directory}/socket"
        server = await asyncio.get_running_loop().create_unix_server(Echo, path)
        await until_told(path)
        server.close()


async def serve_datagrams() -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(EchoDatagrams, ("127.0.0.1", 0))
    await until_told(transport.get_extra_info("sockname"))
    transport.close()


def serve_hello(model: str) -> None:
    """Not a loop by itself, but Septet's server with an ASGI application on it."""
    from septet.cli import main

    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    print(json.dumps({"address": listener.getsockname()}), flush=True)
    threading.Thread(target=end_with_input, daemon=True).start()
    app = ["apps:asgi_hello", "--app-dir", os.path.dirname(__file__)]
    sys.argv = ["septet", "serve", *app, "--model", model, "--bind", f"fd://{listener.fileno()}"]
    main()


def end_with_input() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


async def until_told(address: Any) -> None:
    """Tell the address, and serve until standard input ends. Watched by a thread: not every loop reads a pipe."""
    print(json.dumps({"address": address}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


# -- work without a peer


async def chain(number: int) -> None:
    """call_soon, each from the one before."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def again(left: int) -> None:
        if left:
            loop.call_soon(again, left - 1)
        else:
            done.set_result(None)

    again(number)
    await done


async def timers(number: int) -> None:
    """All are set, and all come due."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    left = number

    def due() -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set_result(None)

    now = loop.time()
    for i in range(number):
        loop.call_at(now + (i * 7919 % number) / number, due)
    await done


async def switches(number: int) -> None:
    """Two tasks that give way to each other."""

    async def give_way() -> None:
        for _ in range(number // 2):
            await asyncio.sleep(0)

    await asyncio.gather(give_way(), give_way())


async def pipe(number: int) -> None:
    """A byte round by a pipe of the loop's reading end and writing end."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    reading, writing = os.pipe()
    left = number

    class Round(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            nonlocal left
            left -= 1
            if left:
                write.write(data)
            else:
                done.set_result(None)

    with os.fdopen(reading, "rb", 0) as reader, os.fdopen(writing, "wb", 0) as writer:
        read, _ = await loop.connect_read_pipe(Round, reader)
        write, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, writer)
        write.write(b"x" * 64)
        await done
        read.close()
        write.close()
        await asyncio.sleep(0.01)


async def files(number: int) -> None:
    """stat and read so many files of this directory, 64 at a time: by septet.loop.fs on our loops, else by aiofiles."""
    if hasattr(asyncio.get_running_loop(), "watch"):
        from septet.loop import fs

        async def once(path: str) -> int:
            status = await fs.stat(path)
            return len(await fs.read_bytes(path)) - status.st_size

    else:
        aiofiles = importlib.import_module("aiofiles")
        aiofiles_os = importlib.import_module("aiofiles.os")

        async def once(path: str) -> int:
            status = await aiofiles_os.stat(path)
            async with aiofiles.open(path, "rb") as file:
                return len(await file.read()) - status.st_size

    async def some(share: list[str]) -> None:
        for path in share:
            assert not await once(path)

    paths = [f"{DIRECTORY}/{i}" for i in range(number)]
    await asyncio.gather(*(some(paths[i::64]) for i in range(64)))


SERVERS: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
    "protocol": serve_protocol,
    "answers": serve_answers,
    "streams": serve_streams,
    "unix": serve_unix,
    "datagrams": serve_datagrams,
}
ALONE: dict[str, Callable[[int], Coroutine[Any, Any, None]]] = {
    "chain": chain,
    "timers": timers,
    "switches": switches,
    "pipe": pipe,
    "files": files,
}


def main() -> None:
    loop, work = sys.argv[1:3]
    if work == "hello":
        serve_hello(loop)
        return
    module, _, factory = LOOPS[loop].partition(":")
    with asyncio.Runner(loop_factory=getattr(importlib.import_module(module), factory)) as runner:
        if work in SERVERS:
            runner.run(SERVERS[work]())
            return
        number = int(sys.argv[3])
        runner.run(ALONE[work](number // 100))  # the interpreter's warm-up
        before = time.process_time()
        runner.run(ALONE[work](number))
        print(json.dumps({"cpu_s": time.process_time() - before, "count": number}))


if __name__ == "__main__":
    main()
