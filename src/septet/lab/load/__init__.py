"""The load generator: N users who each wait for an answer before they ask again, or requests at a fixed rate.

A package of the standard library alone, which imports nothing from outside itself: copied to any host, it runs there
as `python3 -m load URL`. It speaks to epoll(7) directly: a generator on asyncio takes four times the CPU of wrk for a
request and would measure itself; this one stays beside wrk, because most of a loopback request's cost is the kernel's.

    plan, scenario            what shall be done
    limits, listener, door    whether this machine can, and how fast users may come
    deck, requests, answer, aim    what is asked for next, the bytes there and back
    user, cookies, left, connections    one user, what he keeps and leaves, all users
    loop, closed_loop, open_loop   when they ask
    tally, histogram, figures      what was counted
    phases, warmup            the course of a run
    cpus, leader, crew, follower, run    in one process or several
"""

from __future__ import annotations

from .cpus import bound_to
from .histogram import Histogram
from .limits import check_users
from .listener import queue_of as listen_queue
from .loop import Notify
from .plan import ANY_LENGTH, MODES, LoadError, NobodyListens, Plan, Target, merged
from .run import run
from .scenario import read as read_scenario

__all__ = [
    "ANY_LENGTH",
    "MODES",
    "Histogram",
    "LoadError",
    "NobodyListens",
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
