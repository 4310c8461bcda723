"""A stand-in for uvloop: suites that can be told to run on uvloop run on the loop that SUITE_LOOP names.

Only for the processes of `run.py`, which put this directory on PYTHONPATH. What uvloop's own tests need beside a loop,
its `_testbase`, comes from its source distribution, by way of the directory SUITE_UVLOOP.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any

from uvloop.loop import Loop

__path__.append(os.environ["SUITE_UVLOOP"])


def new_event_loop() -> Loop:
    return Loop()


class EventLoopPolicy(asyncio.DefaultEventLoopPolicy):
    """asyncio's, with the loop replaced: uvloop's own policy has no watcher of children, which Python 3.11 asks for."""

    _loop_factory = Loop


def install() -> None:
    asyncio.set_event_loop_policy(EventLoopPolicy())


def run(
    main: Coroutine[Any, Any, Any],
    *,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] = new_event_loop,
    debug: bool | None = None,
) -> Any:
    """As uvloop's: asyncio.run on this loop, and on no other."""

    async def on_this_loop() -> Any:
        if not isinstance(asyncio.get_running_loop(), Loop):
            raise TypeError("uvloop.run() uses a non-uvloop event loop")
        return await main

    with asyncio.Runner(loop_factory=loop_factory, debug=debug) as runner:
        return runner.run(on_this_loop())
