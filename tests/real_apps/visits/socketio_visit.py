"""python-socketio's client, by polling and by WebSocket."""

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import requests
import socketio

from real_apps.visit import CONCURRENCY, SHARED_MEMORY, Site, expect, expect_status, step, step_that_needs
from support.waiting import PATIENCE_S

SESSIONS = "its client asks for events beside its requests, and a session is kept in its process's memory"


def prepare(directory: Path) -> None:
    pass


@step
def handshake(site: Site) -> None:
    with site.client() as program:
        assert "pingInterval" in expect_status(program.get("/socket.io/?EIO=4&transport=polling")).text
        expect_status(program.get("/socket.io/?EIO=4&transport=polling&sid=nosuch"), 400)
        expect_status(program.get("/nosuch"), 404)


@step_that_needs(SHARED_MEMORY, CONCURRENCY, reason=SESSIONS)
def calls(site: Site) -> None:
    with _connected(site) as (client, received):
        for number in range(5):
            expect(client.call("double", number, timeout=PATIENCE_S), 2 * number, "the acknowledgement")
        expect(_take(received, 5), [0, 2, 4, 6, 8], "the events")


@step_that_needs(SHARED_MEMORY, CONCURRENCY, reason=SESSIONS)
def events_from_a_task(site: Site) -> None:
    with _connected(site) as (client, received):
        client.emit("count", 10)
        expect(_take(received, 10), list(range(10)), "the events")


@step_that_needs(SHARED_MEMORY, CONCURRENCY, reason=SESSIONS)
def an_upgrade(site: Site) -> None:
    """As browsers do: it begins with polling, and goes on over a WebSocket."""
    with _connected(site, ("polling", "websocket")) as (client, received):
        expect(client.transport(), "websocket", "the transport")
        for number in range(5):
            expect(client.call("double", number, timeout=PATIENCE_S), 2 * number, "the acknowledgement")
        client.emit("count", 100)
        expect(_take(received, 105), [0, 2, 4, 6, 8, *range(100)], "the events")
    site.observations.clear()


@step
def a_websocket_alone(site: Site) -> None:
    """One connection has the whole session: no model lacks what that needs."""
    with _connected(site, ("websocket",)) as (client, received):
        expect(client.call("double", 21, timeout=PATIENCE_S), 42, "the acknowledgement")
        client.emit("count", 10)
        expect(_take(received, 11), [42, *range(10)], "the events")


@contextmanager
def _connected(site: Site, transports: tuple[str, ...] = ("polling",)) -> Iterator[tuple[Any, "queue.Queue[int]"]]:
    """A client, and what it receives. How its polls fall is chance: their answers' heads are recorded by kind, once."""
    heads: dict[str, requests.Response] = {}

    def keep(response: requests.Response, **_: object) -> None:
        heads.setdefault(response.request.method or "", response)

    session = requests.Session()
    session.trust_env = False
    session.hooks["response"].append(keep)
    client = socketio.Client(http_session=session, reconnection=False, handle_sigint=False)
    received: queue.Queue[int] = queue.Queue()
    client.on("doubled", received.put)
    client.on("counted", received.put)
    gone = Event()
    client.on("disconnect", lambda *_: gone.set())
    client.connect(site.url, transports=list(transports), wait_timeout=PATIENCE_S)
    try:
        yield client, received
        if client.transport() == "polling":  # see `leave` in the site
            client.emit("leave")
            expect(gone.wait(PATIENCE_S), True, "the server ends the session")
    finally:
        client.disconnect()
        session.close()
    for method, response in sorted(heads.items()):
        site.observe(method, response.status_code, response.headers.items(), b"")


def _take(received: "queue.Queue[int]", count: int) -> list[int]:
    try:
        return [received.get(timeout=PATIENCE_S) for _ in range(count)]
    except queue.Empty:
        raise AssertionError(f"no event came within {PATIENCE_S:g} s") from None
