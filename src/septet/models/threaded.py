"""A new thread for every client.

The main thread accepts and starts a thread; the thread serves its one client to the end. Clients do not wait for each
other, and they share all memory: what one thread computes the others can use, and what they change they must lock.
Python runs one thread's code at a time (the GIL), so threads help where a request waits, not where it computes.

          clients ── backlog ──> accept ─> start a thread, accept the next
                                             └──> thread: serve ─> end
"""

from septet.models._acceptor import Acceptor, Client
from septet.models._asgi_in_thread import AsgiThread
from septet.models._blocking import dispatcher, serve, serving
from septet.models._waker import close_waker_of_this_thread
from septet.processes.threads import ThreadGroup
from septet.service import Service

CONCURRENCY = "threads"


def run(service: Service) -> None:
    acceptor = Acceptor(service, drops_idle_clients=False)
    with serving(service) as asgi:
        crew = ThreadGroup()
        for client in acceptor:
            try:
                crew.start(_serve, service, acceptor, client, asgi)
            except (RuntimeError, MemoryError) as error:
                client.sock.close()
                acceptor.pause(f"cannot start a thread for a client: {error or 'out of memory'}")
            del client  # nothing of it is kept while this waits for the next one
        crew.wait()


def _serve(service: Service, acceptor: Acceptor, client: Client, asgi: AsgiThread | None) -> None:
    try:
        serve(client, acceptor, dispatcher(service, client, asgi))
    finally:
        client.sock.close()  # if there was not even memory for `serve`
        close_waker_of_this_thread()
