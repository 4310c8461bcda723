"""A stop with nothing in flight takes no time, whatever clients, applications and the surroundings do."""

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from support.client import Truncated, connections
from support.marks import with_one_interface
from support.messages import render
from support.models import IN_MAIN_INTERPRETER, LOOPS, MODELS, WITH_WORKERS, loads
from support.processes import await_idle, children, slept_s
from support.server import Server, serve
from support.waiting import PATIENCE_S, wait_until

APP = "support.app_stops:wsgi"

#: s in which the server sleeps. Far from the time-outs of 2, 30 and 75 s that would show.
SOON_S = 1.9


def stop_takes(server: Server) -> float:
    server.tree()
    slept_s = sleeps_at_stop(server)
    assert server.wait() == 0
    return slept_s


def sleeps_at_stop(server: Server) -> float:
    """Seconds that it sleeps between SIGTERM and the end of its first process, which must come in time."""
    end = time.monotonic() + PATIENCE_S
    server.process.send_signal(signal.SIGTERM)
    slept = slept_s(server.pid, lambda: not server.running or time.monotonic() > end)
    assert server.process.poll() == 0, f"it has not ended well; it wrote {server.stderr()}"
    return slept


@with_one_interface()
def test_half_a_head(model: str, interface: str) -> None:
    with serve(model, interface) as server, server.connect() as connection:
        connection.send(render("GET", "/"))
        connection.read_response()
        connection.send(b"GET / HTTP/1.1\r\nHo")
        assert stop_takes(server) < SOON_S
        connection.assert_closed()


@pytest.mark.parametrize("rest", [b"", b"." * 1000], ids=["silence", "trickle"])
def test_half_a_body(model: str, rest: bytes) -> None:
    """Of a request whose application has not been called, or has answered already: it is not in flight."""
    with serve(model, "wsgi", "--min-rate", "0", app=APP) as server, server.connect() as connection:
        connection.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nhalf")
        if model in LOOPS:
            await_idle(server.pid)  # it has received the head
        else:
            assert connection.read_response().status == 200
        over = threading.Event()

        def trickle() -> None:
            for byte in rest:
                with suppress(OSError):
                    connection.send(bytes([byte]))
                if over.wait(0.05):
                    return

        sender = threading.Thread(target=trickle)
        sender.start()
        try:
            assert stop_takes(server) < SOON_S
        finally:
            over.set()
            sender.join()
        if model in LOOPS and not rest:
            response = connection.read_response()
            assert (response.status, response.closes) == (503, True)


def test_client_that_does_not_come_to_an_end(model: str) -> None:
    """It has its last answer; what it has sent behind that is passed over, lest a reset destroy the answer."""
    with serve(model, "wsgi") as server, server.connect() as connection:
        connection.send(render("GET", "/", "Connection: close") + b"GET / HT")
        connection.read_response()
        assert stop_takes(server) < SOON_S


def test_storm_of_clients(model: str) -> None:
    over = threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            try:
                with server.connect() as connection:
                    connection.send(b"GET / HT")
            except OSError:
                over.wait(0.001)

    with serve(model, "wsgi") as server:
        storm = [threading.Thread(target=come_and_go) for _ in range(2)]
        for thread in storm:
            thread.start()
        try:
            assert stop_takes(server) < 2 * SOON_S
        finally:
            over.set()
            for thread in storm:
                thread.join()


@pytest.mark.parametrize("model", MODELS)
def test_timers_of_the_application(model: str) -> None:
    """It sets each that a process has, again and again; the end comes all the same."""
    with serve(model, "wsgi", "--graceful-timeout", "0.5", app=APP) as server, server.connect() as connection:
        connection.send(render("GET", "/disarm"))
        server.journal.wait_for("disarmed")
        assert stop_takes(server) < 0.5 + SOON_S
        with pytest.raises(Truncated):
            connection.read_response()


@pytest.mark.parametrize("model", MODELS)
def test_log_that_is_held(model: str) -> None:
    """The end is told if that can be done, and comes in any case."""
    with serve(model, "wsgi", "--graceful-timeout", "0.5", app=APP) as server, server.connect() as connection:
        connection.send(render("GET", "/hold"))
        server.journal.wait_for("held")
        assert stop_takes(server) < 1.0 + SOON_S


@pytest.mark.parametrize("model", LOOPS)
def test_loop_that_was_held_lets_nobody_in(model: str, token: str) -> None:
    """The application holds the only thread when the order comes; clients who come then are not served any more."""
    with serve(model, "wsgi", "--threads", "0") as server, server.connect() as busy:
        busy.send(render("GET", f"/gate?gate={token}"))
        server.journal.wait_for(f"at gate {token}")
        server.send_signal(signal.SIGTERM)
        with connections(server.address, 5) as late:
            for connection in late:
                connection.send(render("GET", f"/gate?gate={token}-late"))
            server.journal.open_gate(token)
            assert busy.read_response().body == b"rest"
            assert server.wait() == 0
        assert server.journal.count(f"at gate {token}-late") == 0


@pytest.mark.parametrize("model", LOOPS)
def test_all_requests_that_came_before_the_order_are_answered(model: str, token: str) -> None:
    """Though they are more than the loop takes in a turn."""
    with (
        serve(model, "wsgi", "--threads", "0") as server,
        server.connect() as busy,
        connections(server.address, 200) as clients,
    ):
        for client in clients:
            assert client.request("GET", "/").status == 200
        busy.send(render("GET", f"/gate?gate={token}"))
        server.journal.wait_for(f"at gate {token}")
        for client in clients:
            client.send(render("GET", "/"))
        server.send_signal(signal.SIGTERM)
        server.journal.open_gate(token)
        assert [client.read_response().status for client in clients] == [200] * len(clients)
        assert busy.read_response().body == b"rest"
        assert server.wait() == 0


@pytest.mark.parametrize("model", MODELS)
def test_term_for_the_whole_process_group(model: str, token: str) -> None:
    """What a service manager does: answers in flight are whole, and connections that wait are let go."""
    options = ["--workers", "2"] if model in WITH_WORKERS else []
    with serve(model, "wsgi", *options) as server, connections(server.address, 2) as (busy, idle):
        if model not in ("iterative", "preforked"):
            assert idle.request("GET", "/").status == 200
        busy.send(render("GET", f"/gate?gate={token}"))
        server.journal.wait_for(f"at gate {token}")
        for process in server.tree():
            with suppress(ProcessLookupError):  # it has heard of the stop from its parent
                os.kill(process.pid, signal.SIGTERM)
        server.journal.open_gate(token)
        response = busy.read_response()
        assert (response.status, response.body) == (200, b"rest")
        assert server.wait() == 0
        assert "ended" not in server.stderr()


def test_child_of_forking_hears_of_the_stop(token: str) -> None:
    """Its answer says that it is the last."""
    with serve("forking", "wsgi") as server, server.connect() as connection:
        connection.send(render("GET", f"/gate?gate={token}"))
        server.journal.wait_for(f"at gate {token}")
        server.send_signal(signal.SIGTERM)
        server.journal.open_gate(token)
        assert connection.read_response().status == 200
        connection.assert_closed()
        assert server.wait() == 0


def test_term_for_one_child_of_forking(token: str) -> None:
    with serve("forking", "wsgi") as server, server.connect() as connection:
        connection.send(render("GET", f"/gate?gate={token}"))
        server.journal.wait_for(f"at gate {token}")
        (child,) = children(server.pid)
        os.kill(child.pid, signal.SIGTERM)
        server.journal.open_gate(token)
        assert connection.read_response().status == 200
        connection.assert_closed()
        assert server.get("/").status == 200


def _program(pid: int) -> str:
    """The name of the program that a process executes; "" if it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def test_child_of_the_application_is_not_waited_for() -> None:
    with serve("forking", "wsgi", app=APP, environment={"STOPS_AT_IMPORT": "child"}) as server:
        assert server.get("/").status == 200
        (child,) = (each for each in server.tree() if _program(each.pid) == "sleep")
        assert sleeps_at_stop(server) < SOON_S
        assert child.running
        os.kill(child.pid, signal.SIGKILL)
        wait_until(lambda: not child.running, "the child is gone, too")


@pytest.mark.parametrize(
    "how", [("epoll",), ("prethreaded",), ("forking",), ("preforked", "--workers", "2")], ids=" ".join
)
def test_signals_that_the_application_blocks(how: tuple[str, ...]) -> None:
    """When it is imported, in the thread that serves: those of the server come all the same."""
    model, *options = how
    with serve(model, "wsgi", *options, app=APP, environment={"STOPS_AT_IMPORT": "blocks"}) as server:
        assert server.get("/").status == 200
        assert sleeps_at_stop(server) < SOON_S


@pytest.mark.parametrize("model", ["preforked", "epoll", "forking"])
def test_application_that_waits_for_all_children(model: str) -> None:
    """For the server's as well: a dead worker is replaced all the same, and a stop waits for none that has ended."""
    options = ["--workers", "2"] if model in WITH_WORKERS else []
    with serve(model, "wsgi", *options, app=APP, environment={"STOPS_AT_IMPORT": "reaps"}) as server:
        assert server.get("/").status == 200
        before = children(server.pid)
        if model == "forking":
            wait_until(lambda: server.get("/").status == 200 and server.journal.starting("reaped "), "it took one")
        else:
            os.kill(before[0].pid, signal.SIGKILL)
            wait_until(lambda: len(set(children(server.pid)) - set(before)) == 1, "it is replaced")
            wait_until(lambda: server.get("/").status == 200, "it serves")
        assert sleeps_at_stop(server) < SOON_S
        assert "Traceback" not in server.stderr()


@pytest.mark.parametrize(
    "how", [*((model,) for model in IN_MAIN_INTERPRETER), ("epoll", "--workers", "2")], ids=" ".join
)
def test_threads_and_processes_of_the_application(how: tuple[str, ...]) -> None:
    """Python would wait for them at its exit; they end with the server, or go on without it."""
    model, *options = how
    with serve(model, "wsgi", *options, app=APP) as server:
        with server.connect() as connection:
            pid = connection.request("GET", "/start").body.decode()
            assert sleeps_at_stop(server) < SOON_S
        (child,) = server.journal.starting("child ")
        os.kill(int(child), signal.SIGKILL)
        if model != "forking":  # whose children leave it to the process in which it was registered
            assert server.journal.count(f"exit {pid}") == 1


@pytest.mark.parametrize("model", WITH_WORKERS)
def test_functions_of_atexit_run_in_each_worker(model: str) -> None:
    with serve(model, "wsgi", "--workers", "2", app=APP) as server:
        wait_until(lambda: len(children(server.pid)) == 2, "there are two workers")
        pids = [child.pid for child in children(server.pid)]
        server.stop()
        for pid in pids:
            assert server.journal.count(f"exit {pid}") == loads(model)
        assert server.journal.count(f"exit {server.pid}") == (model != "interpreters"), "loaded before the fork"


@pytest.mark.usefixtures("executed")
@pytest.mark.parametrize("target", ["/", "/start"], ids=["no thread is left", "a thread is cut"])
@pytest.mark.parametrize(
    "options",
    [["epoll"], ["epoll", "--supervisor"], ["prethreaded", "--workers", "2"], ["preforked", "--workers", "2"]],
    ids=" ".join,
)
def test_functions_of_atexit_that_were_registered_before_the_server_began(
    options: list[str], target: str, tmp_path: Path
) -> None:
    """As tracers do that are started by `ddtrace-run`, `opentelemetry-instrument` or a file of site-packages: they send
    their last spans then."""
    ended = tmp_path / "ended"
    (tmp_path / "sitecustomize.py").write_text(
        f"import atexit, os\natexit.register(lambda: print(os.getpid(), file=open({str(ended)!r}, 'a')))\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    with serve(options[0], "wsgi", *options[1:], app=APP, environment={"PYTHONPATH": path}) as server:
        with server.connect() as connection:
            pid = connection.request("GET", target).body.decode()
            sleeps_at_stop(server)
        for child in server.journal.starting("child "):
            os.kill(int(child), signal.SIGKILL)
    written = ended.read_text().split()
    assert (written.count(pid), written.count(str(server.pid))) == (1, 1)


@pytest.mark.parametrize("model", ["preforked", "epoll", "forking"])
def test_sigchld_that_was_inherited_as_ignored(model: str) -> None:
    """A dead worker is replaced, and the statuses of children are known."""
    options = ["--workers", "2"] if model in WITH_WORKERS else []
    ignore = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    )
    server = serve(model, "wsgi", *options, app=APP)
    server.command = [sys.executable, "-c", ignore, *server.command]
    with server:
        before = children(server.pid)
        for child in before[:1]:
            os.kill(child.pid, signal.SIGKILL)
            wait_until(lambda: len(set(children(server.pid)) - set(before)) == 1, "it is replaced")
        wait_until(lambda: server.get("/").status == 200, "it serves")
        wait_until(lambda: len(children(server.pid)) == len(before), "no dead child is left")


@pytest.mark.parametrize("model", ["preforked", "epoll"])
def test_kernel_without_pidfd_open(model: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os\ndef pidfd_open(*_): raise OSError(38, 'Function not implemented')\nos.pidfd_open = pidfd_open\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    with serve(model, "wsgi", "--workers", "2", app=APP, environment={"PYTHONPATH": path}) as server:
        first, second = children(server.pid)
        os.kill(first.pid, signal.SIGKILL)
        wait_until(lambda: len(set(children(server.pid)) - {first}) == 2, "it is replaced")
        assert second in children(server.pid)
