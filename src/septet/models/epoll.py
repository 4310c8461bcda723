"""One thread for all clients: epoll(7) tells which of them are ready.

As under poll, with one difference: the kernel keeps the list. A connection is added once and taken away once, and a
call hands back only those that are ready, so idle clients cost nothing. This is how nginx works.

          client 1 ──┐ epoll_ctl: add, once
          client 2 ──┼──> the kernel's list ──> epoll_wait ─> ready: 2, 7, 9 ─> carry each on ─┐
          client N ──┘                             ^                                           │
                                                   └───────────────────────────────────────────┘

    EpollLoop  an asyncio event loop over epoll(7)
    Reactor    accepts clients on that loop, gives each a ClientConnection, whose `ready` the loop calls when its
               socket is ready (receive, answer, send; never wait), and ends those that are late

An ASGI application runs on this thread, as tasks. So does a WSGI application; when it waits, another thread goes on
with the loop (see `_leaders`).
"""

from septet.loop import EpollLoop
from septet.models._loops import run_on_loops
from septet.models._reactor import Reactor
from septet.service import Service

TAKES = ("workers", "threads")
CONCURRENCY = "threads"
LOOP = True


def run(service: Service) -> None:
    run_on_loops(service, lambda service: Reactor(service, EpollLoop()))
