"""CPython's own tests of asyncio, run on a loop of ours: `python cpython_suite.py BACKEND MODULE...`.

Nothing of theirs is copied: the interpreter's `test.test_asyncio` is imported, and wherever it makes a loop it is
given ours. It does so in two ways, by `asyncio.SelectorEventLoop(selector)` and through the policy; both
names are set before the tests are imported. A script of its own, for the replacement is for the whole process.

Prints one line of JSON: how many tests ran, how many skipped themselves, and the trace of each that failed, by name.
"""

import asyncio
import json
import signal
import sys
import unittest
from collections.abc import Iterator
from typing import Any

from septet.loop import EpollLoop, PollLoop, UringLoop

LOOPS = {"poll": PollLoop, "epoll": EpollLoop, "io_uring": UringLoop}

SAME_AGAIN = (
    # They differ from their sibling SelectEventLoopTests in the selector alone, which is none here.
    "EPollEventLoopTests",
    "PollEventLoopTests",
    # Deprecated ways to wait for child processes, which have little to do with the loop; two others remain.
    "SubprocessSafeWatcherTests",
    "SubprocessFastWatcherTests",
    "SubprocessMultiLoopWatcherTests",
)


def replace_loop(backend: str) -> None:
    """Make our loop the one that asyncio means by its selector loop, in this process."""
    base: Any = LOOPS[backend]

    class SelectorEventLoop(base):  # type: ignore[misc]
        def __init__(self, selector: Any = None) -> None:
            if selector is not None:
                selector.close()
            super().__init__()

    asyncio.SelectorEventLoop = SelectorEventLoop  # type: ignore[misc]
    asyncio.DefaultEventLoopPolicy._loop_factory = SelectorEventLoop  # type: ignore[attr-defined]


def tests_of(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from tests_of(test)
        elif type(test).__name__ not in SAME_AGAIN:
            yield test


def name_of(test: unittest.TestCase) -> str:
    """`test_events.SelectEventLoopTests.test_reader_callback`; the errors of class fixtures have names of their own."""
    return test.id().removeprefix("test.test_asyncio.")


def run(modules: list[str]) -> dict[str, Any]:
    names = [f"test.test_asyncio.{module}" for module in modules]
    suite = unittest.defaultTestLoader.loadTestsFromNames(names)
    chosen = unittest.TestSuite(tests_of(suite))
    result = unittest.TextTestRunner(sys.stderr, verbosity=2).run(chosen)
    return {
        "ran": result.testsRun,
        "skipped": len(result.skipped),
        "failed": {name_of(test): trace for test, trace in result.failures + result.errors},
    }


if __name__ == "__main__":
    # A shell's background job ignores the signal, and so do its children: then tests that interrupt themselves hang.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    replace_loop(sys.argv[1])
    print(json.dumps(run(sys.argv[2:])))
