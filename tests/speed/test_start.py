"""What a server that has just started holds: the modules that were imported, and the memory that is its own.

Modules make the time until the line "listening", at about half a millisecond each, and the memory of each worker. They
are counted in real servers. A bound is the figure that was found when it was last changed; another module on the way of
each start is to be meant.
"""

import json

import pytest

from support.server import Server

pytestmark = pytest.mark.usefixtures("executed")

OURS = {("epoll", "wsgi"): 187, ("epoll", "asgi"): 187, ("prethreaded", "wsgi"): 182}
"""Modules of Septet, counted on 2026-12-01: eleven more than two days before, under prethreaded thirteen. Seven (nine)
are parts of modules that were too long, one knows what an ended server leaves behind, one the other threads of a WSGI
application, one starts the server's own, one ends the application's executors of processes, also in a signal handler,
which is no place to import it."""

OTHERS = {"wsgi": 213, "asgi": 247}
"""All other modules, with click's and the test application's, on the same day (Python 3.11); 224 and 248 before. Later
Pythons have up to OTHERS_ROOM more."""

OTHERS_ROOM = 12

PRIVATE_KIB = 24_000
"""Most memory of a server with an application that does nothing, which no other process shares (Private_* in
proc_pid_smaps(5)). Counted: 21,300 (WSGI) and 22,100 (ASGI); 22,500 and 23,100 before."""

NOT_AT_START = ("septet.lab", "septet.migrate", "septet.console.answers", "septet.console.endpoint", "septet.http2")
"""Packages and modules that a server needs only where it is told to, or where a client asks for it."""


@pytest.mark.parametrize(("model", "interface"), OURS)
def test_what_is_held_after_the_start(model: str, interface: str) -> None:
    app = f"support.apps_measured:{interface}"
    with Server(app, "--model", model) as server, server.connect() as connection:
        ours, others, private_kib = json.loads(connection.request("GET", "/held").body)
    assert [name for name in ours if name.startswith(NOT_AT_START)] == []
    assert len(ours) <= OURS[model, interface], ours
    assert others <= OTHERS[interface] + OTHERS_ROOM
    assert private_kib <= PRIVATE_KIB
