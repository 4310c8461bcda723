"""What the log shows of the threads and tasks of a process."""

import asyncio
import re
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from septet.models import _answer
from septet.processes import stacks
from support.waiting import wait_until


@contextmanager
def running(function: Callable[[], object], name: str = "one") -> Iterator[threading.Thread]:
    thread = threading.Thread(target=function, name=name, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        thread.join()


def as_septet(function: Callable[[], object]) -> Callable[[], object]:
    """Return a function that calls `function` from a frame of one of Septet's files."""
    code = compile("def call(function):\n    return function()\n", _answer.__file__, "exec")
    names: dict[str, Callable[[Callable[[], object]], object]] = {}
    exec(code, names)  # a frame of our own is wanted
    return lambda: names["call"](function)


def idle_threads() -> int:
    found = re.search(r"(\d+) idle threads? of the server not shown", stacks.dump(None))
    return int(found[1]) if found else 0


def test_what_led_to_the_application_is_left_out() -> None:
    released = threading.Event()

    def view() -> None:
        released.wait()

    with running(as_septet(view)) as thread:
        wait_until(lambda: "in view" in stacks.dump(None, thread.ident), "it waits")
        text = stacks.dump(None, thread.ident)
        released.set()
    assert text.startswith("thread one, which runs this request:\n  File ")
    text = text.split("\nthread ")[0]  # an earlier test may have left threads of its own
    lines = [line for line in text.splitlines() if line.startswith("  File")]
    assert "in view" in lines[0]
    assert "_bootstrap" not in text
    assert "_answer.py" not in text


def test_idle_threads_of_the_server_are_counted() -> None:
    released = threading.Event()
    before = idle_threads()  # that earlier tests have left
    with ThreadPoolExecutor(1) as executor, running(as_septet(released.wait), "ours"):
        try:
            executor.submit(int).result()
            wait_until(lambda: idle_threads() == before + 2, "both wait")
            assert "ours" not in stacks.dump(None)
            assert "thread ours" in stacks.dump(None, everything=True)
            assert "_bootstrap" in stacks.dump(None, everything=True)
        finally:
            released.set()


def test_executor_that_runs_a_function_of_the_library_is_shown() -> None:
    released = threading.Event()
    with ThreadPoolExecutor(1, thread_name_prefix="pool") as executor:
        executor.submit(released.wait)
        wait_until(lambda: "thread pool_0:" in stacks.dump(None), "it is shown")
        released.set()


def test_equal_stacks_are_shown_once() -> None:
    async def view(over: asyncio.Event) -> None:
        await over.wait()

    async def main() -> str:
        over = asyncio.Event()
        tasks = [asyncio.create_task(view(over), name=f"T{number}") for number in range(5)]
        await asyncio.sleep(0)
        text = stacks.dump(asyncio.get_running_loop(), None, tasks[0])
        over.set()
        await asyncio.gather(*tasks)
        return text

    text = asyncio.run(main())
    assert text.startswith("task T0, which runs this request:\n")
    assert text.count(", in view") == 2
    assert " and 1 more:" in text


def test_deep_stack_shows_its_innermost_frames() -> None:
    released = threading.Event()

    def deep(levels: int) -> None:
        if levels:
            deep(levels - 1)
        else:
            released.wait()

    with running(lambda: deep(min(300, sys.getrecursionlimit() // 2))) as thread:
        wait_until(lambda: "in wait" in stacks.dump(None, thread.ident), "it waits")
        text = stacks.dump(None, thread.ident, everything=True)
        released.set()
    text = text.partition("\nthread")[0]  # those of others may follow
    assert "_bootstrap" not in text
    assert "in wait" in text
