"""A pool of threads, made beforehand: each serves one client after another.

N threads of one process all accept from the same listener: the kernel wakes one of those that wait. N clients are
served at the same time and share all memory; the next ones wait for the first thread that is done. This is how most
web frameworks are deployed. Python runs one thread's code at a time (the GIL); `--workers` adds processes.

                                ┌─> thread 1: accept ─> serve ─> close ─┐
          clients ── backlog ───┼─> thread 2: accept ─> serve ─> close ─┤
                                └─> thread N: accept ─> serve ─> close ─┘
                                       ^                                │
                                       └────────────────────────────────┘
"""

import logging
from dataclasses import replace

from septet.errors import Failed
from septet.models._acceptor import Acceptor
from septet.models._asgi_in_thread import AsgiThread
from septet.models._blocking import serve_all, serving
from septet.models._waker import close_waker_of_this_thread
from septet.processes.capacity import default_threads
from septet.processes.threads import ThreadGroup
from septet.service import Service

TAKES = ("workers", "threads")
CONCURRENCY = "threads"

log = logging.getLogger("septet")


def run(service: Service) -> None:
    with serving(replace(service, ready=_not_yet)) as asgi:
        crew = ThreadGroup()
        _fill(crew, service, service.threads or default_threads(), asgi)
        if not service.stop.ordered:
            service.ready(1)
        service.stop.wait()
        crew.wait()


def _not_yet(workers: int) -> None:
    """Without a thread clients would be let in in vain."""


def _fill(crew: ThreadGroup, service: Service, count: int, asgi: AsgiThread | None) -> None:
    """Start `count` threads, or as many as the system gives. Raises Failed if it gives none."""
    for started in range(count):
        try:
            crew.keep(
                _accept_and_serve, service, Acceptor(service, drops_idle_clients=True, in_main_thread=False), asgi
            )
        except (RuntimeError, OSError) as error:
            if not started:
                raise Failed(f"cannot start a thread: {error}") from None
            log.error("cannot start more than %d of %d threads: %s", started, count, error)
            return


def _accept_and_serve(service: Service, acceptor: Acceptor, asgi: AsgiThread | None) -> None:
    try:
        serve_all(service, acceptor, asgi)
    finally:
        close_waker_of_this_thread()
        if service.stop.ordered:
            acceptor.close()
