"""A receive that is cancelled, at any point, has not taken a byte: random schedules, by a seed.

Most cancellations must fall between the arrival of something and the turn of the task that waits for it, so they come a
few turns of the loop after it was sent. What counts in the end is that all that was sent was received, in order.
"""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import pytest

from septet.loop import ReadinessLoop, fs
from support.processes import has_open

T = TypeVar("T")
Run = Callable[[Awaitable[Any]], Any]

STEPS = 300
TURNS = 6
"""Turns of the loop after which a receive is complete, on every loop, if data is there."""


@pytest.fixture(params=range(3))
def chance(request: pytest.FixtureRequest) -> Random:
    return Random(request.param)


@pytest.fixture(params=["tcp", "unix"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def connected(family: str) -> tuple[socket.socket, socket.socket]:
    """Two ends of a stream, non-blocking."""
    if family == "unix":
        here, there = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            here = socket.create_connection(listener.getsockname())
            there, _ = listener.accept()
    here.setblocking(False)
    there.setblocking(False)
    return here, there


async def cut_short(chance: Random, what: Coroutine[Any, Any, T], begun: Callable[[], object] = bool) -> T | None:
    """The result, or None if a cancellation came first. `begun` is called when `what` waits, or soon after."""
    task = asyncio.ensure_future(what)
    for turn in range(chance.randrange(TURNS)):
        if turn == 1:
            begun()
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        return await task
    return None


@pytest.mark.parametrize("call", ["sock_recv", "sock_recv_into", "sock_recvfrom", "sock_recvfrom_into"])
def test_sockets(loop: ReadinessLoop, run: Run, chance: Random, family: str, call: str) -> None:
    got, sent = bytearray(), bytearray()
    buffer = bytearray(64)

    async def receive(sock: socket.socket) -> bytes:
        if call == "sock_recv":
            return await loop.sock_recv(sock, 64)
        if call == "sock_recv_into":
            return bytes(buffer[: await loop.sock_recv_into(sock, buffer)])
        if call == "sock_recvfrom":
            return (await loop.sock_recvfrom(sock, 64))[0]
        return bytes(buffer[: (await loop.sock_recvfrom_into(sock, buffer))[0]])

    async def main() -> None:
        here, there = connected(family)
        with here, there:

            def send() -> None:
                data = chance.randbytes(chance.randrange(1, 100))
                sent.extend(data)
                there.send(data)

            for _ in range(STEPS):
                got.extend(await cut_short(chance, receive(here), send) or b"")
            there.shutdown(socket.SHUT_WR)
            while data := await receive(here):
                got.extend(data)

    run(main())
    assert got == sent


def test_clients(loop: ReadinessLoop, run: Run, chance: Random) -> None:
    """sock_accept: no client is lost."""
    accepted: list[Any] = []
    connected: list[Any] = []

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=STEPS) as listener:
            listener.setblocking(False)

            def connect() -> None:
                with socket.create_connection(listener.getsockname()) as client:
                    connected.append(client.getsockname())

            async def accept() -> None:
                client, address = await loop.sock_accept(listener)
                client.close()
                accepted.append(address)

            for _ in range(STEPS // 3):
                await cut_short(chance, accept(), connect)
            while len(accepted) < len(connected):
                await accept()

    run(main())
    assert accepted == connected


@asynccontextmanager
async def stream(family: str) -> AsyncIterator[tuple[asyncio.StreamReader, socket.socket]]:
    here, there = connected(family)
    open_connection: Any = asyncio.open_connection if family == "tcp" else asyncio.open_unix_connection
    reader, writer = await open_connection(sock=here, limit=256)
    with there:
        yield reader, there
    writer.transport.abort()


def test_streams(run: Run, loop: ReadinessLoop, chance: Random, family: str) -> None:
    got, sent = bytearray(), bytearray()

    async def main() -> None:
        async with stream(family) as (reader, there):

            def send() -> None:
                data = chance.randbytes(chance.randrange(1, 300))
                sent.extend(data)
                there.send(data)

            for _ in range(STEPS):
                read = chance.choice((reader.read, reader.readexactly))
                got.extend(await cut_short(chance, read(chance.randrange(1, 200)), send) or b"")
            there.shutdown(socket.SHUT_WR)
            got.extend(await reader.read())

    run(main())
    assert got == sent


class Collector(asyncio.Protocol):
    """Collects data, and fails if it gets any while reading is paused."""

    def __init__(self, got: bytearray) -> None:
        self.got = got
        self.deaf = False
        self.ended = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        assert not self.deaf
        self.got += data

    def eof_received(self) -> None:
        assert not self.deaf
        self.ended.set_result(None)


class BufferedCollector(asyncio.BufferedProtocol):
    """A `Collector` with a small buffer of its own."""

    def __init__(self, got: bytearray) -> None:
        self.got = got
        self.buffer = bytearray(7)
        self.deaf = False
        self.ended = asyncio.get_running_loop().create_future()

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        assert not self.deaf
        self.got += self.buffer[:nbytes]

    def eof_received(self) -> None:
        self.ended.set_result(None)


def test_transports(loop: ReadinessLoop, run: Run, chance: Random, family: str) -> None:
    """Reading is paused and resumed, and the protocol is replaced, at any moment."""
    got, sent = bytearray(), bytearray()
    contexts: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))

    async def main() -> None:
        here, there = connected(family)
        create: Any = loop.create_connection if family == "tcp" else loop.create_unix_connection
        transport, protocol = await create(lambda: Collector(got), sock=here)
        with there:
            for _ in range(STEPS):
                act = chance.randrange(5)
                if act == 0:
                    transport.pause_reading()
                    protocol.deaf = True
                elif act == 1:
                    protocol.deaf = False
                    transport.resume_reading()
                elif act == 2:
                    other = chance.choice((Collector, BufferedCollector))(got)
                    other.deaf = protocol.deaf
                    transport.set_protocol(other)
                    protocol = other
                else:
                    data = chance.randbytes(chance.choice((1, 50, 10_000)))
                    with suppress(BlockingIOError):  # it is full when reading is paused for long
                        sent.extend(data[: there.send(data)])
                for _ in range(chance.randrange(3)):
                    await asyncio.sleep(0)
            there.shutdown(socket.SHUT_WR)
            for _ in range(chance.randrange(TURNS)):
                await asyncio.sleep(0)
            protocol.deaf = False
            transport.resume_reading()
            await protocol.ended
        transport.abort()

    run(main())
    assert got == sent
    assert contexts == []


def test_files(run: Run, loop: ReadinessLoop, chance: Random, tmp_path: Path) -> None:
    """A cancelled read has not moved the position: the next one returns the same data."""
    content = chance.randbytes(100_000)
    got = bytearray()
    (tmp_path / "file").write_bytes(content)

    async def main() -> None:
        async with await fs.open(tmp_path / "file") as file:
            for _ in range(STEPS // 3):
                got.extend(await cut_short(chance, file.read(chance.randrange(1, 500))) or b"")
            got.extend(await file.read())

    run(main())
    assert got == content


def test_file_is_closed_though_nobody_waits_for_it(loop: ReadinessLoop, run: Run, tmp_path: Path) -> None:
    """The one thread that closes files is busy when close() is cancelled."""
    (tmp_path / "file").touch()
    go_on = threading.Event()

    async def main() -> None:
        with ThreadPoolExecutor(1) as pool:
            loop.set_default_executor(pool)
            file = await fs.open(tmp_path / "file")
            busy = loop.run_in_executor(None, go_on.wait)
            closing = asyncio.ensure_future(file.close())
            await asyncio.sleep(0)
            closing.cancel()
            await asyncio.wait([closing])
            go_on.set()
            await busy
        assert not has_open(os.getpid(), tmp_path / "file")

    run(main())


class Sluggish(ThreadPoolExecutor):
    """Its threads begin to write when `go_on` is set, and do everything else at once."""

    def __init__(self, go_on: threading.Event) -> None:
        super().__init__(4)
        self.go_on = go_on
        self.writing = threading.Event()
        self.written = threading.Event()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.go_on.set()  # else a test that fails would wait for ever
        super().shutdown(wait, cancel_futures=cancel_futures)

    def submit(self, errand: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        return super().submit(self.work, errand, *args, **kwargs)

    def work(self, errand: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        if os.pwrite not in (errand, *args):
            return errand(*args, **kwargs)
        self.writing.set()
        self.go_on.wait()
        try:
            return errand(*args, **kwargs)
        finally:
            self.written.set()


@contextmanager
def opened_as(descriptor: int, path: Path) -> Iterator[None]:
    """Open a file until it has the number `descriptor`: what was garbage may have given a lower one back meanwhile."""
    taken: list[int] = []
    try:
        while descriptor not in taken:
            taken.append(os.open(path, os.O_WRONLY | os.O_CREAT))
            assert len(taken) < 100, f"{descriptor} is not free: {os.readlink(f'/proc/self/fd/{descriptor}')}"
        yield
    finally:
        for number in taken:
            os.close(number)


def test_write_that_was_left_alone_does_not_meet_another_file(loop: ReadinessLoop, run: Run, tmp_path: Path) -> None:
    """The write begins late, when its file is closed and the descriptor's number is another file's."""
    go_on = threading.Event()
    # This makes the loop's self-pipe. Otherwise the loop makes it when it first waits, which may be while the file's
    # number is free.
    loop.add_signal_handler(signal.SIGUSR1, lambda: None)

    async def main() -> None:
        with Sluggish(go_on) as pool:
            loop.set_default_executor(pool)
            file = await fs.open(tmp_path / "file", "wb")
            descriptor = file.fileno()
            writing = asyncio.ensure_future(file.write(b"to the first"))
            await asyncio.sleep(0)
            if not hasattr(loop, "ring"):  # which needs no thread
                pool.writing.wait()
            writing.cancel()
            await asyncio.wait([writing])
            await file.close()
            with opened_as(descriptor, tmp_path / "other"):
                go_on.set()
                if not hasattr(loop, "ring"):
                    pool.written.wait()

    run(main())
    assert (tmp_path / "other").read_bytes() == b""
