"""Processes that stop or die, and a server that is told to stop while clients storm it."""

import os
import signal
import time
from contextlib import suppress
from threading import Event, Thread

from siege.field import Field, connect
from support.messages import render
from support.processes import Process, children

STALLED_S = 3.0
BETWEEN_KILLS_S = 0.5


def stalled_worker(field: Field) -> None:
    """One worker of several is stopped for three seconds; the others serve, and none of its requests is lost."""
    worker = field.random.choice(children(field.server.pid)).pid
    os.kill(worker, signal.SIGSTOP)
    try:
        time.sleep(STALLED_S)
    finally:
        os.kill(worker, signal.SIGCONT)
    field.did = f"{STALLED_S:g} s"


def killed_workers(field: Field) -> None:
    """The oldest worker (under forking, a child) is killed every half second; only what it was running is lost."""
    for _ in field.counted(8, "kills"):
        time.sleep(BETWEEN_KILLS_S)
        # A child of forking may have ended by itself.
        with suppress(ProcessLookupError):
            victims = children(field.server.pid)
            if victims:
                os.kill(min(victims, key=age).pid, signal.SIGKILL)
                field.may_lose += 2  # one of each client


def age(process: Process) -> tuple[int, int]:
    return process.start, process.pid


STORMERS = 3


def storm_at_the_end(field: Field) -> None:
    """Clients connect as fast as they can, with whole and half requests, while TERM ends the server within a second."""
    over, counts = Event(), [0] * STORMERS

    def storm(number: int) -> None:
        requests = (render("GET", "/echo"), b"GET / HT", render("GET", "/send?size=100000&parts=3"), b"")
        while not over.is_set():
            try:
                with connect(field.address) as sock:
                    sock.sendall(requests[counts[number] % len(requests)])
                    counts[number] += 1
            except OSError:
                over.wait(0.001)

    stormers = [Thread(target=storm, args=(number,), daemon=True) for number in range(STORMERS)]
    for stormer in stormers:
        stormer.start()
    try:
        time.sleep(min(1.0, max(0.2, field.scale)))
        field.stops()
    finally:
        over.set()
        for stormer in stormers:
            stormer.join()
    field.did = f"{sum(counts):,} clients"
