"""A new thread for every client.

The main thread accepts and starts a thread; the thread serves its one client to the end. Clients do not wait for each
other, and they share all memory: what one thread computes the others can use, and what they change they must lock.
Python runs one thread's code at a time (the GIL), so threads help where a request waits, not where it computes.

          clients ── backlog ──> accept ─> start a thread, accept the next
                                             └──> thread: serve ─> end
"""

import logging

from septet.models._blocking import Client, Door, hall, serve, turns
from septet.models._private import close_loop_of_this_thread
from septet.models._service import Service
from septet.models._threads import Crew

CONCURRENCY = "threads"

log = logging.getLogger("septet")


def run(service: Service) -> None:
    with hall(service):
        door = Door(service, shares=False)
        crew = Crew()
        for client in door:
            try:
                crew.start(_serve, service, door, client)
            except RuntimeError as error:
                log.error("cannot start a thread for a client: %s", error)
                client.sock.close()
        crew.wait()


def _serve(service: Service, door: Door, client: Client) -> None:
    try:
        serve(client, door, turns(service, client))
    finally:
        close_loop_of_this_thread()
