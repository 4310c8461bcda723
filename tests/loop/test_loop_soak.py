"""Clients that come and go as they like, in any order and half of them badly; afterwards nothing may be left.

SEPTET_SOAK_ROUNDS makes it longer: 400 rounds are a second or two, 100,000 some ten minutes.
"""

import asyncio
import gc
import os
import random
import socket
import struct
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from septet.loop import ReadinessLoop

Run = Callable[[Awaitable[Any]], Any]

ROUNDS = int(os.environ.get("SEPTET_SOAK_ROUNDS", "400"))
AT_A_TIME = 16
RESET = struct.pack("ii", 1, 0)
"""struct linger: on, 0 s. close() then resets the connection."""


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def echo(address: Any, chance: random.Random) -> None:
    data = chance.randbytes(chance.choice((1, 1000, 300_000)))
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(data)
        writer.write_eof()
        assert await reader.read() == data
    finally:
        # close() would wait for ever for a server that waits for us to read what it has sent.
        writer.transport.abort()


async def hang_up(address: Any, chance: random.Random) -> None:
    _, writer = await asyncio.open_connection(*address)
    try:
        writer.write(chance.randbytes(chance.choice((1, 300_000))))
        await asyncio.sleep(chance.choice((0, 0.002)))
    finally:
        writer.transport.abort()


async def reset(address: Any, chance: random.Random) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, address)
        await loop.sock_sendall(sock, b"x" * 10_000)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


async def raw(address: Any, chance: random.Random) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, address)
        await loop.sock_sendall(sock, b"ping")
        assert await loop.sock_recv(sock, 100) == b"ping"


async def child(address: Any, chance: random.Random) -> None:
    if chance.random() < 0.1:
        process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
        try:
            assert (await process.communicate(b"through a child"))[0] == b"through a child"
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def impatient(address: Any, chance: random.Random) -> None:
    """Any of the others, cancelled at some moment."""
    visit = chance.choice((echo, hang_up, raw))
    try:
        async with asyncio.timeout(chance.random() * 0.004):
            await visit(address, chance)
    except TimeoutError:
        pass


async def soak(seed: int) -> None:
    chance = random.Random(seed)
    before = asyncio.all_tasks()
    async with await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1000) as server:
        address = server.sockets[0].getsockname()
        left = ROUNDS

        async def visitor() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await chance.choice((echo, hang_up, reset, raw, child, impatient))(address, chance)

        await asyncio.gather(*(visitor() for _ in range(AT_A_TIME)))
    while asyncio.all_tasks() - before:  # noqa: ASYNC110 - the server's, which see their clients' ends
        await asyncio.sleep(0.001)


def test_nothing_is_left(loop: ReadinessLoop, run: Run) -> None:
    run(soak(1))  # what is made once: pipes, threads, watchers of children
    gc.collect()
    before = sorted(os.listdir("/proc/self/fd"))
    blocks = sys.getallocatedblocks()
    run(soak(2))

    async def all_is_closed() -> None:
        while loop._transports or sorted(os.listdir("/proc/self/fd")) != before:
            await asyncio.sleep(0.001)
            gc.collect()

    run(all_is_closed())
    assert (
        len(loop._interest.keys) + len(loop._interest.watchers) <= 2
    )  # the loop's own pipe, and asyncio's of children
    assert sys.getallocatedblocks() < blocks * 1.1 + 2000
