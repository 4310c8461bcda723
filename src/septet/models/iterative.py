"""One client after another: the next one waits until this one is done.

One process, one thread. The loop below is the whole server: accept a client, serve it to the end, accept the next.
Clients who come meanwhile wait in the kernel's queue (`--backlog`). Nothing runs at the same time as anything else,
so nothing needs a lock; and one slow client keeps everybody waiting.

          client 1 ─┐
          client 2 ─┼─ backlog ─> accept ─> serve ─> close ─┐
          client 3 ─┘               ^                       │
                                    └───────────────────────┘
"""

from septet.models._acceptor import Acceptor
from septet.models._blocking import serve_all, serving
from septet.service import Service


def run(service: Service) -> None:
    acceptor = Acceptor(service, drops_idle_clients=True)
    with serving(service) as asgi:
        serve_all(service, acceptor, asgi)
