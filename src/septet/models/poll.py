"""One thread for all clients: poll(2) tells which of them are ready.

No call waits for one client. Every connection keeps its own state, and when the kernel says that one is ready it is
served as far as its socket allows; then comes the next. poll(2) is handed the whole list of connections at every
call and looks at each, so its cost grows with the number of clients, idle ones included.

          client 1 <──┐
          client 2 <──┼──> poll(all of them) ─> ready: 2, 7, 9 ─> carry each on ─┐
          client N <──┘           ^                                              │
                                  └──────────────────────────────────────────────┘

The loop is asyncio's, with a poller of ours below it. What it does for clients comes to this:

    while not stopped:
        for connection, events in poll(connections):    PollLoop
            connection.ready(events)                    Reactor's ClientConnection: receive, answer, send; never wait

    PollLoop   an asyncio event loop over poll(2)
    Reactor    accepts clients on that loop, gives each a ClientConnection, and ends those that are late

Applications run as under epoll: as tasks on this thread (ASGI); or on this thread until they wait, when another thread
goes on with the loop (WSGI, see `_leaders`).
"""

from septet.loop import PollLoop
from septet.models._loops import run_on_loops
from septet.models._reactor import Reactor
from septet.service import Service

TAKES = ("workers", "threads")
CONCURRENCY = "threads"
LOOP = True


def run(service: Service) -> None:
    run_on_loops(service, lambda service: Reactor(service, PollLoop()))
