"""A start that fails ends the server, in words; and what a start takes, the end gives back."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.client import Connection
from support.models import STYLES, WITH_WORKERS
from support.server import APP_DIR, Server, serve
from support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("executed")

APP = "support.app_stops:{}"
PROMPT_S = 10.0

HOW = [("epoll",), ("epoll", "--workers", "2"), ("preforked",)]


def failed_start(server: Server) -> tuple[int, str]:
    with server:
        status = server.wait()
        assert "listening" not in server.stderr()
        return status, server.stderr()


@pytest.mark.parametrize("how", [*HOW, ("forking",)], ids=" ".join)
def test_import_that_exits(how: tuple[str, ...]) -> None:
    model, *options = how
    environment = {"STOPS_AT_IMPORT": "exit"}
    server = serve(model, "wsgi", *options, app=APP.format("wsgi"), environment=environment, wait_ready=False)
    status, said = failed_start(server)
    assert status == 1
    what = "septet: APP 'support.app_stops:wsgi': importing support.app_stops failed: deliberate: no database"
    assert re.fullmatch(re.escape(what) + r" \(\S+/support/app_stops\.py, line \d+\)\n", said), said


KILLED = "by signal SIGKILL (not from us, nor from the kernel's out-of-memory killer)"


@pytest.mark.parametrize(
    ("model", "how", "manner"),
    [*((model, "leave", "with status 5") for model in WITH_WORKERS), *((model, "kill", KILLED) for model in STYLES)],
)
def test_worker_that_ends_before_it_is_ready(model: str, how: str, manner: str) -> None:
    """Another would do the same: it is not tried for ever."""
    environment = {"STOPS_AT_START": how}
    options = ["--workers", "2"]
    server = serve(model, "asgi", *options, app=APP.format("asgi"), environment=environment, wait_ready=False)
    status, said = failed_start(server)
    assert status == 1
    assert said.splitlines()[-1] == f"septet: a worker ended {manner} before it was ready"


@pytest.mark.parametrize("how", [*HOW, ("io_uring", "--workers", "1")], ids=" ".join)
def test_refusal_of_the_application(how: tuple[str, ...], tmp_path: Path) -> None:
    """The status is uvicorn's for this, with workers or without."""
    model, *options = how
    server = serve(model, "asgi", *options, app="support.apps_lifespan:refuses", wait_ready=False)
    status, said = failed_start(server)
    assert status == 3
    assert said.splitlines()[-1] == "septet: the application did not start: the database is not there"


@pytest.mark.parametrize("how", HOW, ids=" ".join)
def test_startup_that_hangs_and_is_stopped(how: tuple[str, ...]) -> None:
    model, *options = how
    environment = {"STOPS_AT_START": "hang"}
    server = serve(model, "asgi", *options, app=APP.format("asgi"), environment=environment, wait_ready=False)
    with server:
        server.journal.wait_for("starting")
        start = time.monotonic()
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 1
        assert time.monotonic() - start < PROMPT_S
        assert "had not started when the order to stop came" in server.stderr()


def test_import_that_hangs_and_is_stopped() -> None:
    """The application is imported before the model has a part in it."""
    environment = {"STOPS_AT_IMPORT": "hang"}
    server = serve("epoll", "wsgi", app=APP.format("wsgi"), environment=environment, wait_ready=False)
    with server:
        server.journal.wait_for("importing")
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 1
        assert server.stderr() == "septet: the application was not loaded yet when the order to stop came\n"


needs_a_user_of_its_own = pytest.mark.skipif(
    os.getuid() != 0, reason="the threads that a user may have are counted: root can become one who has no others"
)


@needs_a_user_of_its_own
@pytest.mark.parametrize("options", [(), ("--workers", "1")], ids=str)
@pytest.mark.parametrize("model", ["prethreaded", "epoll", "io_uring"])
def test_no_thread_to_run_the_application(model: str, options: tuple[str, ...]) -> None:
    """The server does not say that it listens, says why, and is not started anew for ever."""
    environment = {"FEW_THREADS": "2" if options else "1"}  # the process itself, and its worker
    app = "support.app_few_threads:wsgi"
    server = serve(model, "wsgi", *options, app=app, environment=environment, wait_ready=False)
    status, said = failed_start(server)
    assert status == 1
    assert said.splitlines()[-1] == "septet: cannot start a thread: can't start new thread"


@pytest.mark.parametrize("how", [*HOW, ("io_uring",), ("prethreaded",)], ids=" ".join)
def test_too_few_descriptors(how: tuple[str, ...]) -> None:
    """With each number of them it either serves or says why not, and never both."""
    model, *options = how
    for most in range(10, 20, 3):
        serve_with_descriptors(most, model, *options)


def serve_with_descriptors(most: int, model: str, *options: str) -> None:
    server = serve(model, "wsgi", *options, wait_ready=False)
    server.command = ["sh", "-c", f'ulimit -n {most}; exec "$@"', "sh", *server.command]
    with server:
        wait_until(lambda: "listening" in server.stderr() or not server.running, "it has started, or failed")
        if "listening" in server.stderr():
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(PROMPT_S) == 0
        else:
            assert server.wait() == 1
            assert server.stderr().splitlines()[-1].startswith("septet: ")


@pytest.mark.parametrize("workers", [(), ("--workers", "1")], ids=str)
def test_threads_leave_descriptors_for_clients(workers: tuple[str, ...]) -> None:
    """Each thread has one to wait at the listeners, and there are fewer than the threads that are asked for."""
    server = serve("prethreaded", "wsgi", "--threads", "100", *workers)
    server.command = ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh", *server.command]
    with server, ExitStack() as stack:
        assert "of 100 threads: " in server.stderr()
        clients = [stack.enter_context(server.connect()) for _ in range(20)]
        for client in clients:
            assert client.request("GET", "/").status == 200


@pytest.mark.parametrize("model", ["iterative", "epoll", "preforked"])
def test_inherited_socket_is_left_as_it_was(model: str) -> None:
    """TCP_DEFER_ACCEPT would have the next server never see a client that waits for its greeting."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        with serve(model, "wsgi", bind=(f"fd://{number}",), pass_fds=(number,)) as server:
            assert server.get("/").status == 200
        assert not listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT)
        assert not listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert os.get_blocking(number)


def test_file_of_a_successor(tmp_path: Path) -> None:
    """A server that ends later than its successor begins leaves it its file."""
    path = tmp_path / "septet.sock"
    with serve("epoll", "wsgi", bind=(f"unix:{path}",)) as first:
        path.unlink()
        with serve("epoll", "wsgi", bind=(f"unix:{path}",)) as second:
            first.stop()
            assert second.get("/").status == 200
        assert not path.exists()


def test_full_queue_is_not_waited_for(tmp_path: Path) -> None:
    path = str(tmp_path / "septet.sock")
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(path)
        busy.listen(0)
        clients = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(path)
        command = [sys.executable, "-m", "septet", "serve", "--app-dir", APP_DIR, "support.apps_wsgi:app"]
        command += ["--bind", f"unix:{path}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROMPT_S, check=False, cwd=tmp_path)
        assert done.returncode == 1
        assert "in use" in done.stderr
        for client in clients:
            client.close()


@pytest.mark.parametrize("model", ["epoll", "preforked"])
def test_working_directory_of_the_application(model: str) -> None:
    """It goes elsewhere when it is imported; relative paths mean what they meant on the command line."""
    options = ["--access-log", "access.log", "--span-log", "span.log", "--static", "/files=."]
    environment = {"STOPS_AT_IMPORT": "chdir"}
    server = serve(model, "wsgi", *options, app=APP.format("wsgi"), bind=("unix:septet.sock",), environment=environment)
    with server:
        path = server.directory / "septet.sock"
        assert path.is_socket()
        with Connection(str(path)) as connection:
            assert connection.request("GET", "/").status == 200
            assert connection.request("GET", "/files/stderr").status == 200
        wait_until(lambda: (server.directory / "access.log").read_text().count("\n") == 2, "both requests are logged")
        assert (server.directory / "span.log").exists()
        server.stop()
        assert not path.exists()
