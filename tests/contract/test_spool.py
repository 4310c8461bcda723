"""--limit-spool: what all processes of a server together may put into temporary files, and what becomes of the rest."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from support.client import Connection
from support.messages import chunked, pattern, render
from support.models import LOOPS
from support.processes import tree
from support.server import Server, serve
from support.waiting import wait_until

LIMIT = 3_000_000
HELD = 2_500_000
MORE = b"m" * 2_000_000
COMPLAINT = "cannot store the body of a request: there are 3000000 bytes in temporary files"


@pytest.fixture(params=LOOPS)
def model(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextmanager
def half_a_body(server: Server) -> Iterator[Connection]:
    """A client whose body is in a temporary file, all but its last byte."""
    with server.connect() as client:
        client.send(render("POST", "/read?how=all", f"Content-Length: {HELD}") + b"h" * (HELD - 1))
        wait_until(lambda: temporary_bytes(server) >= HELD - (1 << 16), "the body is in a file")
        yield client


def temporary_files(pid: int) -> Iterator[int]:
    """Sizes of the files without a name that a process has open."""
    with suppress(FileNotFoundError, PermissionError):
        for number in os.listdir(f"/proc/{pid}/fd"):
            path = f"/proc/{pid}/fd/{number}"
            with suppress(FileNotFoundError):
                if os.readlink(path).startswith("/tmp/") and os.stat(path).st_nlink == 0:
                    yield os.stat(path).st_size


def temporary_bytes(server: Server) -> int:
    return sum(sum(temporary_files(process.pid)) for process in tree(server.pid))


def is_refused(server: Server) -> bool:
    with server.connect() as client:
        client.send_if_possible(render("POST", "/read?how=all", body=MORE))
        response = client.read_response()
        assert response.status in (200, 503)
        assert response.closes or response.status == 200
        return response.status == 503


@pytest.mark.parametrize("workers", [[], ["--workers", "3"]], ids=["alone", "workers"])
def test_bodies_that_find_no_room(model: str, workers: list[str]) -> None:
    """Whichever process holds what is there already; told once, and over when that is."""
    with serve(model, "wsgi", "--limit-spool", str(LIMIT), *workers) as server:
        with half_a_body(server) as client:
            assert all(is_refused(server) for _ in range(4))
            client.send(b"h")
            assert client.read_response().status == 200
        wait_until(lambda: not is_refused(server), "there is room again")
        assert server.stderr().count(COMPLAINT) in range(1, 2 if not workers else 4)
        assert not server.complaints()


def test_body_that_is_broken_off(model: str) -> None:
    with serve(model, "wsgi", "--limit-spool", str(LIMIT)) as server:
        with half_a_body(server) as client:
            client.reset()
        wait_until(lambda: not is_refused(server), "there is room again")


def test_body_that_alone_is_too_large(model: str) -> None:
    with serve(model, "wsgi", "--limit-spool", str(LIMIT)) as server:
        for request in (
            render("POST", "/", f"Content-Length: {LIMIT + 1}"),
            render("POST", "/", "Transfer-Encoding: chunked") + chunked(b"c" * (LIMIT + 1), 1 << 16),
        ):
            with server.connect() as client:
                client.send_if_possible(request)
                response = client.read_response()
                assert (response.status, response.closes) == (413, True)


def test_process_that_is_killed(model: str) -> None:
    """What it had stored is gone with it, and counts no more."""
    with serve(model, "wsgi", "--limit-spool", str(LIMIT), "--workers", "2") as server, half_a_body(server):
        assert is_refused(server)
        victim = next(process.pid for process in tree(server.pid) if any(temporary_files(process.pid)))
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: not is_refused(server), "there is room again")


@pytest.mark.parametrize("threads", ["4", "0"])
def test_answer_waits_for_room(model: str, threads: str) -> None:
    """An answer is not failed for want of room: its application waits."""
    size = 12_000_000
    with (
        serve(model, "wsgi", "--limit-spool", str(LIMIT), "--threads", threads) as server,
        Connection(server.address, receive_buffer=1 << 14) as client,
    ):
        client.send(render("GET", f"/send?size={size}&parts=100&length=auto"))
        wait_until(lambda: "cannot keep an answer for a slow client" in server.stderr(), "the limit is reached")
        assert temporary_bytes(server) <= LIMIT
        assert client.read_response().body == pattern(size)
        wait_until(lambda: not temporary_bytes(server), "the file is gone")
        assert not is_refused(server)
        assert not server.complaints()


def test_file_of_an_answer_is_bounded(model: str) -> None:
    """Also one that is long: when what was in the file has gone, it is written from the beginning."""
    size, largest = 100_000_000, 0
    with serve(model, "wsgi") as server, Connection(server.address, receive_buffer=1 << 14) as client:
        client.send(render("GET", f"/send?size={size}&parts=200&length=auto"))
        wait_until(lambda: temporary_bytes(server) > 30_000_000, "the application runs ahead")
        response, received = client.read_head(), 0
        assert response.status == 200
        while received < size:
            received += len(client.read_some(1 << 20))
            largest = max(largest, temporary_bytes(server))
        assert largest < 36_000_000


@pytest.mark.parametrize(
    ("model", "interface"),
    [
        *((model, "wsgi") for model in ("iterative", "forking", "preforked", "threaded", "prethreaded")),
        *((model, "asgi") for model in LOOPS),
    ],
)
def test_nothing_is_stored(model: str, interface: str) -> None:
    """Where the application reads the body as it comes, the limit is no limit for it."""
    with serve(model, interface, "--limit-spool", "1") as server:
        assert server.request("POST", "/read?how=all", body=MORE).status == 200
        assert not temporary_bytes(server)
