"""asyncio event loops over poll, epoll and io_uring, usable without the server.

    septet.loop.run(main(), backend="epoll")
    asyncio.Runner(loop_factory=septet.loop.EpollLoop).run(main())
    uvicorn app:app --loop septet.loop:new_event_loop

They are asyncio's selector loop, in which the iteration, timers, stream transports and listeners are replaced, over the
pollers of `septet.pollers`. Three methods are added, `watch`, `rewatch` and `unwatch`: they register a callback for a
descriptor, which the loop calls for each event without making an asyncio.Handle. `septet.loop.fs` reads and writes
files without blocking the loop.
"""

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from septet.loop._interest import Watcher
from septet.loop._metrics import Metrics
from septet.loop._readiness import EpollLoop, PollLoop, ReadinessLoop

if TYPE_CHECKING:
    from septet.loop.uring import UringLoop

__all__ = [
    "BACKENDS",
    "EpollLoop",
    "Metrics",
    "PollLoop",
    "ReadinessLoop",
    "UringLoop",
    "Watcher",
    "new_event_loop",
    "run",
]

BACKENDS = ("poll", "epoll", "io_uring")
"""The names that `new_event_loop` and `run` accept."""

T = TypeVar("T")


def new_event_loop(backend: str = "epoll") -> ReadinessLoop:
    """Return a new loop over the named backend, one of `BACKENDS`.

    Raises:
        ValueError: there is no such backend.
        septet.pollers.ring.RingUnavailable: an OSError: io_uring cannot be used here; its text says why.
    """
    if backend == "poll":
        return PollLoop()
    if backend == "epoll":
        return EpollLoop()
    if backend == "io_uring":
        from septet.loop.uring import UringLoop

        return UringLoop()
    raise ValueError(f"no event loop backend {backend!r}: choose one of {', '.join(BACKENDS)}")


def __getattr__(name: str) -> Any:
    """Import `UringLoop` on first use: its binding needs ctypes, which the other loops do not."""
    if name != "UringLoop":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from septet.loop.uring import UringLoop

    return UringLoop


def run(main: Coroutine[Any, Any, T], *, backend: str = "epoll", debug: bool | None = None) -> T:
    """Run a coroutine on a new loop, close the loop, and return the result: `asyncio.run` with a choice of backend.

    Raises:
        ValueError, RingUnavailable: as `new_event_loop`.
    """
    with asyncio.Runner(debug=debug, loop_factory=partial(new_event_loop, backend)) as runner:
        return runner.run(main)
