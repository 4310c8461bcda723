"""Reading ends of pipes: what CPython's own tests, which run on every loop, leave out."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

Run = Callable[[Awaitable[Any]], Any]


class Reader(asyncio.Protocol):
    """Collects data."""

    def __init__(self) -> None:
        self.data = b""
        self.came = asyncio.Event()
        self.over = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.came.set()
        if data == b"fail":
            raise ValueError("as it was told")

    def connection_lost(self, exc: Exception | None) -> None:
        self.over.set()


@pytest.fixture
def ends() -> Iterator[tuple[BinaryIO, int]]:
    """A pipe: its reading end as a file, and the descriptor of its writing end."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", 0) as reader:
        yield reader, writing
    os.close(writing)


def test_paused_reader_leaves_all_in_the_pipe(run: Run, ends: tuple[BinaryIO, int]) -> None:
    async def main() -> None:
        pipe, writing = ends
        transport, reader = await asyncio.get_running_loop().connect_read_pipe(Reader, pipe)
        transport.pause_reading()
        transport.pause_reading()
        assert not transport.is_reading()
        os.write(writing, b"later")
        for _ in range(10):
            await asyncio.sleep(0)
        assert not reader.data
        transport.resume_reading()
        assert transport.is_reading()
        await reader.came.wait()
        assert reader.data == b"later"
        transport.close()
        transport.close()
        transport.resume_reading()
        await reader.over.wait()
        assert not transport.is_reading()
        assert pipe.closed

    run(main())


def test_failure_of_the_protocol_is_reported_and_reading_goes_on(run: Run, ends: tuple[BinaryIO, int]) -> None:
    async def main() -> None:
        pipe, writing = ends
        reported: list[dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: reported.append(context))
        transport, reader = await loop.connect_read_pipe(Reader, pipe)
        for data in (b"fail", b"more"):
            reader.came.clear()
            os.write(writing, data)
            await reader.came.wait()
        await asyncio.sleep(0)
        assert reader.data == b"failmore"
        assert [str(context["exception"]) for context in reported] == ["as it was told"]
        transport.close()
        await reader.over.wait()

    run(main())


def test_file_is_no_pipe(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        with (tmp_path / "file").open("w+b") as file:
            with pytest.raises(ValueError, match="for pipes/sockets only"):
                await asyncio.get_running_loop().connect_read_pipe(Reader, file)

    run(main())


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_long_packets_come_whole(run: Run, kind: int) -> None:
    """asyncio accepts sockets as pipes, also those of packets, of which the rest is lost if it is not read at once."""

    async def main() -> None:
        here, there = socket.socketpair(socket.AF_UNIX, kind)
        transport, protocol = await asyncio.get_running_loop().connect_read_pipe(Reader, here)
        for length in (10, 70_000, 150_000):
            protocol.came.clear()
            protocol.data = b""
            there.send(bytes(length))
            await protocol.came.wait()
            assert len(protocol.data) == length
        transport.close()
        there.close()
        await protocol.over.wait()

    run(main())
