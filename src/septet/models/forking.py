"""A new process for every client.

The parent accepts and forks; the child serves its one client to the end and exits. Clients do not wait for each
other, and what happens in one child (a crash, a leak, a changed global) is gone with it. The price is a fork for every
connection, and a process of memory for every client that is connected.

          clients ── backlog ──> accept ─> fork ─> close, accept the next
                                             └──> child: serve ─> exit
"""

from dataclasses import replace
from functools import partial

from septet.errors import Failed
from septet.models._acceptor import Acceptor, Client
from septet.models._asgi_in_thread import asgi_in_child, lifespan_in_parent
from septet.models._blocking import dispatcher, serve, serving
from septet.processes.children import ChildProcesses, unblock_orders
from septet.processes.orders import Stop
from septet.processes.resource_exhaustion import reason
from septet.service import Service

TAKES = ()
CONCURRENCY = "processes"


def run(service: Service) -> None:
    acceptor = Acceptor(service, drops_idle_clients=False)
    with serving(service, lifespan_in_parent):
        children = ChildProcesses(service.in_flight, service.stop)
        for client in acceptor:
            try:
                children.fork(partial(_serve_and_exit, service, acceptor, client))
            except (OSError, MemoryError) as error:
                acceptor.pause(f"cannot fork for a client: {reason(error)}")
            client.sock.close()  # not released: the child goes on with it
        children.wait()


def _serve_and_exit(service: Service, acceptor: Acceptor, client: Client) -> int:
    stop = Stop(parent=service.stop)
    stop.on_term()
    unblock_orders()
    service = replace(service, stop=stop)
    acceptor.stop = stop
    service.close_listeners()  # the child's copies; the parent goes on accepting
    try:
        with asgi_in_child(service) as asgi:
            serve(client, acceptor, dispatcher(service, client, asgi))
    except Failed as error:
        service.exhaustion.report(str(error))
        return 1
    return 0
