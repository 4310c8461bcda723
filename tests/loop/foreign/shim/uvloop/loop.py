"""The loop of this process, which SUITE_LOOP names. uvloop has its class in a module so named; anyio looks there."""

import asyncio
import os
from typing import Any

from septet.loop import EpollLoop, PollLoop, UringLoop

LOOPS: dict[str, Any] = {
    "asyncio": asyncio.SelectorEventLoop,
    "poll": PollLoop,
    "epoll": EpollLoop,
    "io_uring": UringLoop,
}


class Loop(LOOPS[os.environ["SUITE_LOOP"]]):  # type: ignore[misc]
    """Its module is never asyncio's: uvloop's tests are milder with asyncio's own loop, and are to be so with none."""
