"""Many threads that do the same at the same time, and change places as often as the interpreter lets them."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

THREADS = 8


@contextmanager
def restless() -> Iterator[None]:
    """With a GIL, threads take turns after each microsecond; without one they run at the same time anyway."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


def in_threads(work: Callable[[int], object], count: int = THREADS) -> None:
    """Call `work(0)`, `work(1)` and so on, each in a thread; raises what the first that failed has raised."""
    together = threading.Barrier(count)
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            together.wait(20)
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    with restless():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
