"""The load generator: N users who each wait for an answer before they ask again, or requests at a fixed rate.

A package of the standard library alone, which imports nothing from outside itself: copied to any host, it runs there
as `python3 -m load URL`. It speaks to epoll(7) directly: a generator on asyncio takes four times the CPU of wrk for a
request and would measure itself; this one stays beside wrk, because most of a loopback request's cost is the kernel's.

    plan             what a run does; scenario files
    limits           whether this machine can do it, and how the server is reached
    listen_queue     how full the queue of a listener on this machine is
    requests         which target is next, the bytes of requests, cookies
    answer           the bytes of answers
    state            each user, each target, connections that are closing
    connections      all connections over epoll; loop: what both loops below share
    closed_loop, open_loop    when users send requests
    tally, histogram          counts, and figures made of them
    run              arrival, warm-up, measured window
    processes        a run in one process or in several
"""

from __future__ import annotations

from .histogram import Histogram
from .limits import check_users
from .listen_queue import ListenQueue, listen_queue
from .loop import Notify
from .plan import ANY_LENGTH, MODES, LoadError, NoListener, Plan, Target, merged
from .plan import read as read_scenario
from .processes import bound_to, run

__all__ = [
    "ANY_LENGTH",
    "MODES",
    "Histogram",
    "ListenQueue",
    "LoadError",
    "NoListener",
    "Notify",
    "Plan",
    "Target",
    "bound_to",
    "check_users",
    "listen_queue",
    "merged",
    "read_scenario",
    "run",
]
