"""A connection that is kept stays while a thread or a worker is free; and nobody loses a request by being let go."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from threading import Thread
from time import monotonic, sleep

import pytest

from support.client import Connection, connections
from support.messages import render
from support.processes import await_idle, children, is_stopped, threads
from support.server import APP_DIR, Server, serve
from support.waiting import wait_until

#: Eight clients at once, as many as there are threads or workers.
EIGHT = [
    ("prethreaded", ["--threads", "8"]),
    ("prethreaded", ["--threads", "4", "--workers", "2"]),
    ("preforked", ["--workers", "8"]),
]

#: s; a client that asks nothing for a second may have to leave.
ACTIVE_S = 1.0

#: s; a free thread that has accepted nobody for a second is not taken for free: a little less is about that.
STALLED_S = 0.9


def keep(server: Server, clients: list[Connection]) -> float:
    """Let each client be served once, by a thread of its own from then on, and be idle for a while. Returns how
    many seconds the slowest one waited.
    """
    slowest_s = 0.0
    for client in clients:
        began = monotonic()
        assert not client.request("GET", "/").closes
        slowest_s = max(slowest_s, monotonic() - began)
    sleep(ACTIVE_S + 0.2)  # the server's reason to keep them must not be that they have just asked
    return slowest_s


@pytest.mark.parametrize(("model", "options"), EIGHT)
def test_newcomers_take_the_free_threads(model: str, options: list[str], interface: str) -> None:
    with serve(model, interface, *options) as server, connections(server.address, 4) as kept:
        slowest_s, until = keep(server, kept), monotonic() + 1.5
        while monotonic() < until:
            began = monotonic()
            assert server.get("/").status == 200
            slowest_s = max(slowest_s, monotonic() - began)
            if slowest_s > STALLED_S:
                return  # the machine has given the free ones no time, and the server must not take them for free
            assert not any(client.has_data() for client in kept), slowest_s
        for client in kept:
            assert not client.request("POST", "/", body=b"x").closes


@pytest.mark.parametrize(("model", "options"), EIGHT)
def test_one_makes_room_for_one(model: str, options: list[str]) -> None:
    with serve(model, "wsgi", *options) as server, connections(server.address, 8) as kept, server.connect() as newcomer:
        keep(server, kept)
        assert newcomer.request("GET", "/").status == 200
        await_idle(server.pid)
        assert sum(client.has_data() for client in kept) == 1


@pytest.mark.parametrize(("model", "options"), [("iterative", []), ("prethreaded", ["--threads", "1"])])
def test_a_client_who_has_just_asked_may_ask_again(model: str, options: list[str]) -> None:
    with serve(model, "wsgi", *options) as server:
        wait_until(lambda: asks_again_in_time(server), "the machine lets a client ask again within a second")


def asks_again_in_time(server: Server) -> bool:
    """Whether the client was as quick as it has to be; then it has been answered for the last time, and not before."""
    with server.connect() as kept, server.connect() as newcomer:
        began = monotonic()
        assert not kept.request("GET", "/").closes
        newcomer.send(render("GET", "/"))
        let_go = kept.has_data(within_s=ACTIVE_S / 2)
        kept.send_if_possible(render("POST", "/", body=b"x"))
        if monotonic() - began > STALLED_S:
            return False
        assert not let_go
        assert kept.read_response().closes
        assert newcomer.read_response().status == 200
        return True


@pytest.mark.parametrize(("model", "options"), EIGHT)
def test_kept_and_new_clients_beside_each_other(model: str, options: list[str]) -> None:
    """Six clients and eight threads: each request is answered, and no connection is closed."""
    faults: list[str] = []

    def ask_on_one_connection(server: Server) -> None:
        with server.connect() as client:
            for number in range(40):
                if client.request("POST", "/", body=b"x").closes:
                    faults.append("a kept connection was told `close`")
                    return
                sleep(0.002 * (number % 30))

    def ask_anew(server: Server) -> None:
        for _ in range(60):
            assert server.get("/", "Connection: close").status == 200

    def noting(ask: Callable[[Server], None], server: Server) -> None:
        try:
            ask(server)
        except (AssertionError, OSError) as error:
            faults.append(repr(error))

    with serve(model, "wsgi", *options) as server:
        # A thread that has not begun to wait is not free.
        wait_until(lambda: threads(server.pid) >= (11 if len(options) == 4 else 9), "all threads have started")
        await_idle(server.pid)
        clients = [Thread(target=noting, args=(ask, server)) for ask in [ask_on_one_connection] * 4 + [ask_anew] * 2]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
    assert not faults


FLOODED = """
from time import sleep
from support.messages import render
from support.server import serve

with serve({model!r}, "wsgi", {options}) as server, server.connect() as silent:
    newcomer = server.connect() if {crowded} else None
    if newcomer:
        newcomer.send(render("GET", "/"))
    sleep({silent_s})
    assert silent.request("GET", "/").status == 200
    if newcomer:
        assert newcomer.read_response().status == 200
"""


@pytest.mark.parametrize(("crowded", "silent_s"), [(True, 0.5), (False, 2.0)])
@pytest.mark.parametrize(("model", "number"), [("preforked", '"--workers", "1"'), ("prethreaded", '"--threads", "2"')])
def test_silent_client_whom_a_flooded_kernel_does_not_keep_back(
    model: str, number: str, crowded: bool, silent_s: float
) -> None:
    """With SYN cookies, here for all clients of a network namespace, a client is accepted before it has spoken."""
    options = f'"--keep-alive-timeout", "3", {number}'
    code = FLOODED.format(model=model, options=options, crowded=crowded, silent_s=silent_s)
    namespace = 'ip link set lo up && echo 2 > /proc/sys/net/ipv4/tcp_syncookies || exit 77; exec "$0" -c "$1"'
    command = ["unshare", "-Urn", "sh", "-c", namespace, sys.executable, code]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path[1:], APP_DIR])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    if done.returncode == 77 or done.stderr.startswith("unshare:"):
        pytest.skip(f"network namespaces are not permitted here: {done.stderr.strip()}")
    assert not done.returncode, done.stderr


@pytest.mark.parametrize("options", [["--threads", "1", "--workers", "2"], ["--workers", "2"]], ids=" ".join)
def test_a_worker_that_is_stopped_is_not_free(options: list[str]) -> None:
    model = "prethreaded" if "--threads" in options else "preforked"
    with serve(model, "wsgi", *options) as server, ExitStack() as stack:
        with server.connect() as kept:
            worker = json.loads(kept.request("GET", "/info").body)["pid"]
            other = next(child.pid for child in children(server.pid) if child.pid != worker)
            os.kill(other, signal.SIGSTOP)
            stack.callback(os.kill, other, signal.SIGCONT)
            wait_until(lambda: is_stopped(other), "it has stopped: until then it may accept a client, and leave it")
            assert server.get("/").status == 200
