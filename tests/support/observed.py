"""The test's side of `apps_execution`: what an answer has seen of where it ran, and clients that read slowly."""

import json
import re
import select
from collections.abc import Sequence
from typing import NamedTuple

from support.apps_execution import marked
from support.client import Connection, Response
from support.server import Server
from support.waiting import wait_until


class Record(NamedTuple):
    thread: int
    main: bool
    """The thread is the process's main thread."""
    steps: int
    """Calls of next(), write() and close()."""


def observed(server: Server, token: str) -> Record:
    """The record of an answer, once it is closed; AssertionError where it has seen a departure from the rule."""
    prefix = f"observed {token} "
    wait_until(lambda: server.journal.starting(prefix), f"the answer {token} is closed")
    (line,) = server.journal.starting(prefix)
    record = json.loads(line)
    assert record.pop("faults") == []
    return Record(**record)


def assert_own(response: Response, token: str, size: int, parts: int = 1) -> None:
    """The answer is whole, and holds this token and nothing of another's."""
    assert response.status == 200, response
    if response.body != marked(token, size) * parts:
        strangers = set(re.findall(rb"<\w+>", response.body)) - {marked(token, 0)[: len(token) + 2]}
        raise AssertionError(f"{len(response.body)} bytes instead of {len(marked(token, size)) * parts}: {strangers}")


def read_in_turns(clients: Sequence[Connection]) -> list[Response]:
    """One answer for each client; they read in turns, a receive buffer at a time, until their connections end."""
    poller = select.poll()
    reading = {client.socket.fileno(): client for client in clients}
    for descriptor in reading:
        poller.register(descriptor, select.POLLIN)
    while reading:
        ready = poller.poll(20_000)
        assert ready, f"nothing comes to {len(reading)} clients"
        for descriptor, _ in ready:
            if not reading[descriptor].take_in():
                poller.unregister(descriptor)
                del reading[descriptor]
    return [client.read_response() for client in clients]
