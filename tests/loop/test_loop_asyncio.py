"""asyncio's interface on our loops: callbacks, timers, tasks, threads, descriptors, processes, signals."""

import asyncio
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import septet.loop
from septet.loop import ReadinessLoop

Run = Callable[[Awaitable[Any]], Any]


def test_call_soon_keeps_the_order(loop: ReadinessLoop) -> None:
    called: list[int] = []
    for i in range(5):
        loop.call_soon(called.append, i)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert called == [0, 1, 2, 3, 4]


def test_timers_fire_in_order_and_never_early(loop: ReadinessLoop) -> None:
    fired: list[tuple[float, float]] = []
    begin = loop.time()
    for delay in (0.03, 0.01, 0.0, 0.02):
        loop.call_later(delay, lambda due=delay: fired.append((due, loop.time() - begin)))
    loop.call_at(begin + 0.04, loop.stop)
    loop.run_forever()
    assert [due for due, _ in fired] == [0.0, 0.01, 0.02, 0.03]
    assert all(at >= due - 1e-6 for due, at in fired)


def test_cancelled_timer_does_not_fire(loop: ReadinessLoop) -> None:
    fired: list[int] = []
    loop.call_later(0.01, fired.append, 1).cancel()
    loop.call_later(0.02, loop.stop)
    loop.run_forever()
    assert fired == []


def test_another_thread_wakes_the_waiting_loop(loop: ReadinessLoop) -> None:
    """The loop has no events to wait for, and makes its self-pipe only when it waits."""
    threads: list[int] = []

    def wake() -> None:
        loop.call_soon_threadsafe(threads.append, threading.get_ident())
        loop.call_soon_threadsafe(loop.stop)

    other = threading.Thread(target=wake)
    loop.call_soon(other.start)
    loop.run_forever()
    other.join()
    assert threads == [other.ident]


def test_many_threads_wake_the_loop_at_any_moment(loop: ReadinessLoop) -> None:
    total = 4 * 500
    seen = 0

    def count() -> None:
        nonlocal seen
        seen += 1
        if seen == total:
            loop.stop()

    def wake() -> None:
        for _ in range(total // 4):
            loop.call_soon_threadsafe(count)

    threads = [threading.Thread(target=wake) for _ in range(4)]
    for thread in threads:
        thread.start()
    loop.run_forever()
    for thread in threads:
        thread.join()
    assert seen == total


def test_tasks(run: Run) -> None:
    async def double(number: int) -> int:
        await asyncio.sleep(0.001 * (number % 3))
        return 2 * number

    async def main() -> list[int]:
        return await asyncio.gather(*(double(i) for i in range(50)))

    assert run(main()) == [2 * i for i in range(50)]


def test_cancel_and_time_out(run: Run) -> None:
    async def main() -> None:
        sleeper = asyncio.create_task(asyncio.sleep(60))
        await asyncio.sleep(0)
        sleeper.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeper
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.sleep(60), 0.01)

    run(main())


def test_executor(loop: ReadinessLoop, run: Run) -> None:
    async def main() -> list[int]:
        return await asyncio.gather(*(asyncio.to_thread(pow, i, 2) for i in range(20)))

    assert run(main()) == [i * i for i in range(20)]


def test_getaddrinfo(loop: ReadinessLoop, run: Run) -> None:
    found = run(loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM))
    assert ("127.0.0.1", 80) in [address for *_, address in found]


def test_readers_and_writers(loop: ReadinessLoop, run: Run) -> None:
    async def main() -> None:
        here, there = socket.socketpair()
        with here, there:
            readable, writable = loop.create_future(), loop.create_future()
            loop.add_reader(here, readable.set_result, None)
            loop.add_writer(there.fileno(), writable.set_result, None)
            await writable
            assert loop.remove_writer(there)
            assert not loop.remove_writer(there)
            assert not readable.done()
            there.send(b"x")
            await readable
            loop.add_writer(here, lambda: None)
            assert loop.remove_writer(here)
            assert loop.remove_reader(here.fileno())
            assert not loop.remove_reader(here)

    run(main())


def test_reader_of_a_closed_socket_can_be_removed(loop: ReadinessLoop) -> None:
    here, there = socket.socketpair()
    loop.add_reader(here, lambda: None)
    here.close()
    there.close()
    assert loop.remove_reader(here)
    with pytest.raises(ValueError, match="descriptor"):
        loop.add_reader(here, lambda: None)


def test_both_directions_of_one_descriptor(loop: ReadinessLoop, run: Run) -> None:
    async def main() -> list[str]:
        here, there = socket.socketpair()
        order: list[str] = []
        with here, there:
            done = loop.create_future()
            loop.add_writer(here, lambda: (order.append("write"), loop.remove_writer(here), there.send(b"x")))
            loop.add_reader(here, lambda: (order.append("read"), loop.remove_reader(here), done.set_result(None)))
            await done
        return order

    assert run(main()) == ["write", "read"]


def test_subprocess(run: Run) -> None:
    async def main() -> tuple[bytes, int | None]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "import sys; sys.stdout.write(sys.stdin.read().upper()); sys.exit(3)",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate(b"loud" * 50_000)
        return out, process.returncode

    assert run(main()) == (b"LOUD" * 50_000, 3)


def test_signal_handler(loop: ReadinessLoop, run: Run) -> None:
    async def main() -> int:
        arrived = loop.create_future()
        loop.add_signal_handler(signal.SIGUSR1, arrived.set_result, 42)
        os.kill(os.getpid(), signal.SIGUSR1)
        try:
            return int(await arrived)
        finally:
            assert loop.remove_signal_handler(signal.SIGUSR1)

    assert run(main()) == 42


def test_signal_interrupts_a_waiting_loop(loop: ReadinessLoop) -> None:
    loop.add_signal_handler(signal.SIGALRM, loop.stop)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    loop.run_forever()
    assert loop.remove_signal_handler(signal.SIGALRM)


def test_keyboard_interrupt_cancels_the_main_task(backend: str) -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_later(0.01, os.kill, os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()

    with pytest.raises(KeyboardInterrupt):
        septet.loop.run(main(), backend=backend)


def test_run_returns_the_result_and_cleans_up(backend: str) -> None:
    closed: list[str] = []

    async def stream() -> Any:
        try:
            yield 1
            yield 2
        finally:
            closed.append("generator")

    async def main() -> Any:
        generator = stream()
        await anext(generator)
        return asyncio.get_running_loop(), generator

    loop, _ = septet.loop.run(main(), backend=backend, debug=True)
    assert closed == ["generator"]
    assert loop.is_closed()


def test_unknown_backend() -> None:
    with pytest.raises(ValueError, match="no event loop backend 'kqueue': choose one of poll, epoll, io_uring"):
        septet.loop.new_event_loop("kqueue")


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="KqueueLoop"):
        septet.loop.KqueueLoop  # noqa: B018


def test_runner_takes_the_class() -> None:
    async def main() -> str:
        return type(asyncio.get_running_loop()).__name__

    with asyncio.Runner(loop_factory=septet.loop.PollLoop) as runner:
        assert runner.run(main()) == "PollLoop"


def test_closing_a_running_loop_is_refused_and_harmless(loop: ReadinessLoop, run: Run) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="running"):
            loop.close()
        await asyncio.sleep(0.001)

    run(main())


def test_loop_runs_in_another_thread_than_made_it(backend: str) -> None:
    loop = septet.loop.new_event_loop(backend)
    other = threading.Thread(target=loop.run_forever)
    other.start()
    answer = asyncio.run_coroutine_threadsafe(asyncio.sleep(0.001, "done"), loop)
    assert answer.result(30) == "done"
    loop.call_soon_threadsafe(loop.stop)
    other.join()
    loop.close()


def test_idle_loop_uses_no_processor_time(loop: ReadinessLoop, run: Run) -> None:
    begin = time.process_time()
    run(asyncio.sleep(0.2))
    assert time.process_time() - begin < 0.1
