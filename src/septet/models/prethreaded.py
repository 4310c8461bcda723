"""A pool of threads, made beforehand: each serves one client after another.

N threads of one process all accept from the same listener: the kernel wakes one of those that wait. N clients are
served at the same time and share all memory; the next ones wait for the first thread that is done. This is how most
web frameworks are deployed. Python runs one thread's code at a time (the GIL); `--workers` adds processes.

                                ┌─> thread 1: accept ─> serve ─> close ─┐
          clients ── backlog ───┼─> thread 2: accept ─> serve ─> close ─┤
                                └─> thread N: accept ─> serve ─> close ─┘
                                       ^                                │
                                       └────────────────────────────────┘

    Acceptor             the listening sockets as one thread waits at them; iterating over it accepts clients
    ThreadGroup          starts threads, calls their function again if it fails, and waits for them at the end
    serve                one connection, by calls that wait: receive, run the application, send, again, close
    application_running  starts the application, and ends it at the end
    repeat_until_stop    calls the loop again if an exception of another thread has ended it
"""

import logging
import os

from septet.errors import Failed
from septet.models._acceptor import Acceptor
from septet.models._asgi_in_thread import AsgiThread
from septet.models._blocking import application_running, repeat_until_stop, serve
from septet.processes.capacity import default_threads
from septet.processes.threads import ThreadGroup
from septet.service import Service

TAKES = ("workers", "threads")
CONCURRENCY = "threads"

log = logging.getLogger("septet")


def run(service: Service) -> None:
    threads = service.threads or default_threads()
    with application_running(service, announce=False, capacity=threads) as asgi_thread:
        pool = ThreadGroup()
        _fill(pool, service, threads, asgi_thread)
        if not service.stop.ordered:
            service.ready(1)
        service.stop.wait()
        pool.wait()


def _fill(pool: ThreadGroup, service: Service, count: int, asgi_thread: AsgiThread | None) -> None:
    """Start `count` threads, or as many as the system gives. Raises Failed if it gives none.

    A descriptor is held for each thread's client meanwhile. Else the threads, each of which has one to wait at the
    listeners, could take all that the process may have, and no client would ever be accepted.
    """
    held: list[int] = []
    started = 0
    try:
        while started < count:
            held.append(os.dup(service.stop.fileno()))
            acceptor = Acceptor(service, drops_idle_clients=True, in_main_thread=False)
            pool.start_and_restart(_serve_until_stop, acceptor, asgi_thread)
            started += 1
    except (RuntimeError, OSError) as error:
        if not started:
            raise Failed(f"cannot start a thread: {error}") from None
        log.error("cannot start more than %d of %d threads: %s", started, count, error)
    finally:
        for descriptor in held:
            os.close(descriptor)


def _serve_until_stop(acceptor: Acceptor, asgi_thread: AsgiThread | None) -> None:
    """What one thread of the pool does until the order to stop: accept a client, serve it, accept the next. It is
    called again if it raises.
    """
    try:
        repeat_until_stop(_accept_and_serve, acceptor, asgi_thread)
    finally:
        if acceptor.stop.ordered:  # else this has failed, and is called again
            acceptor.close()


def _accept_and_serve(acceptor: Acceptor, asgi_thread: AsgiThread | None) -> None:
    for client in acceptor:
        try:
            serve(client, asgi_thread)
        finally:
            client.sock.close()  # it is open still if there was no memory for the call of `serve`
        del client  # no memory of it is held while the thread waits for the next one
