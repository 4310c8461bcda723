"""What an application forks is not the server: it holds nothing of it, does nothing for it, and ends as it likes."""

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.client import Address
from support.http2 import Connection as Http2Connection
from support.http2 import get
from support.messages import render
from support.models import EVENT_DRIVEN, IN_MAIN_INTERPRETER, LOOPS
from support.pool import Pool
from support.processes import Process, process
from support.server import Server, loopback, serve
from support.waiting import wait_until

APP = "support.app_forks_children:{}"

PROMPT_S = 10.0

HOW = [*((model,) for model in IN_MAIN_INTERPRETER), ("epoll", "--threads", "0"), ("epoll", "--workers", "2")]


@pytest.fixture(params=HOW, ids=" ".join)
def forking_server(servers_of_file: Pool, request: pytest.FixtureRequest, interface: str) -> Server:
    """A server that goes on, whatever the children of its application do."""
    model, *options = request.param
    return servers_of_file.get(model, interface, *options, app=APP.format(interface))


@pytest.fixture(params=HOW, ids=" ".join)
def own_server(request: pytest.FixtureRequest, interface: str) -> Iterator[Server]:
    model, *options = request.param
    bind = (f"{loopback()}:0",)  # whose port nobody takes when it is given back
    with serve(model, interface, *options, app=APP.format(interface), bind=bind) as server:
        yield server


@contextmanager
def kept_child(server: Server) -> Iterator[Process]:
    """A child that goes on when its request is answered."""
    child = process(int(server.get("/is_kept").body))
    assert child is not None
    try:
        yield child
    finally:
        os.kill(child.pid, signal.SIGKILL)


def test_child_has_nothing_of_the_server(own_server: Server) -> None:
    with own_server.connect() as other:
        if own_server.ready[0].model != "iterative":
            other.request("GET", "/")  # accepted by now: a child may have a copy of a socket that is just accepted
            other.send(b"GET / HT")  # a client in another thread, or on the same loop
        told, _, status = own_server.get("/looks_around").body.decode().rpartition(" ")
    assert status == "0"
    assert json.loads(told) == {"open": [], "handled": [], "blocked": [], "wakeup": -1}


def test_child_has_nothing_of_threads_that_have_served() -> None:
    """Each thread of prethreaded that has served ASGI has an eventfd, while it waits for clients, too."""
    with serve("prethreaded", "asgi", "--threads", "4", app=APP.format("asgi")) as server:
        for _ in range(5):
            with server.connect() as one, server.connect() as two, server.connect() as three:
                for connection in (one, two, three):
                    assert connection.request("GET", "/").body == b"fine"
            told, _, status = server.get("/looks_around").body.decode().rpartition(" ")
            assert (json.loads(told)["open"], status) == ([], "0")


@pytest.mark.parametrize("model", LOOPS)
def test_child_has_no_connection_that_has_ended(model: str) -> None:
    """Under io_uring a socket is closed when its receive in the kernel has ended, a little after its connection: here
    one request ends its connection, and the next one that the same wait has brought forks.
    """
    with serve(model, "wsgi", "--threads", "0", app=APP.format("wsgi")) as server:
        with server.connect() as busy, server.connect() as ends, server.connect() as forks:
            busy.send(render("GET", "/waits"))
            wait_until(lambda: server.journal.count("at gate waits"), "the loop is busy")
            ends.send(render("GET", "/"))
            forks.send(render("GET", "/looks_around"))
            server.journal.open_gate("waits")
            told, _, status = forks.read_response().body.decode().rpartition(" ")
        assert (json.loads(told)["open"], status) == ([], "0")


@pytest.mark.parametrize(
    ("does", "end"),
    [
        ("exits", "7"),
        ("returns", "0"),
        ("raises_what_is_mute", "1"),
        ("is_told", "-15"),
        ("works_in_a_pool", "10"),
        ("works_in_a_process", "0"),
        ("is_interrupted", "-2"),
    ],
)
def test_child_ends_by_itself(forking_server: Server, does: str, end: str) -> None:
    assert forking_server.get(f"/{does}").body.decode() == end
    assert forking_server.get("/").body == b"fine"
    assert "Traceback" not in forking_server.stderr()


@pytest.mark.parametrize("how", [how for how in HOW if how[0] != "forking" and "--threads" not in how], ids=" ".join)
def test_child_of_a_callback_ends(how: tuple[str, ...]) -> None:
    with serve(how[0], "asgi", *how[1:], app=APP.format("asgi")) as server:
        assert server.get("/exits_in_a_task").body == b"9"
        assert server.get("/").body == b"fine"


@pytest.mark.parametrize("model", [*LOOPS, "threaded"])
def test_child_that_awaits_begins_no_other_request(model: str) -> None:
    """Those that have come with it on its connection, of HTTP/2, are the parent's."""
    with serve(model, "asgi", "--http2-cleartext", app=APP.format("asgi")) as server:
        with Http2Connection(server.address) as connection:
            streams = [connection.client.ask(get(path)) for path in ("/awaits", *["/"] * 4)]
            connection.flush()
            bodies = [bytes(connection.answer(stream).body) for stream in streams]
        assert bodies == [b"1", *[b"fine"] * 4]
        assert "could not be started" not in server.stderr()


@pytest.mark.parametrize("model", ["epoll", "threaded"])
def test_child_of_a_thread_of_the_executor_ends(model: str) -> None:
    """By itself: the thread would wait for the executor's next work."""
    with serve(model, "asgi", app=APP.format("asgi")) as server:
        assert server.get("/in_a_thread").body == b"0 7"
        assert "Traceback" not in server.stderr()


@pytest.mark.parametrize("model", ["epoll", "threaded"])
def test_child_that_comes_back_after_the_last_byte(model: str) -> None:
    with serve(model, "wsgi", app=APP.format("wsgi")) as server:
        assert server.get("/runs_out").body == b"fine"
        wait_until(lambda: len(server.journal.lines()) == 2, "both have ended")
        assert server.journal.lines() == ["a child that raises ended with 7", "a child that gives more ended with 0"]
        assert "/runs_out" not in server.stderr(), "the log accuses the application, as if its request had failed"


def test_child_writes_no_line_of_the_access_log() -> None:
    """Its copy of `send` takes an answer, which reaches nobody."""
    with serve("epoll", "asgi", "--access-log", "access.log", app=APP.format("asgi")) as server:
        assert len(server.get("/sends").body) == 200_000
        assert server.get("/").body == b"fine"
        wait_until(lambda: "GET / " in (server.directory / "access.log").read_text(), "the second is logged")
        assert (server.directory / "access.log").read_text().count("/sends") == 1


def test_connection_ends_though_a_child_goes_on(forking_server: Server) -> None:
    with forking_server.connect() as connection:
        start = time.monotonic()
        connection.send(render("GET", "/is_kept"))
        child = int(connection.read_response().body)
        connection.assert_closed()
        assert time.monotonic() - start < PROMPT_S
        os.kill(child, signal.SIGKILL)


def test_port_is_free_though_a_child_goes_on(own_server: Server) -> None:
    with kept_child(own_server) as child:
        own_server.process.send_signal(signal.SIGTERM)
        assert own_server.process.wait(PROMPT_S) == 0
        assert child.running
        wait_until(lambda: is_free(own_server.address), "the child has closed its copy of the listener")
        assert child.running


def is_free(address: Address) -> bool:
    assert isinstance(address, tuple)
    try:
        socket.create_server(address).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("model", ["threaded", "epoll"])
def test_child_has_nothing_of_a_socket_that_we_were_given(model: str) -> None:
    """Neither our copy nor the descriptor that the command line names."""
    with socket.create_server(("127.0.0.1", 0)) as given:
        number = given.fileno()
        with serve(model, "wsgi", app=APP.format("wsgi"), bind=(f"fd://{number}",), pass_fds=(number,)) as server:
            told, _, _ = server.get("/looks_around").body.decode().rpartition(" ")
    assert json.loads(told)["open"] == []


@pytest.mark.parametrize("model", sorted(EVENT_DRIVEN - {"poll"}))
def test_what_a_child_does_to_the_order_to_stop(model: str) -> None:
    """It has none: the server goes on when all its children have been told to end."""
    with serve(model, "wsgi", app=APP.format("wsgi")) as server:
        for _ in range(5):
            with kept_child(server) as child:
                os.kill(child.pid, signal.SIGTERM)
        assert server.get("/").body == b"fine"


@pytest.mark.parametrize(
    "how",
    [*((model,) for model in IN_MAIN_INTERPRETER), ("epoll", "--threads", "0"), ("epoll", "--workers", "2")],
    ids=" ".join,
)
@pytest.mark.parametrize(("number", "status"), [(signal.SIGUSR1, "0"), (signal.SIGUSR2, "7")])
def test_child_of_a_signal_handler(how: tuple[str, ...], interface: str, number: int, status: str) -> None:
    """In each process of the server: it ends there, and neither serves, nor forks workers, nor ends the parent's."""
    model, *options = how
    with serve(model, interface, *options, app=APP.format(interface), environment={"FORKS_IN_HANDLERS": "1"}) as server:
        assert server.get("/").body == b"fine"
        before = server.tree()[: 1 if model == "forking" else None]  # but for what serves one client
        for each in before:
            os.kill(each.pid, number)
            wait_until(server.journal.lines, f"the child of {each} has ended")
            assert server.journal.lines() == [f"a handler's child ended with {status}"]
            (server.directory / "journal").unlink()
        wait_until(lambda: set(server.tree()) == set(before), "there are the same processes as before")
        assert server.get("/").body == b"fine"
        assert "Traceback" not in server.stderr()


@pytest.mark.parametrize("how", [*HOW, ("preforked", "--workers", "2")], ids=" ".join)
def test_handler_for_the_end_of_children(how: tuple[str, ...]) -> None:
    """That the application has set when it was imported: it hears of its own children, in each process."""
    model, *options = how
    with serve(model, "wsgi", *options, app=APP.format("wsgi"), environment={"HEARS_OF_CHILDREN": "1"}) as server:
        assert server.get("/is_heard_of").body == b"1"


@pytest.mark.parametrize("model", ["epoll", "preforked"])
def test_child_of_a_thread_beside_the_supervisor(model: str) -> None:
    """It has nothing of what the supervisor knows its workers by."""
    environment = {"FORKS_IN_THREAD": "1"}
    with serve(model, "wsgi", "--workers", "2", app=APP.format("wsgi"), environment=environment) as server:
        wait_until(lambda: server.journal.starting("a thread's child "), "it has looked around")
        (told,) = server.journal.starting("a thread's child ")
        assert json.loads(told.rpartition(" ")[0])["open"] == []


@pytest.mark.parametrize("model", sorted(EVENT_DRIVEN))
def test_child_has_no_file_that_is_spooled(model: str) -> None:
    """A body that is still coming, and an answer that is not taken: they would take up the disk as long as it lives."""
    with serve(model, "wsgi", app="support.app_forks_children:wsgi") as server:
        with server.connect() as sends, server.connect(receive_buffer=4096) as reads:
            sends.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n" + bytes(2_000_000))
            reads.send(render("GET", "/much"))
            wait_until(lambda: deleted_files(server.pid) == 2, "both are on the disk")
            assert server.get("/files").body == b"[]"


OF_OTHERS = sorted(EVENT_DRIVEN | {"threaded", "prethreaded"})  # models in which one process has several clients


@pytest.mark.parametrize("model", IN_MAIN_INTERPRETER)
def test_child_has_no_file_of_the_server(model: str, interface: str, static_tree: Path) -> None:
    """Neither the table of metrics, nor a log, nor what is being sent to another client."""
    logs = ("--access-log", "access.log", "--span-log", "span.log")
    options = ("--metrics-bind", f"{loopback()}:0", "--static", f"/files={static_tree}", *logs)
    with serve(model, interface, *options, app=APP.format(interface)) as server:
        with server.connect(receive_buffer=4096) as reads:
            if model in OF_OTHERS:
                reads.send(render("GET", "/files/big.bin"))
                wait_until(lambda: "big.bin" in opened(server.pid), "the file is being sent")
            assert server.get("/all_open").body == b"[]"
            if model in OF_OTHERS:
                assert "big.bin" in opened(server.pid)
                assert len(reads.read_response().body) == len((static_tree / "big.bin").read_bytes())
        wait_until(lambda: "big.bin" not in opened(server.pid), "it is closed")


def opened(pid: int) -> set[str]:
    """The names of the files that a process has open."""
    return {os.path.basename(os.path.realpath(f"/proc/{pid}/fd/{each}")) for each in os.listdir(f"/proc/{pid}/fd")}


def test_child_has_no_pipe_that_is_a_log() -> None:
    """Its reader would wait for the end as long as the child lives."""
    reading, writing = os.pipe()
    with open(reading, "rb"), open(writing, "wb"):
        with serve("epoll", "wsgi", "--access-log", "-", app=APP.format("wsgi"), stdout=writing) as server:
            assert server.get("/all_open").body == b"[]"


def deleted_files(pid: int) -> int:
    """How many files the process has open that have no name any more, as temporary ones."""
    links = [os.path.realpath(f"/proc/{pid}/fd/{entry}") for entry in os.listdir(f"/proc/{pid}/fd") if int(entry) > 2]
    return sum(link.endswith("(deleted)") and "memfd" not in link for link in links)


@pytest.mark.parametrize("how", [("epoll",), ("iterative",), ("epoll", "--workers", "2")], ids=" ".join)
def test_child_that_is_forked_when_the_application_is_imported(how: tuple[str, ...]) -> None:
    """It comes back from there, and does not become a second server."""
    model, *options = how
    with serve(model, "wsgi", *options, app=APP.format("wsgi"), environment={"FORKS_AT_IMPORT": "1"}) as server:
        assert server.get("/").body == b"fine"
        assert "the child goes on" in server.stderr()
        assert "the child ended with 0" in server.stderr()
        assert server.stderr().count("listening") == 1
