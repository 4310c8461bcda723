"""What a loop is put through: each function is one visitor, who does something at random and checks what it sees.

A visitor may be cancelled at any moment, and then leaves nothing behind. `Place` is where they meet: the servers of one
round. Chance is a `random.Random`, so a seed tells what is done, though not how it is interleaved.
"""

import asyncio
import os
import signal
import socket
import struct
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any

from septet.loop import fs

RESET = struct.pack("ii", 1, 0)
"""struct linger: on, 0 s. close() then resets the connection."""

SIZES = (1, 1000, 60_000, 300_000)

Visit = Callable[["Place", Random], Awaitable[None]]


@dataclass
class Place:
    """The servers of a round, and a directory."""

    tcp: tuple[str, int]
    unix: str
    udp: tuple[str, int]
    directory: str
    """Not a Path, which interns the name of every file: the interpreter's table of names grows by a megabyte once."""


# -- servers


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes, to its end."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


class EchoDatagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport  # before Python 3.12 asyncio's own is no DatagramTransport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(data, addr)


# -- connections


async def _connect(place: Place, chance: Random) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if chance.random() < 0.3:
        return await asyncio.open_unix_connection(place.unix)
    return await asyncio.open_connection(*place.tcp)


async def echo(place: Place, chance: Random) -> None:
    """To the end of the stream, which we shut down first (half-closed) or after the answer."""
    data = chance.randbytes(chance.choice(SIZES))
    reader, writer = await _connect(place, chance)
    try:
        writer.write(data)
        if chance.random() < 0.5:
            writer.write_eof()
            assert await reader.read() == data
        else:
            assert await reader.readexactly(len(data)) == data
    finally:
        # close() would wait for ever for a server that waits for us to read what it has sent.
        writer.transport.abort()


async def hang_up(place: Place, chance: Random) -> None:
    _, writer = await _connect(place, chance)
    try:
        writer.write(chance.randbytes(chance.choice(SIZES)))
        await asyncio.sleep(chance.choice((0, 0.002)))
    finally:
        writer.transport.abort()


async def reset(place: Place, chance: Random) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, place.tcp)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        await loop.sock_sendall(sock, b"x" * 10_000)


async def raw(place: Place, chance: Random) -> None:
    """The loop's own calls on a socket."""
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, place.tcp)
        await loop.sock_sendall(sock, b"ping")
        buffer = bytearray(4)
        assert await loop.sock_recv_into(sock, buffer) == 4
        assert buffer == b"ping"


class Faltering(asyncio.Protocol):
    """Takes `size` bytes, and looks away from time to time."""

    def __init__(self, chance: Random, size: int) -> None:
        self.chance = chance
        self.left = size
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.left -= len(data)
        if not self.left:
            if not self.done.done():
                self.done.set_result(None)
        elif self.chance.random() < 0.3:
            self.transport.pause_reading()
            asyncio.get_running_loop().call_later(self.chance.random() * 0.002, self.transport.resume_reading)

    def connection_lost(self, exc: Exception | None) -> None:
        self.done.cancel()


async def falter(place: Place, chance: Random) -> None:
    data = chance.randbytes(chance.choice(SIZES))
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_connection(lambda: Faltering(chance, len(data)), *place.tcp)
    try:
        transport.write(data)
        await protocol.done
    finally:
        transport.abort()


async def datagram(place: Place, chance: Random) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(place.udp)
        await loop.sock_sendall(sock, b"ping")
        assert await loop.sock_recv(sock, 100) == b"ping"


# -- processes, signals, threads, timers


async def child(place: Place, chance: Random) -> None:
    """Now and then, for it costs much: one that is talked to, or one that is killed."""
    if chance.random() > 0.1:
        return
    process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    try:
        if chance.random() < 0.5:
            process.send_signal(chance.choice((signal.SIGKILL, signal.SIGTERM)))
            await process.wait()
        else:
            assert (await process.communicate(b"through a child"))[0] == b"through a child"
    finally:
        if process.returncode is None:
            process.kill()
            await _at_all_costs(process.wait())
        # A pipe whose transport has not seen the end of the process's output would stay open.
        process._transport.close()  # type: ignore[attr-defined]


async def _at_all_costs(what: Awaitable[object]) -> None:
    """Also if we are cancelled once more meanwhile."""
    task = asyncio.ensure_future(what)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(task)


_handled = 0


def on_signal() -> None:
    global _handled
    _handled += 1


async def send_signal(place: Place, chance: Random) -> None:
    """The loop's handler, which is `on_signal`, is called; signals that come at once count as one."""
    before = _handled
    os.kill(os.getpid(), signal.SIGUSR1)
    while _handled == before:  # noqa: ASYNC110 - the handler may be called for several visitors at once
        await asyncio.sleep(0.001)


async def timers(place: Place, chance: Random) -> None:
    loop = asyncio.get_running_loop()
    rung: list[int] = []
    handles = [loop.call_later(chance.random() * 0.005, rung.append, i) for i in range(50)]
    for handle in handles[::2]:
        handle.cancel()
    try:
        await asyncio.sleep(0.006)
        assert set(rung) >= set(range(1, 50, 2))
    finally:
        for handle in handles:
            handle.cancel()


async def executor(place: Place, chance: Random) -> None:
    loop = asyncio.get_running_loop()
    assert await loop.run_in_executor(None, sum, range(1000)) == 499_500
    infos = await loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
    assert infos


async def other_thread(place: Place, chance: Random) -> None:
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(done.set))
    thread.start()
    try:
        await done.wait()
    finally:
        thread.join()


# -- files


async def files(place: Place, chance: Random) -> None:
    data = chance.randbytes(chance.choice(SIZES))
    path = f"{place.directory}/{chance.getrandbits(64):x}"
    try:
        async with await fs.open(path, "w+b") as file:
            await file.write(data)
            file.seek(0)
            assert await file.read() == data
        assert (await fs.stat(path)).st_size == len(data)
        assert await fs.read_bytes(path) == data
    finally:
        with suppress(FileNotFoundError):
            os.unlink(path)


async def watch(place: Place, chance: Random) -> None:
    path = f"{place.directory}/watched-{chance.getrandbits(64):x}"
    os.mkdir(path)
    try:
        async with fs.watch(path) as changes:
            os.close(os.open(f"{path}/new", os.O_CREAT | os.O_WRONLY))
            async for change in changes:
                assert change.path == f"{path}/new", change
                if change.kind == "written":
                    break
    finally:
        with suppress(FileNotFoundError):
            os.unlink(f"{path}/new")
        os.rmdir(path)


# -- at random

WHOLE: tuple[Visit, ...] = (
    echo,
    hang_up,
    reset,
    raw,
    falter,
    datagram,
    child,
    send_signal,
    timers,
    executor,
    other_thread,
    files,
    watch,
)


async def impatient(place: Place, chance: Random) -> None:
    """Any of them, cancelled at some moment."""
    visit = chance.choice(WHOLE)
    with suppress(TimeoutError):
        async with asyncio.timeout(chance.random() * 0.01):
            await visit(place, chance)


async def abrupt(place: Place, chance: Random) -> None:
    """Any of them, cancelled after some turns of the loop: often before anything can have come."""
    task = asyncio.ensure_future(chance.choice(WHOLE)(place, chance))
    for _ in range(chance.randrange(12)):
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    if sys.exc_info()[0] is not None:
        raise AssertionError("a cancellation is still on its way")


VISITS: tuple[Visit, ...] = (*WHOLE, impatient, impatient, abrupt, abrupt)
