"""Out of descriptors: nobody is let in for a while, one line says so, the CPU rests, and all goes on by itself."""

import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from socket import SO_RCVBUF, SOL_SOCKET
from time import sleep

import pytest

from contract.test_metrics_endpoint import ENDPOINT, ask
from support.client import Connection, connections
from support.messages import render
from support.processes import await_idle, lowest_free_descriptor, open_descriptors, rests, tree
from support.server import Server, serve
from support.waiting import wait_until
from support.websocket import TEXT, frame, handshake, raw_websocket

COMPLAINT = "cannot accept clients: Too many open files"

#: s; a client that makes no room in this time is slow, and what it does not take goes to a file.
SLOW_S = 0.05

#: Twice the descriptors that `app_few_descriptors` leaves to its process.
CLIENTS = 80


@contextmanager
def without_descriptors(server: Server) -> Iterator[None]:
    """For a while no process of the server may open a descriptor; what is open stays open."""
    before = {process.pid: resource.prlimit(process.pid, resource.RLIMIT_NOFILE) for process in tree(server.pid)}
    for pid, (_, hard) in before.items():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest_free_descriptor(pid), hard))
    try:
        yield
    finally:
        for pid, limits in before.items():
            with suppress(ProcessLookupError):  # the child of a client that has left
                resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("model", ["iterative", "forking", "preforked", "threaded", "prethreaded", "poll", "epoll"])
def test_out_of_descriptors(model: str, interface: str) -> None:
    """Wherever they went: to the application, or to another process of the system."""
    options = ["--workers", "1"] if model == "preforked" else []
    with serve(model, interface, *options) as server, ExitStack() as stack:
        with server.connect() as first:  # afterwards all is open that is opened once, and this is closed
            assert first.request("GET", "/", "Connection: close").status == 200
            first.assert_closed()
        await_idle(server.pid)  # it shuts a connection down before it closes it
        with without_descriptors(server):
            waiting = stack.enter_context(connections(server.address, 3))
            for connection in waiting:
                connection.send(render("GET", "/", "Connection: close"))
            wait_until(lambda: COMPLAINT in server.stderr(), "the server says that it lacks descriptors")
            assert rests(server.pid)
            assert not any(connection.has_data() for connection in waiting)
        assert [connection.read_response().status for connection in waiting] == [200] * 3
        assert server.stderr().count(COMPLAINT) == 1
        assert not server.complaints()


@pytest.mark.parametrize("how", ["--no-supervisor", "--supervisor"])
def test_no_descriptor_for_clients_of_metrics(how: str) -> None:
    with serve("epoll", "wsgi", *ENDPOINT, how) as server, ExitStack() as stack:
        assert ask(server, "/healthz").status == 200
        address = ("127.0.0.1", int(server.stderr().partition("metrics at http://127.0.0.1:")[2].split()[0]))
        with without_descriptors(server):
            waiting = stack.enter_context(connections(address, 5))  # the metrics may give one or two back
            for connection in waiting:
                connection.send(render("GET", "/healthz"))
            wait_until(lambda: "Too many open files" in server.stderr(), "the server says that it lacks descriptors")
            assert rests(server.pid)
        assert [connection.read_response().status for connection in waiting] == [200] * 5
        assert server.stderr().count("Too many open files") == 1


@pytest.mark.parametrize("model", ["poll", "epoll", "io_uring"])
def test_body_that_cannot_be_stored(model: str) -> None:
    """The log has the reason, once; the client hears nothing of our directories."""
    with serve(model, "wsgi") as server, ExitStack() as stack:
        clients = stack.enter_context(connections(server.address, 2))
        for client in clients:
            assert client.request("GET", "/").status == 200
        with without_descriptors(server):
            for client in clients:
                client.send_if_possible(render("POST", "/", body=b"x" * (2 << 20)))
                answer = client.read_response()
                assert (answer.status, answer.body) == (500, b"the body could not be stored\n")
        complaint = "cannot store the body of a request: Too many open files; it is answered 500"
        assert server.stderr().count(complaint) == 1
        assert not server.complaints()


@pytest.mark.parametrize("model", ["threaded", "epoll"])
def test_static_file_that_cannot_be_opened(model: str, static_tree: Path) -> None:
    """One line for all of them, and no traceback: nothing of the server's is wrong."""
    with serve(model, "wsgi", "--static", f"/files={static_tree}") as server, server.connect() as client:
        assert client.request("GET", "/files/plain.txt").status == 200
        with without_descriptors(server):
            answers = [client.request("GET", f"/files/{name}") for name in ("big.bin", "data.json", "big.bin")]
            assert {(answer.status, answer.closes) for answer in answers} == {(500, False)}
        assert client.request("GET", "/files/big.bin").status == 200
        lines = [line for line in server.stderr().splitlines() if "no answer could be given" in line]
        assert len(lines) == 1
        assert lines[0].endswith("no answer could be given to /files/big.bin: Too many open files; it is answered 500")
        assert not server.complaints()


@pytest.mark.parametrize("model", ["threaded", "poll", "epoll", "io_uring"])
def test_library_for_websockets_that_cannot_be_read(model: str) -> None:
    """The first client that asks for a WebSocket has it loaded. The application is not accused, nor is each refused."""
    app = "support.app_websocket:app"
    with serve(model, "asgi", app=app) as server, ExitStack() as stack:
        clients = stack.enter_context(connections(server.address, 3))
        for client in clients:
            assert client.request("GET", "/").status == 200
        with without_descriptors(server):
            for client in clients:
                client.send(handshake("/echo"))
                assert client.read_response().status == 500
        lines = [line for line in server.stderr().splitlines() if " ERROR " in line]
        assert len(lines) == 1, lines
        assert "cannot load the library for WebSockets: Too many open files; requests for one are" in lines[0]
        with raw_websocket(server.address, "/echo") as websocket:
            websocket.sock.sendall(frame(TEXT, b"hello"))
            assert websocket.read() == (TEXT, b"hello")


@pytest.mark.parametrize("model", ["threaded", "poll", "epoll", "io_uring"])
def test_more_clients_than_descriptors(model: str, interface: str) -> None:
    """All that there are go to clients who stay; who leaves makes room for those who wait."""
    with (
        serve(model, interface, app=f"support.app_few_descriptors:{interface}") as server,
        connections(server.address, CLIENTS) as clients,
    ):
        for client in clients:
            client.send(render("GET", "/"))
        wait_until(lambda: COMPLAINT in server.stderr(), "the server says that it lacks descriptors")
        assert rests(server.pid)
        served: list[Connection] = []
        while waiting := [client for client in clients if client not in served]:
            served += answered(waiting)
        assert server.stderr().count(COMPLAINT) == 1
        assert not server.complaints()


def answered(clients: list[Connection]) -> list[Connection]:
    """Wait for some to have their answers, and let them leave."""
    wait_until(lambda: any(client.has_data() for client in clients), "somebody is served")
    ready = [client for client in clients if client.has_data()]
    for client in ready:
        assert client.read_response().status == 200
        client.close()
    return ready


@pytest.mark.parametrize("model", ["poll", "epoll", "io_uring"])
def test_answer_that_cannot_be_kept_in_a_file(model: str) -> None:
    """A client who reads slowly gets it all the same, from memory; and the file that was begun is closed after it."""
    with serve(model, "wsgi") as server:

        def read_slowly() -> None:
            with Connection(server.address, receive_buffer=4096) as client:
                client.send(render("GET", "/send?size=5000000&parts=100"))
                wait_until(client.has_data, "the answer has begun")
                sleep(2 * SLOW_S)
                client.socket.setsockopt(SOL_SOCKET, SO_RCVBUF, 1 << 20)  # it has been slow for long enough
                assert len(client.read_response().body) == 5_000_000

        read_slowly()  # afterwards all is open that is opened once
        before = open_descriptors(server.pid)
        for process in tree(server.pid):
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
        for _ in range(4):
            read_slowly()
        assert "cannot keep an answer for a slow client: File too large" in server.stderr()
        wait_until(lambda: open_descriptors(server.pid) <= before, "all files are closed")
        assert not server.complaints()
