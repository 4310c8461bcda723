"""A new thread for every client.

The main thread accepts and starts a thread; the thread serves its one client to the end. Clients do not wait for each
other, and they share all memory: what one thread computes the others can use, and what they change they must lock.
Python runs one thread's code at a time (the GIL), so threads help where a request waits, not where it computes.

          clients ── backlog ──> accept ─> start a thread, accept the next
                                             └──> thread: serve ─> end

    Acceptor             the listening sockets; iterating over it accepts one client after another, until the stop
    ThreadGroup          starts threads, and waits at the end for those that still run
    serve                one connection, by calls that wait: receive, run the application, send, again, close
    application_running  starts the application, announces the server, and ends the application at the end
"""

from functools import partial

from septet.models._acceptor import Acceptor, Client
from septet.models._asgi_in_thread import AsgiThread
from septet.models._blocking import application_running, repeat_until_stop, serve
from septet.models._waker import close_waker_of_this_thread
from septet.processes.threads import ThreadGroup
from septet.service import Service

CONCURRENCY = "threads"


def run(service: Service) -> None:
    acceptor = Acceptor(service, drops_idle_clients=False)
    with application_running(service, capacity=0) as asgi_thread:
        threads = ThreadGroup()
        repeat_until_stop(partial(_accept_and_start, threads), acceptor, asgi_thread)
        threads.wait()


def _accept_and_start(threads: ThreadGroup, acceptor: Acceptor, asgi_thread: AsgiThread | None) -> None:
    for client in acceptor:
        try:
            threads.start(_serve, client, asgi_thread)
        except (RuntimeError, MemoryError) as error:
            client.sock.close()
            acceptor.pause(f"cannot start a thread for a client: {error or 'out of memory'}", accepted=True)
        del client  # no memory of it is held while the main thread waits for the next one


def _serve(client: Client, asgi_thread: AsgiThread | None) -> None:
    try:
        serve(client, asgi_thread)
    finally:
        client.sock.close()  # it is open still if there was no memory for the call of `serve`
        close_waker_of_this_thread()  # the eventfd(2) that an ASGI application's loop wakes this thread by
