"""Slow clients: each kind is ended by its own option, and does not hold up anybody else.

Every server here has one short deadline; the others keep their long defaults, so that only the right one can strike
within the test's patience. Before a request is complete no application plays a part: there one interface will do. Nor
does it play one in how much progress is enough, which the session reckons; one that stands still is tried with both.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.conftest import staying_well
from support.client import Connection, connections
from support.marks import cases, with_one_interface
from support.messages import byte_by_byte, render
from support.models import LOOPS, MODELS, carries_concurrently
from support.pool import Pool
from support.processes import has_open
from support.server import Server, serve
from support.waiting import wait_until

SHORT_S = 0.5
#: s; before any of the default deadlines (30 s and more) could strike.
PATIENCE_S = 15.0
DRIP_S = 0.05


@pytest.fixture
def hurried_senders(servers_of_file: Pool, model: str, interface: str) -> Iterator[Server]:
    """A server for tests of bodies that do not come."""
    with staying_well(servers_of_file.get(model, interface, "--body-timeout", str(SHORT_S))) as server:
        yield server


@pytest.fixture
def hurried_readers(servers_of_file: Pool, model: str, interface: str) -> Iterator[Server]:
    """A server for tests of answers that are not taken."""
    with staying_well(servers_of_file.get(model, interface, "--write-timeout", str(SHORT_S))) as server:
        yield server


def assert_others_are_served(server: Server, model: str) -> None:
    if carries_concurrently(model):
        assert server.get("/other").status == 200


def assert_ended(connection: Connection, since: float) -> None:
    """408 and the end, or the end alone; not before the deadline."""
    data = connection.read_to_end()
    elapsed = time.monotonic() - since
    assert data == b"" or data.startswith(b"HTTP/1.1 408 "), data
    assert SHORT_S * 0.9 <= elapsed < PATIENCE_S


def drip(connection: Connection, byte: bytes) -> None:
    """Send a byte every 50 ms until the server has had enough."""
    deadline = time.monotonic() + PATIENCE_S
    while not connection.has_data(within_s=DRIP_S):
        assert time.monotonic() < deadline, "the server waits for ever"
        connection.send_if_possible(byte)


def test_silent_connection(model: str) -> None:
    """It has opened a connection, as browsers do in advance, and says nothing."""
    with serve(model, "wsgi", "--keep-alive-timeout", str(SHORT_S)) as server:
        start = time.monotonic()
        with server.connect() as connection:
            assert_ended(connection, start)


@pytest.mark.parametrize("model", [model for model in MODELS if model not in LOOPS])
def test_silent_connection_that_the_kernel_keeps_back(model: str) -> None:
    """Blocking models hear of it only when it has been silent for a second or more, and end it then."""
    with serve(model, "wsgi", "--keep-alive-timeout", "1") as server:
        start = time.monotonic()
        with server.connect() as connection:
            assert_ended(connection, start)


def test_idle_connection(model: str) -> None:
    """After its answer it asks no more: ended without a 408, which the next request would take for its answer."""
    with serve(model, "asgi", "--keep-alive-timeout", "1") as server, server.connect() as connection:
        assert connection.request("GET", "/").status == 200
        assert_others_are_served(server, model)
        connection.assert_closed()


@pytest.mark.parametrize("model", LOOPS)
def test_many_idle_connections(model: str) -> None:
    """A loop does not look at all of them in one turn, but it comes to each."""
    with serve(model, "wsgi", "--keep-alive-timeout", "1") as server, connections(server.address, 620) as clients:
        for client in clients:
            client.assert_closed()


def test_slow_header(model: str) -> None:
    """A byte now and then is no progress: the deadline is for the complete header."""
    with serve(model, "wsgi", "--header-timeout", str(SHORT_S)) as server, server.connect() as connection:
        start = time.monotonic()
        connection.send(b"GET / HTTP/1.1\r\nHost: example.test\r\nX-Drip: ")
        assert_others_are_served(server, model)
        drip(connection, b"d")
        assert_ended(connection, start)


@cases("framing", everywhere=["Transfer-Encoding: chunked"], once=["Content-Length: 100"])
def test_stalled_body(hurried_senders: Server, model: str, framing: str) -> None:
    server = hurried_senders
    with server.connect() as connection:
        start = time.monotonic()
        connection.send(render("POST", "/read?how=all", framing) + b"5\r\n12")
        assert_others_are_served(server, model)
        assert_ended(connection, start)


@with_one_interface()
def test_slow_body_that_progresses(model: str, interface: str) -> None:
    """The deadline is for progress: a body may take longer than it in all."""
    limit_s = 2.0  # so that a busy machine can hold the client up for a second, and the server does not notice
    body = b"progress" * 8
    options = ["--body-timeout", str(limit_s), "--min-rate", "1"]
    with serve(model, interface, *options) as server, server.connect() as connection:
        start = time.monotonic()
        connection.send(render("POST", "/", f"Content-Length: {len(body)}"))
        for number, byte in enumerate(byte_by_byte(body), start=1):
            due = start + 1.1 * limit_s * number / len(body)
            assert not connection.has_data(within_s=max(0.0, due - time.monotonic()))
            connection.send(byte)
        assert time.monotonic() - start > limit_s
        assert connection.read_response().status == 200


@with_one_interface()
def test_body_that_trickles(model: str, interface: str) -> None:
    """A byte now and then is progress, but too little of it."""
    options = ["--body-timeout", str(SHORT_S), "--min-rate", "10000"]
    with serve(model, interface, *options) as server, server.connect() as connection:
        start = time.monotonic()
        connection.send(render("POST", "/read?how=all", "Transfer-Encoding: chunked") + b"1000\r\n")
        assert_others_are_served(server, model)
        drip(connection, b"d")
        assert_ended(connection, start)
        assert not server.complaints()


@with_one_interface()
def test_reader_that_reads_a_little_now_and_then(model: str, interface: str, token: str) -> None:
    """It always makes room for some more of the answer, and never for enough."""
    with serve(model, interface, "--write-timeout", str(SHORT_S), "--min-rate", "1000000000") as server:
        with Connection(server.address, receive_buffer=4096) as connection:
            connection.send(render("GET", f"/endless?token={token}"))
            assert_others_are_served(server, model)
            closed = f"closed {token}"
            wait_until(lambda: server.journal.count(closed) or not read_a_little(connection), "it is cut", PATIENCE_S)
            server.journal.wait_for(closed)
        assert not server.complaints()


def read_a_little(connection: Connection) -> bytes:
    """Nothing at the end, which is a reset if the server has not sent all."""
    try:
        return connection.read_some(2048)
    except ConnectionResetError:
        return b""


def test_reader_that_does_not_read(hurried_readers: Server, model: str, token: str) -> None:
    """The application's iterable is closed, or its send() ended, though the client is still connected."""
    server = hurried_readers
    with Connection(server.address, receive_buffer=4096) as connection:
        connection.send(render("GET", f"/endless?token={token}"))
        assert_others_are_served(server, model)
        server.journal.wait_for(f"closed {token}")
        assert not connection.read_to_end().endswith(b"\r\n0\r\n\r\n")


def test_static_file_that_nobody_reads(model: str, static_tree: Path) -> None:
    """The same for bytes that no application makes; the file is closed, though the client is still connected."""
    options = ["--write-timeout", "2", "--static", f"/files={static_tree}"]  # so that it is open when we look
    with serve(model, "wsgi", *options) as server:
        with Connection(server.address, receive_buffer=4096) as connection:
            connection.send(render("GET", "/files/big.bin") * 10)
            assert connection.read_head().status == 200
            file = static_tree / "big.bin"
            assert has_open(server.pid, file)
            assert_others_are_served(server, model)
            wait_until(lambda: not has_open(server.pid, file), "the server gives up", PATIENCE_S)
            wait_until(lambda: not kernel_keeps(server, connection), "the connection is forgotten", PATIENCE_S)


def test_kernel_keeps_nothing_for_a_client_who_does_not_read(hurried_readers: Server, token: str) -> None:
    """The connection is reset: closed otherwise, it would stay in FIN-WAIT-1 with all that is not taken."""
    server = hurried_readers
    with Connection(server.address, receive_buffer=4096) as connection:
        assert connection.request("GET", "/").status == 200
        assert kernel_keeps(server, connection)  # while no deadline runs that could have passed on a busy machine
        connection.send(render("GET", f"/endless?token={token}") * 10)
        assert connection.read_head().status == 200
        wait_until(lambda: not kernel_keeps(server, connection), "the connection is forgotten", PATIENCE_S)


def kernel_keeps(server: Server, connection: Connection) -> bool:
    """Whether the server's side of the connection exists, in whichever state (proc_net_tcp.txt of the kernel)."""
    ports = server.address[1], connection.socket.getsockname()[1]
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(tuple(int(word.rpartition(":")[2], 16) for word in line.split()[1:3]) == ports for line in lines)


def test_prompt_client_is_not_disturbed(model: str) -> None:
    """Every deadline is short, and passes several times over while the client keeps it."""
    names = ("keep-alive", "header", "body", "write")
    limit_s = 2.0  # see above
    options = [word for name in names for word in (f"--{name}-timeout", str(limit_s))]
    with serve(model, "asgi", *options) as server, server.connect() as connection:
        start = time.monotonic()
        while time.monotonic() - start < 1.2 * limit_s:
            assert connection.request("POST", "/", body=b"body").status == 200
            assert not connection.has_data(within_s=0.1)
