"""A signal handler of the application's that raises: the server goes on, wherever its main thread is interrupted."""

import hashlib
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest

from support.client import Connection, Truncated
from support.marks import name
from support.messages import render
from support.models import IN_MAIN_INTERPRETER, LOOPS
from support.pool import Pool
from support.server import Server, serve
from support.waiting import PATIENCE_S, wait_until

APP = "support.app_interrupts:{}"

HOW = [*((model,) for model in IN_MAIN_INTERPRETER), ("epoll", "--threads", "0"), ("prethreaded", "--workers", "2")]


@pytest.fixture
def server(servers_of_file: Pool, how: tuple[str, ...], interface: str) -> Server:
    model, *options = how
    return servers_of_file.get(model, interface, *options, app=APP.format(interface))


def strike(server: Server, pid: int) -> None:
    before = server.journal.count("raised")
    os.kill(pid, signal.SIGALRM)
    wait_until(lambda: server.journal.count("raised") > before, "the handler has raised")


@pytest.mark.parametrize("of_the_application", [True, False], ids=["the process that answers", "the first process"])
@pytest.mark.parametrize("how", HOW, ids=" ".join)
def test_server_goes_on(server: Server, of_the_application: bool) -> None:
    """Struck when an answer is out and its client is still connected, so that the main thread waits for something."""
    for _ in range(3):
        with server.connect() as connection:
            pid = int(connection.request("GET", "/").body)
            strike(server, pid if of_the_application else server.pid)
    assert server.get("/").status == 200
    assert server.running


@pytest.mark.parametrize("how", HOW, ids=" ".join)
def test_strikes_in_a_row(server: Server) -> None:
    """They meet the main thread while it still handles the one before."""
    for _ in range(10):
        strike(server, server.pid)
    wait_until(lambda: all(_answers(server) for _ in range(3)), "it answers again")


def _answers(server: Server) -> bool:
    try:
        return server.get("/").status == 200
    except (Truncated, OSError):  # the last strikes may meet the client
        return False


#: Exceptions of the signal handler, one every 2 to 12 ms.
STRIKES = 120

CLIENTS = 6

BODY = b"x" * 200_000
DIGEST = hashlib.sha256(BODY).hexdigest().encode()
NOTHING = hashlib.sha256().hexdigest().encode()

#: s; without an answer: shorter than the time-outs of the server, and long for a busy machine.
LONG_S = 20.0

HAILED = [
    *(((model,), "asgi") for model in LOOPS),
    *(((model, "--threads", "0"), "wsgi") for model in LOOPS),
    (("iterative",), "wsgi"),
    (("preforked", "--workers", "1"), "asgi"),
    (("prethreaded",), "wsgi"),
    (("threaded",), "asgi"),
]


@pytest.mark.parametrize(("how", "interface"), HAILED, ids=name)
def test_hail_while_clients_upload(how: tuple[str, ...], interface: str) -> None:
    """Each strike costs one request at most: its client gets an error, or an end, and no client waits for ever. Nothing
    is left for which the stop would wait."""
    model, *options = how
    with serve(model, interface, *options, app=f"support.app_hailed:{interface}") as server:
        found: list[str] = []
        for hails in (1, 2, 3):
            assert server.get(f"/hail?times={STRIKES}").status == 200
            with ThreadPoolExecutor(CLIENTS) as pool:
                visits = pool.map(_upload_until_over, [server] * CLIENTS, [hails] * CLIENTS)
                found += [each for some in visits for each in some]
            if found.count("200") > 10:  # else others had the CPUs, and there was no time for more between the strikes
                break
        assert set(found) <= {"200", "500", "cut"}, found
        assert found.count("200") > 10
        wait_until(lambda: all(_answers(server) for _ in range(3)), "it answers again")


def _upload_until_over(server: Server, hails: int) -> list[str]:
    """What becomes of the requests of one client until so many hails are over: a status, "cut", or what is wrong."""
    found: list[str] = []
    until = monotonic() + PATIENCE_S
    while server.journal.count("over") < hails:
        assert monotonic() < until, "the strikes do not end"
        try:
            with Connection(server.address, LONG_S) as connection:
                for request, digest in (_UPLOAD, DIGEST), (_GET, NOTHING), (_UPLOAD, DIGEST):
                    connection.send(request)
                    response = connection.read_response()
                    right = response.status != 200 or response.body == digest
                    found.append(str(response.status) if right else f"another's answer: {response.body!r}")
                    if response.closes:
                        break
        except (Truncated, ConnectionError):
            found.append("cut")
        except (AssertionError, TimeoutError) as error:
            found.append(f"{type(error).__name__}: {error}")
            break
    return found


_UPLOAD = render("POST", "/", body=BODY)
_GET = render("GET", "/")
