"""What `loop.metrics()` counts."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from septet.loop import ReadinessLoop

Run = Callable[[Awaitable[Any]], Any]


def test_idle_and_busy_time(loop: ReadinessLoop, run: Run) -> None:
    async def main() -> None:
        await asyncio.sleep(0.1)
        time.sleep(0.05)  # noqa: ASYNC251 - this is what a loop must not do, and the metrics must show
        await asyncio.sleep(0)

    assert loop.metrics().iterations == 0
    run(main())
    metrics = loop.metrics()
    assert metrics.iterations >= 3
    assert metrics.idle_s >= 0.09
    assert metrics.busy_s >= metrics.longest_turn_s >= 0.05
    assert 0 < metrics.mean_latency_s <= metrics.busy_s


def test_events(loop: ReadinessLoop, run: Run) -> None:
    async def main() -> None:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(100):
                writer.write(data)
            writer.close()

        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            before = loop.metrics().events
            for _ in range(10):
                writer.write(b"x")
                await reader.readexactly(1)
            assert loop.metrics().events - before >= 20
            writer.close()
            await writer.wait_closed()

    loop.metrics()
    run(main())


def test_time_in_which_the_loop_does_not_run_counts_as_nothing(loop: ReadinessLoop, run: Run) -> None:
    loop.metrics()
    ran_s = timed(lambda: run(asyncio.sleep(0)))
    time.sleep(0.2)
    ran_s += timed(lambda: run(asyncio.sleep(0)))
    assert loop.metrics().longest_turn_s < ran_s


def timed(act: Callable[[], object]) -> float:
    """What it took by the clock: no turn of a loop that it runs has lasted longer, however busy the machine is."""
    began = time.monotonic()
    act()
    return time.monotonic() - began


def test_laps(loop: ReadinessLoop, run: Run) -> None:
    async def busy(seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - see above
        await asyncio.sleep(0)

    loop.lap()
    run(busy(0.05))
    run(asyncio.sleep(0))  # a turn is counted when the next one begins
    first = loop.lap()
    assert first.longest_turn_s >= 0.05
    took_s = timed(lambda: run(asyncio.sleep(0.02)))
    second = loop.lap()
    assert second.longest_turn_s < took_s
    assert second.idle_s >= 0.015
    total = loop.metrics()
    assert total.longest_turn_s == first.longest_turn_s
    assert total.iterations >= first.iterations + second.iterations
    assert total.busy_s >= first.busy_s + second.busy_s
