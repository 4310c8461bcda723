"""Steps of Python per request: calls of functions and instructions of bytecode, from the loop down to the application.

They are counted in a real server by a trace function, and each request of a kind takes exactly as many as the last, so
a path that got longer fails here on any machine, however busy. What built-in functions do inside is not seen: that is
for `valgrind --tool=callgrind`, and for `make bench-peers`.

A bound is the figure that was found when it was last changed, and a change has five per cent of room. To raise one,
say in the commit what its steps buy, with a figure: time or instructions per request before and after. A path that got
much shorter fails too, for its bound guards nothing any more: put the new figure there.
"""

import statistics
import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from support.apps_measured import COUNT_STEPS, HELLO
from support.client import Connection
from support.models import EVENT_DRIVEN, io_uring_refusal
from support.server import Server
from support.visits import REQUESTS, STATIC, spent, visit
from support.websocket import TEXT, frame, raw_websocket

pytestmark = pytest.mark.usefixtures("executed")

WARM_UP = 300
"""Visits after which a server has learned what it learns: which fields vary, which heads and files come again."""

WINDOWS = 5
VISITS = 10

ROOM = 1.05
SHORTER = 0.85


class Steps(NamedTuple):
    """Per request. Python's versions compile the same code to more or fewer instructions."""

    calls: int
    of_3_11: int
    of_3_12: int
    of_3_13: int

    @property
    def instructions(self) -> int:
        """For this Python; a later one is held to the latest that is known."""
        return self[min(sys.version_info.minor, 13) - 10]


# Counted on 2026-11-28, prethreaded with 3.11 on 2026-11-30; varying, balanced and post on 2026-11-29, after what was
# learned of earlier heads went: balanced took 209 calls and 10,391 instructions with it (3.11).
# Since every step of a carrier is guarded against want of memory and against exceptions of other
# threads, they are up to 7 % more instructions than before, and up to three calls fewer. That an answer's end waits for
# other threads which still use it (2026-11-30) is 15 more in each WSGI request. 4 more in each ASGI request, of 1,369,
# keep a piece of a body until `receive` has returned it: an exception that came there lost it.
STEPS = {
    ("epoll", "wsgi", "hello"): Steps(32, 1110, 1036, 1025),
    ("epoll", "wsgi", "varying"): Steps(43, 1960, 1831, 1763),
    ("epoll", "wsgi", "balanced"): Steps(64, 2597, 2420, 2320),
    ("epoll", "wsgi", "post"): Steps(41, 1359, 1268, 1249),
    ("epoll", "wsgi", "stream"): Steps(157, 4289, 3986, 4081),
    ("epoll", "wsgi", "static"): Steps(29, 943, 886, 891),
    ("epoll", "asgi", "hello"): Steps(40, 1308, 1229, 1292),
    ("epoll", "asgi", "varying"): Steps(50, 1902, 1792, 1831),
    ("epoll", "asgi", "balanced"): Steps(71, 2495, 2340, 2353),
    ("epoll", "asgi", "post"): Steps(49, 1572, 1486, 1552),
    ("epoll", "asgi", "stream"): Steps(82, 2697, 2515, 2670),
    ("io_uring", "wsgi", "hello"): Steps(46, 1500, 1386, 1367),
    ("prethreaded", "wsgi", "hello"): Steps(35, 1103, 985, 985),
}

# Counted on 2026-11-29, after 58 calls and 1,511 instructions (Python 3.11).
MESSAGE_STEPS = Steps(54, 1438, 1334, 1386)
"""Per message that epoll receives over a WebSocket and the application echoes."""


def steps_of_a_visit(connection: Connection, visits: Callable[[], None]) -> tuple[float, float]:
    """Calls and instructions of one of VISITS. What a timer of the server's takes now and then falls out of the
    median."""
    windows = []
    for _ in range(WINDOWS):
        before, begun = spent(connection), spent(connection)
        visits()
        ended = spent(connection)
        asking = [b - a for a, b in zip(before, begun, strict=True)]  # takes steps of its own
        windows.append([(b - a - own) / VISITS for a, b, own in zip(begun, ended, asking, strict=True)])
    calls, instructions, _ = map(statistics.median, zip(*windows, strict=True))
    return calls, instructions


@pytest.mark.parametrize(("model", "interface", "what"), STEPS)
def test_steps_of_a_request(model: str, interface: str, what: str) -> None:
    if model == "io_uring" and (reason := io_uring_refusal()):
        pytest.skip(reason)
    static = STATIC if what == "static" else ()
    app = f"support.apps_measured:{interface}"
    # With a watcher beside it (models/_leaders.py), what is counted would depend on the clock.
    threads = ("--threads", "0") if interface == "wsgi" and model in EVENT_DRIVEN else ()
    with (
        Server(app, "--model", model, *threads, *static, environment={COUNT_STEPS: "1"}) as server,
        server.connect() as connection,
    ):
        visit(connection, REQUESTS[what], WARM_UP)
        calls, instructions = steps_of_a_visit(connection, lambda: visit(connection, REQUESTS[what], VISITS))
    compare(STEPS[model, interface, what], calls, instructions)


def test_steps_of_a_message() -> None:
    def echo(times: int) -> None:
        for _ in range(times):
            raw.sock.sendall(frame(TEXT, HELLO))
            assert raw.read() == (TEXT, HELLO)

    with (
        Server("support.apps_measured:asgi", "--model", "epoll", environment={COUNT_STEPS: "1"}) as server,
        server.connect() as connection,
        raw_websocket(server.address, "/") as raw,
    ):
        echo(WARM_UP)
        calls, instructions = steps_of_a_visit(connection, lambda: echo(VISITS))
    compare(MESSAGE_STEPS, calls, instructions)


def compare(bound: Steps, calls: float, instructions: float) -> None:
    found = f"{calls:g} calls (bound: {bound.calls}), {instructions:g} instructions (bound: {bound.instructions})"
    assert calls <= bound.calls * ROOM, found
    assert instructions <= bound.instructions * ROOM, found
    assert instructions >= bound.instructions * SHORTER, f"shorter, which is fine; write it down: {found}"
