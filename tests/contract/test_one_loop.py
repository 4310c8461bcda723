"""An ASGI application has one event loop for each process, in every model, from its startup to its shutdown."""

import json
import signal
from collections.abc import Iterator

import pytest

from support.client import Connection
from support.messages import render
from support.models import MODELS, loads
from support.processes import await_idle, open_descriptors, threads
from support.server import Server, serve
from support.waiting import wait_until

APP = "support.app_one_loop:app"

SIZES = {"preforked": ["--workers", "1"], "prethreaded": ["--threads", "2"]}

#: In which one process serves several requests; in forking each connection has a process, and a loop, of its own.
ONE_PROCESS = tuple(model for model in MODELS if model != "forking")

#: s; far from the 30 s that a stop may take.
PROMPT_S = 10.0


@pytest.fixture(scope="module")
def running() -> Iterator[dict[str, Server]]:
    servers: dict[str, Server] = {}
    yield servers
    for server in servers.values():
        server.__exit__(None, None, None)


@pytest.fixture
def server(running: dict[str, Server], model: str) -> Iterator[Server]:
    """One that serves this application, for all tests that leave it well."""
    if model not in running:
        running[model] = start(model).__enter__()
    shared = running[model]
    position = len(shared.stderr())
    yield shared
    assert shared.running, shared.stderr()[position:]
    assert not shared.complaints(position), shared.stderr()[position:]


def start(model: str, *options: str) -> Server:
    return serve(model, "asgi", *SIZES.get(model, []), *options, app=APP)


@pytest.mark.parametrize("model", ONE_PROCESS)
def test_a_task_of_the_startup_goes_on_between_requests(server: Server) -> None:
    before = server.journal.count("ten ticks")
    wait_until(lambda: server.journal.count("ten ticks") > before + 2, "it ticks while no request is there")


@pytest.mark.parametrize("model", ONE_PROCESS)
def test_every_request_is_on_the_loop_of_the_startup(server: Server) -> None:
    for target in ("/about-loop", "/about-loop?wait") * 2:
        seen = json.loads(server.get(target).body)
        assert seen["same"], "the running loop is that of the startup"
        assert seen["a task"], "the request is a task"


def test_contexts(server: Server) -> None:
    """Each request has a copy of the context in which the application was imported."""
    with server.connect() as connection:
        for target in ("/about-loop", "/about-loop?wait") * 2:
            seen = json.loads(connection.request("GET", target).body)
            assert (seen["at import"], seen["of another request"]) == ("set", "unset")
            assert seen.get("of this request", "left behind") == "left behind"


@pytest.mark.parametrize("model", ONE_PROCESS)
def test_a_task_of_a_request_ends_after_it(server: Server, token: str) -> None:
    assert server.get(f"/create?token={token}").status == 200
    server.journal.wait_for(f"later {token}")


def test_a_task_of_a_request_goes_on_while_its_connection_is_idle(server: Server, token: str) -> None:
    with server.connect() as connection:
        assert connection.request("GET", f"/create?token={token}").status == 200
        server.journal.wait_for(f"later {token}")


@pytest.mark.parametrize("model", ONE_PROCESS)
def test_what_is_bound_to_the_loop_serves_all_requests(server: Server) -> None:
    with server.connect() as connection:
        assert connection.request("GET", "/ask?what=first").body == b'"FIRST"'
    assert server.get("/ask?what=second").body == b'"SECOND"'


@pytest.mark.parametrize("model", ["threaded", "prethreaded", "poll", "epoll", "io_uring"])
def test_long_poll(server: Server, token: str) -> None:
    with server.connect() as waiting:
        waiting.send(render("GET", f"/wait?token={token}"))
        server.journal.wait_for(f"waits {token}")
        assert server.get(f"/set?token={token}").status == 200
        assert waiting.read_response().body == b"{}"


def test_server_sent_events_end_with_their_client(server: Server, token: str) -> None:
    with server.connect() as client:
        client.send(render("GET", f"/sse?token={token}"))
        assert client.read_head().status == 200
        for _ in range(3):
            assert client.read_chunk().startswith(b"data: tick")
    server.journal.wait_for(f"generator ended {token}")
    assert server.get("/").status == 200


@pytest.mark.parametrize("how", ["FIN", "RST"])
def test_a_stream_with_nothing_to_send_learns_of_its_client(server: Server, how: str, token: str) -> None:
    with server.connect() as client:
        client.send(render("GET", f"/sse-in-group?token={token}"))
        assert client.read_head().status == 200
        assert client.read_chunk() == b"data: first\n\n"
        if how == "RST":
            client.reset()
    server.journal.wait_for(f"http.disconnect {token}")
    server.journal.wait_for(f"stream cancelled {token}")
    assert server.get("/").status == 200


def test_a_body_is_not_received_before_it_is_wanted(server: Server, token: str) -> None:
    """Back-pressure: what the application has not asked for stays with the client, beyond what the kernel holds."""
    size = 64 << 20
    with server.connect() as client:
        client.send(render("POST", f"/upload?token={token}", f"Content-Length: {size}"))
        server.journal.wait_for(f"at gate {token}")
        sent = send_while_taken(client, size)
        assert sent < size, "the kernel's buffers are not that large"
        server.journal.open_gate(token)
        client.socket.settimeout(60)
        client.send(bytes(size - sent))
        assert json.loads(client.read_response().body) == size
        assert client.request("GET", "/").status == 200


def send_while_taken(client: Connection, size: int) -> int:
    """Send up to `size` bytes, until none are taken for half a second."""
    sent, block = 0, bytes(1 << 20)
    client.socket.settimeout(0.5)
    try:
        while sent < size:
            sent += client.socket.send(block[: size - sent])
    except TimeoutError:
        pass
    return sent


def test_the_next_request_does_not_wait_for_what_the_last_goes_on_with(server: Server, token: str) -> None:
    with server.connect() as connection:
        assert connection.request("GET", f"/go-on?token={token}").status == 200
        server.journal.wait_for(f"at gate {token}")
        for _ in range(3):
            assert connection.request("GET", "/").status == 200
        connection.send(render("GET", "/") * 3)
        assert [connection.read_response().status for _ in range(3)] == [200] * 3
        server.journal.open_gate(token)
        server.journal.wait_for(f"went on {token}")


@pytest.mark.parametrize("how", ["", "&wait"])
def test_an_idle_connection_holds_nothing_of_its_last_request(server: Server, how: str, token: str) -> None:
    """Not even until the collector comes."""
    with server.connect() as connection:
        assert connection.request("POST", f"/leave-nothing?token={token}{how}", body=b"body").status == 200
        server.journal.wait_for(f"gone {token}")


@pytest.mark.parametrize("how", ["exit", "interrupt"])
def test_a_task_that_ends_the_process_elsewhere(server: Server, how: str) -> None:
    """SystemExit and KeyboardInterrupt in a task of a request's: 500 if it is awaited, and nothing else ends."""
    assert server.get(f"/end?how={how}&await").status == 500
    assert server.get(f"/end?how={how}").status == 200
    assert server.get("/").status == 200


@pytest.mark.parametrize("name", ["system-exit", "keyboard-interrupt", "cancelled", "generator-exit"])
def test_no_thread_of_a_pool_dies_of_what_an_application_raises(name: str) -> None:
    with serve("prethreaded", "asgi", "--threads", "2", app="support.app_raises:asgi") as server:
        assert server.get("/").status == 200
        before = threads(server.pid)
        for _ in range(50):
            assert server.get(f"/{name}").status == 500
        assert server.get("/").body == b"fine"
        assert threads(server.pid) == before


@pytest.mark.parametrize("how", ["stop", "cancel"])
@pytest.mark.parametrize("model", ONE_PROCESS)
def test_an_application_that_meddles_with_the_loop(server: Server, how: str) -> None:
    server.get(f"/loop?how={how}")
    assert server.get("/ask?what=question").body == b'"QUESTION"'


@pytest.mark.parametrize("model", ["iterative", "threaded", "prethreaded"])
def test_a_loop_that_fails_ends_the_server(model: str) -> None:
    with start(model) as server, server.connect() as connection:
        connection.send(render("GET", "/loop?how=close"))
        assert server.wait(PROMPT_S) == 1
        assert "the event loop has failed" in server.stderr()
        with pytest.raises(AssertionError):
            connection.read_response()


def test_shutdown_is_on_the_loop_of_the_startup(model: str) -> None:
    with start(model) as server:
        assert server.get("/").status == 200
        server.stop()
        assert server.journal.starting("shutdown on the loop of the startup: ") == ["True"] * loads(model)
        assert not server.complaints()


def test_stopping_waits_for_what_goes_on_after_an_answer(model: str, token: str) -> None:
    with start(model) as server:
        with server.connect() as connection:
            assert connection.request("GET", f"/go-on?token={token}").status == 200
            server.journal.wait_for(f"at gate {token}")
            server.send_signal(signal.SIGTERM)
            connection.assert_closed()
        await_idle(server.pid)
        assert server.running
        server.journal.open_gate(token)
        assert server.wait(PROMPT_S) == 0
        assert server.journal.count(f"went on {token}") == 1
        lines = server.journal.lines()
        shutdowns = [at for at, line in enumerate(lines) if line == "shutdown on the loop of the startup: True"]
        assert lines.index(f"went on {token}") < shutdowns[-1]


def test_stopping_does_not_wait_for_ever(model: str, token: str) -> None:
    """What goes on is cut when the time is up; under forking with its process."""
    with start(model, "--graceful-timeout", "0.5") as server:
        assert server.get(f"/go-on?token={token}").status == 200
        server.journal.wait_for(f"at gate {token}")
        server.send_signal(signal.SIGTERM)
        assert server.wait(PROMPT_S) == 0
        assert server.journal.count(f"went on {token}") == 0


@pytest.mark.parametrize("model", ["threaded", "prethreaded"])
def test_descriptors(model: str) -> None:
    """One beside its socket for a thread that has served a request, and none when the thread has ended."""
    options = ["--threads", "8"] if model == "prethreaded" else []
    with serve(model, "asgi", *options, app=APP) as server:
        if model == "prethreaded":
            wait_until(lambda: threads(server.pid) == 10, "all threads are there, beside the main one and the loop's")
        before = open_descriptors(server.pid)
        clients = [server.connect() for _ in range(8)]
        for client in clients:
            assert client.request("GET", "/").status == 200
        assert open_descriptors(server.pid) <= before + 16
        for client in clients:
            client.close()
        kept = 8 if model == "prethreaded" else 0
        wait_until(lambda: open_descriptors(server.pid) <= before + kept, "descriptors are given back")


def test_forking_says_what_does_not_cross_the_fork() -> None:
    with serve("forking", "asgi", app=APP) as server:
        assert server.get("/").status == 200
        assert server.stderr().count("do not cross the fork") == 1
    with serve("forking", "asgi", app="support.apps_lifespan:unsupported") as server:
        assert "do not cross the fork" not in server.stderr()
