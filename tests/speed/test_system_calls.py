"""System calls per request, counted by strace(1): what a model costs the kernel, as far as Python decides it.

A count does not depend on the machine or on its load, so one call too many fails, where a timed test would shrug. The
tables are the whole truth: a request makes these calls and no others. If you need one more, change its table, and say
in the commit what the call buys, with a figure; what a call costs is in `docs/discussion/speed.md`. If you need one
fewer, change the table too: what was won stays won.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from support.client import connections
from support.models import EVENT_DRIVEN, MODELS, refusal
from support.processes import threads
from support.server import Server
from support.system_calls import system_calls
from support.visits import HELLO, REQUESTS, STATIC, visit, visit_together
from support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("executed")

REQUESTS_COUNTED = 300
CONNECTIONS_COUNTED = 50
TOGETHER = 16
THREADS = 4

WHAT = {"wsgi": ("hello", "post", "stream", "static"), "asgi": ("hello", "post", "stream")}

#: Timers, and the tracer, wake a server now and then: less than half a call per request.
NOISE = 0.4

WAITS = ("epoll_wait", "epoll_pwait", "poll", "ppoll", "io_uring_enter")
#: How often asyncio makes sure that it has not been forked depends on Python's version; how often two threads meet at
#: the interpreter's lock, on the load.
NOT_COUNTED = ("getpid", "futex")


#: Beside poll(2): how its thread and the leader's wake each other, and how it looks what a thread has been doing.
WATCHERS = ("read", "write", "pread64", "clock_gettime")


class Calls(NamedTuple):
    """Per request."""

    waits: float
    """At most: what has come already is not waited for."""
    receives: float
    sends: float
    others: float


#: Beside the wait for the next request, these look whether somebody else is at the door.
LOOKS = ("iterative", "preforked", "prethreaded", "interpreters")
WAITS_OF_WSGI = {model: 2 if model in LOOKS else 1 for model in MODELS}
#: In models that block, an ASGI application runs on a loop in another thread: each waits for the other.
WAITS_OF_ASGI = {model: waits if model in EVENT_DRIVEN else waits + 2 for model, waits in WAITS_OF_WSGI.items()}
#: They tell each other by an eventfd(2) each, which is written to and read.
OTHERS_OF_ASGI = {model: 0 if model in EVENT_DRIVEN else 4 for model in MODELS}

#: The parts of a WSGI application go one by one (PEP 3333); what ASGI sends without a wait goes in one call.
SENDS = {"stream": {"wsgi": 11, "asgi": 1}}
#: The file, and the directory that it lies in, are looked at.
OTHERS = {"static": 2}

#: All but the waits that a client costs who comes for one request: accept, watch, receive, send, see the end, close.
PER_CONNECTION = {"iterative": 7, "preforked": 7, "poll": 8, "epoll": 10, "io_uring": 4}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> str:
    if reason := refusal(request.param):
        pytest.skip(reason)
    return str(request.param)


@contextmanager
def serving(model: str, interface: str) -> Iterator[Server]:
    """A server whose threads have all been started, and where one thread does all, if it is a loop's."""
    number = THREADS if model == "prethreaded" else 0
    takes_it = model == "prethreaded" or (model in EVENT_DRIVEN and interface == "wsgi")
    pool = ("--threads", str(number)) if takes_it else ()
    with Server(f"support.apps_measured:{interface}", "--model", model, *pool, *STATIC) as server:
        if model == "prethreaded":
            beside = THREADS + (interface == "asgi")  # the loop's
            wait_until(lambda: threads(server.pid) > beside, f"{beside} threads run beside the main one")
        yield server


def per_request(counted: Counter[str], requests: int) -> Calls:
    left = Counter({name: count for name, count in counted.items() if name not in NOT_COUNTED})
    waits = sum(left.pop(name, 0) for name in WAITS)
    receives, sends = left.pop("recvfrom", 0), left.pop("sendto", 0)
    return Calls(*(count / requests for count in (waits, receives, sends, left.total())))


def expected(model: str, interface: str, what: str) -> Calls:
    waits = WAITS_OF_WSGI if interface == "wsgi" else WAITS_OF_ASGI
    receives = 0 if model == "io_uring" else 1  # the completion brings the bytes
    others = OTHERS.get(what, 0) if interface == "wsgi" else OTHERS_OF_ASGI[model]
    return Calls(waits[model], receives, SENDS.get(what, {}).get(interface, 1), others)


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_calls_of_a_request(model: str, interface: str) -> None:
    """On a connection that is kept, one request after another."""
    with serving(model, interface) as server, server.connect() as connection:
        for what in WHAT[interface]:
            visit(connection, REQUESTS[what], 10)
            counted = system_calls(server, lambda what=what: visit(connection, REQUESTS[what], REQUESTS_COUNTED))
            found, table = per_request(counted, REQUESTS_COUNTED), expected(model, interface, what)
            assert found.waits <= table.waits + NOISE, (what, counted)
            assert found[1:] == pytest.approx(table[1:], abs=NOISE), (what, counted)


@pytest.mark.parametrize("model", sorted(EVENT_DRIVEN), indirect=True)
def test_calls_where_threads_may_take_over(model: str) -> None:
    """A request makes the same calls; those of the watcher (models/_leaders.py) come by the clock, and are left out."""
    with (
        Server("support.apps_measured:wsgi", "--model", model, *STATIC) as server,
        server.connect() as connection,
    ):
        for what in WHAT["wsgi"]:
            visit(connection, REQUESTS[what], 10)
            counted = system_calls(server, lambda what=what: visit(connection, REQUESTS[what], REQUESTS_COUNTED))
            for name in ("poll", *WATCHERS):
                del counted[name]
            found, table = per_request(counted, REQUESTS_COUNTED), expected(model, "wsgi", what)
            assert found[1:] == pytest.approx(table[1:], abs=NOISE), (what, counted)


@pytest.mark.parametrize("model", sorted(EVENT_DRIVEN), indirect=True)
def test_clients_that_come_together_share_a_wait(model: str) -> None:
    rounds = REQUESTS_COUNTED // TOGETHER
    with serving(model, "wsgi") as server, connections(server.address, TOGETHER) as clients:
        visit_together(clients, 1)
        counted = system_calls(server, lambda: visit_together(clients, rounds))
    found = per_request(counted, rounds * TOGETHER)
    assert found.waits < 0.5, counted
    assert found[1:] == pytest.approx(expected(model, "wsgi", "hello")[1:], abs=NOISE), counted


@pytest.mark.parametrize("model", PER_CONNECTION, indirect=True)
def test_calls_of_a_connection(model: str) -> None:
    """For a single request. (What a new thread or process costs beside is the kernel's and glibc's affair.)"""

    def come_and_go(times: int) -> None:
        for _ in range(times):
            with server.connect() as connection:
                visit(connection, [HELLO], 1)

    with serving(model, "wsgi") as server:
        come_and_go(5)
        for _ in range(3):  # on a busy machine a process may find that another one was faster to accept
            counted = system_calls(server, lambda: come_and_go(CONNECTIONS_COUNTED))
            calls = sum(per_request(counted, CONNECTIONS_COUNTED)[1:])
            if calls < PER_CONNECTION[model] + NOISE:
                break
    assert calls == pytest.approx(PER_CONNECTION[model], abs=NOISE), counted
