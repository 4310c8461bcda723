"""A new process for every client.

The parent accepts and forks; the child serves its one client to the end and exits. Clients do not wait for each
other, and what happens in one child (a crash, a leak, a changed global) is gone with it. The price is a fork for every
connection, and a process of memory for every client that is connected.

          clients ── backlog ──> accept ─> fork ─> close, accept the next
                                             └──> child: serve ─> exit

    warm_up              serves requests of the server's own: what Python learns from them is there in each child
    use_huge_pages       makes the memory that each fork shares cheaper to share
    Acceptor             the listening sockets; iterating over it accepts one client after another, until the stop
    ChildProcesses       forks, and collects the exit status of each child that has ended
    serve                one connection, by calls that wait: receive, run the application, send, again, close
    application_running  starts the application, announces the server, and ends the application at the end;
                         `lifespan_in_parent` and `asgi_in_child` divide that between parent and child
"""

from dataclasses import replace
from functools import partial
from socket import socket
from typing import cast

from septet.errors import Failed
from septet.models._acceptor import Acceptor, Client
from septet.models._asgi_in_thread import asgi_in_child, lifespan_in_parent
from septet.models._blocking import application_running, repeat_until_stop, serve, watch_requests
from septet.models._warm_up import warm_up
from septet.processes.children import ChildProcesses, exit_now, unblock_orders
from septet.processes.huge_pages import use_huge_pages
from septet.processes.orders import Stop
from septet.processes.resource_exhaustion import reason
from septet.protocol import ServerProtocol
from septet.service import Service

TAKES = ()
CONCURRENCY = "processes"


def run(service: Service) -> None:
    acceptor = _ForkingAcceptor(service, drops_idle_clients=False)
    warm_up(service)
    use_huge_pages()
    with application_running(service, lifespan_in_parent, capacity=None):
        children = ChildProcesses(service.in_flight, service.stop)
        repeat_until_stop(partial(_accept_and_fork, service, children, acceptor), acceptor, None)
        children.wait()


class _ForkingAcceptor(Acceptor):
    """Leaves it to the child to make its client's session: the parent, too, has to copy each page that it writes to."""

    def client_of(self, descriptor: int, sock: socket, address: tuple[str, int] | None) -> Client:
        listener = self._listeners[descriptor]
        if listener.certificates is not None:  # their files may have changed, and are read for all children
            return super().client_of(descriptor, sock, address)
        self._accepted = listener, address
        return Client(self, sock, cast(ServerProtocol, None), self._deferred_s[descriptor])

    def with_session(self, client: Client) -> Client:
        """Return the client that was accepted last, with its session. For the child."""
        if client.session is not None:
            return client
        listener, address = self._accepted
        return Client(self, client.sock, self.service.accepted(listener, client.sock, address), client.deferred_s)


def _accept_and_fork(service: Service, children: ChildProcesses, acceptor: _ForkingAcceptor, *_: object) -> None:
    date_and_server = service.rules.date_and_server
    for client in acceptor:
        date_and_server(True, True)  # formatted here once a second, and not in every child
        try:
            children.fork(partial(_serve_and_exit, service, acceptor, client))
        except (OSError, MemoryError) as error:
            acceptor.pause(f"cannot fork for a client: {reason(error)}", accepted=True)
        client.sock.close()  # the parent's copy: the child has its own, and goes on with it


def _serve_and_exit(service: Service, acceptor: _ForkingAcceptor, client: Client) -> int:
    """What a child process does from its start to its end: serve its one client. Returns the exit status of the
    process.
    """
    stop = acceptor.stop = Stop(parent=service.stop)
    stop.on_term()
    unblock_orders()
    service.close_listeners()  # the child's copies; the parent goes on accepting
    if service.endpoint is not None:
        service.endpoint.close_in_child()
    client = acceptor.with_session(client)
    if not service.site.asgis and service.request_watch is None:
        serve(client, None)
        return 0
    stop.open()  # for threads, which the order to stop must reach
    service = replace(service, stop=stop, retire=lambda why: exit_now(1))
    try:
        with asgi_in_child(service) as asgi_thread:
            if asgi_thread is not None:
                stop.on_order = asgi_thread.order  # WebSockets are closed; a request goes on to its end
                if stop.ordered:  # while it started
                    asgi_thread.order()
            watch_requests(service, asgi_thread)
            try:
                serve(client, asgi_thread)
            finally:
                if service.request_watch is not None:
                    service.request_watch.stop()
    except Failed as error:
        service.exhaustion.report(str(error))
        return 1
    return 0
