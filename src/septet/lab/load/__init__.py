"""The load generator: N users who each wait for the answer before the next request, or a fixed rate.

It needs the standard library alone (and the library h2 for HTTP/2) and imports nothing else from outside this package:
copied to any host, it runs there as `python3 -m load URL`. It uses epoll(7) directly. A generator on asyncio takes four
times the CPU of wrk for a request and would measure itself; this one takes about as much as wrk, because most of the
cost of a request is the kernel's.

    plan             the plan of a run
    scenario         scenario files
    limits           checks that this machine can carry it out, and finds the server's address
    listen_queue     length and limit of the queue of a listener on this machine
    requests         the order of the targets, the bytes of requests, cookies
    answer           parses answers
    state            the state of each user and each target; connections that are closing
    tls              TLS under a connection
    websocket        WebSocket under a connection
    http2            HTTP/2 on a connection, without I/O, over the library h2
    slow             slow clients beside the users
    connections      all connections over epoll
    streams          the same where each user is a stream of an HTTP/2 connection
    loop             what the two loops below share
    closed_loop, open_loop    decide when users send requests
    tally, histogram          counts, and figures made of them
    seconds          what was counted in each second
    run              one run: arrival, warm-up, measured window
    processes        a run in one process or in several
"""

from __future__ import annotations

from .histogram import Histogram
from .limits import check_http2, check_users
from .listen_queue import ListenQueue, listen_queue
from .loop import Notify
from .plan import (
    ANY_LENGTH,
    ARRIVALS,
    MODES,
    THINK_TIMES,
    LoadError,
    NoListener,
    Plan,
    Target,
    merged,
    read_authorities,
)
from .processes import bound_to, run
from .scenario import read as read_scenario
from .tally import unpacked

__all__ = [
    "ANY_LENGTH",
    "ARRIVALS",
    "MODES",
    "THINK_TIMES",
    "Histogram",
    "ListenQueue",
    "LoadError",
    "NoListener",
    "Notify",
    "Plan",
    "Target",
    "bound_to",
    "check_http2",
    "check_users",
    "listen_queue",
    "merged",
    "read_authorities",
    "read_scenario",
    "run",
    "unpacked",
]
