"""One client after another: the next one waits until this one is done.

One process, one thread. The loop below is the whole server: accept a client, serve it to the end, accept the next.
Clients that connect meanwhile wait in the kernel's queue (`--backlog`). Nothing runs at the same time as anything else,
so nothing needs a lock; and one slow client keeps all others waiting.

          client 1 ─┐
          client 2 ─┼─ backlog ─> accept ─> serve ─> close ─┐
          client 3 ─┘               ^                       │
                                    └───────────────────────┘

    Acceptor             the listening sockets; iterating over it accepts one client after another, until the stop
    serve                one connection, by calls that wait: receive, run the application, send, again, close
    application_running  starts the application, announces the server, and ends the application at the end
    repeat_until_stop    calls the loop again if an exception of another thread has ended it
"""

from septet.models._acceptor import Acceptor
from septet.models._asgi_in_thread import AsgiThread
from septet.models._blocking import application_running, repeat_until_stop, serve
from septet.service import Service


def run(service: Service) -> None:
    acceptor = Acceptor(service, drops_idle_clients=True)
    with application_running(service) as asgi_thread:
        repeat_until_stop(_accept_and_serve, acceptor, asgi_thread)


def _accept_and_serve(acceptor: Acceptor, asgi_thread: AsgiThread | None) -> None:
    for client in acceptor:
        try:
            serve(client, asgi_thread)
        finally:
            client.sock.close()  # it is open still if there was no memory for the call of `serve`
        del client  # no memory of it is held while the thread waits for the next one
