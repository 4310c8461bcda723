"""The ring beside asyncio on one loop: a server by multishot accept and receive, talked to by asyncio streams."""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest

from septet.loop import UringLoop
from septet.pollers.ring import MORE, Ring
from support.rings import nop

Run = Callable[[Awaitable[Any]], Any]

pytestmark = pytest.mark.parametrize("backend", ["io_uring"], indirect=True)


class Echo:
    """One connection of the server: receive on the ring, answer by send(2)."""

    def __init__(self, ring: Ring, fd: int, ended: Callable[[], object]) -> None:
        self.ring = ring
        self.ended = ended
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=fd)
        self.receive()

    def receive(self) -> None:
        self.ring.receive_multishot(self.sock.fileno(), self.received)

    def received(self, res: int, flags: int, data: bytes) -> None:
        if data:
            self.sock.send(data)
        if flags & MORE:
            return
        if res > 0 or res == -errno.ENOBUFS:
            self.receive()
        else:
            self.sock.close()
            self.ended()


def test_echo_server_on_the_ring(loop: UringLoop, run: Run) -> None:
    """300 clients at once share 512 buffers, and asyncio's own transports share the ring."""
    count = 300

    async def client(address: tuple[str, int], word: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(word)
        answer = await reader.readexactly(len(word))
        writer.close()
        await writer.wait_closed()
        return answer

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=count) as listener:
            ring = loop.ring
            left = asyncio.Semaphore(0)
            token = ring.accept_multishot(
                listener.fileno(), lambda res, flags, data: Echo(ring, res, left.release) if res >= 0 else None
            )
            words = [b"%d" % i * 1000 for i in range(count)]
            answers = await asyncio.gather(*(client(listener.getsockname(), word) for word in words))
            assert answers == words
            for _ in words:
                await left.acquire()
            ended = loop.create_future()
            ring.cancel(token, lambda res, flags, data: ended.set_result(res))
            assert await ended == 0

    run(main())


def test_exception_in_a_completion_goes_to_the_handler(loop: UringLoop, run: Run) -> None:
    contexts: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))

    def fail(res: int, flags: int, data: bytes) -> None:
        raise ZeroDivisionError

    async def main() -> None:
        done = loop.create_future()
        nop(loop.ring, fail)
        nop(loop.ring, lambda res, flags, data: done.set_result(res))
        assert await done == 0

    run(main())
    assert [type(context["exception"]) for context in contexts] == [ZeroDivisionError]


def test_loop_on_a_ring_of_ones_own(backend: str) -> None:
    loop = UringLoop(Ring(8, buffers=2, buffer_size=64))
    assert loop.run_until_complete(asyncio.sleep(0.001, "done")) == "done"
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.ring.wait(0)


def test_a_flood_of_completions_does_not_hold_up_the_loop(loop: UringLoop, run: Run) -> None:
    """Other work has its turns in between."""
    turns: list[int] = []
    seen: list[int] = []
    count = 1000

    def turn() -> None:
        turns.append(len(seen))
        if len(seen) < count:
            loop.call_soon(turn)

    async def main() -> None:
        ended = loop.create_future()
        for number in range(count):
            nop(loop.ring, lambda *_, number=number: seen.append(number))
        nop(loop.ring, lambda *_: ended.set_result(None))
        turn()
        await ended

    run(main())
    assert seen == list(range(count))
    assert max(later - earlier for earlier, later in pairwise(turns)) <= 64


def test_completion_starts_a_task(loop: UringLoop, run: Run) -> None:
    async def main() -> str:
        started = loop.create_future()
        nop(loop.ring, lambda *_: started.set_result(loop.create_task(asyncio.sleep(0, "ran"))))
        task: asyncio.Task[str] = await started
        return await task

    assert run(main()) == "ran"
