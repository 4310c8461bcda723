"""asyncio event loops over poll, epoll and io_uring, usable without the server.

    septet.loop.run(main(), backend="epoll")
    asyncio.Runner(loop_factory=septet.loop.EpollLoop).run(main())
    uvicorn app:app --loop septet.loop:new_event_loop

They are asyncio's loop with another heart (the turn of the loop, timers, stream transports and listeners are ours) over
pollers of ours, and with three more verbs (`watch`, `rewatch`, `unwatch`) by which a descriptor's callback is called
straight from the poller. `septet.loop.fs` reads and writes files without blocking them.
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

T = TypeVar("T")


def new_event_loop(backend: str = "epoll") -> ReadinessLoop:
    """A new loop over the named backend, one of `BACKENDS`.

    Raises:
        ValueError: there is no such backend.
        septet.pollers.ring.RingUnavailable: this machine does not permit io_uring; the sentence says why.
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
    """`UringLoop` is imported when it is asked for: its binding needs ctypes, which the others do without."""
    if name != "UringLoop":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from septet.loop.uring import UringLoop

    return UringLoop


def run(main: Coroutine[Any, Any, T], *, backend: str = "epoll", debug: bool | None = None) -> T:
    """Run a coroutine to its end on a new loop, and clean up: `asyncio.run` with a choice of backend."""
    with asyncio.Runner(debug=debug, loop_factory=partial(new_event_loop, backend)) as runner:
        return runner.run(main)
