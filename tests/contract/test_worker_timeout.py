"""`--worker-timeout`, and what is said of a worker that has ended."""

import os
import re
import signal

import pytest

from contract.test_metrics_endpoint import ENDPOINT, status
from support.marks import each_style, engine_decides
from support.messages import render
from support.processes import children
from support.server import Server, serve
from support.waiting import becomes_true, wait_until

#: Long enough for a worker that has no CPU for a while: it makes a beat every quarter of a second.
TIMEOUT_S = 2
TIMEOUT = ("--workers", "1", "--worker-timeout", str(TIMEOUT_S), "--graceful-timeout", "1")

#: A worker that waits, and looks for its release every 20 ms: on a busy machine it waits for the CPU.
WAITS = r"(?:: it waits| and was ready to run for \d\.\d s more: it computes, but others have the CPU)"


def await_replacement(server: Server, pid: int) -> None:
    wait_until(lambda: [each.pid for each in children(server.pid)] not in ([], [pid]), "the worker is replaced")


@each_style
def test_loop_that_stands_still(model: str) -> None:
    with serve(model, "asgi", *TIMEOUT, app="support.app_late:asgi") as server:
        (before,) = children(server.pid)
        with server.connect() as connection:
            connection.send(render("GET", "/blocks"))
            await_replacement(server, before.pid)
        found = re.search(
            rf"SEP111 worker {before.pid} is ended by --worker-timeout: it has stood still for \d\.\d s, "
            rf"in which it has used 0\.\d s of CPU time{WAITS}; its stacks follow",
            server.stderr(),
        )
        assert found is not None, server.stderr()
        assert "in wait_for_release" in server.stderr()
        ended = f"SEP112 worker {before.pid} ended by our SIGABRT: --worker-timeout, it has stood still"
        assert ended in server.stderr()
        record = server.stderr()[server.stderr().index(ended) :]
        assert re.search(r"; its stacks:\nFatal Python error: Aborted\n", record)
        assert "in wait_for_release" in record
        assert "cli.py" not in server.stderr()


@engine_decides
def test_replaced_worker_that_loses_requests(model: str) -> None:
    """A worker whose loop is blocked is replaced (SEP102), and still stands still when it is to finish its requests."""
    options = ("--workers", "1", "--request-timeout", "0.3", "--worker-timeout", "5", "--graceful-timeout", "60")
    with serve(model, "asgi", *options, *ENDPOINT, app="support.app_late:asgi") as server:
        (before,) = children(server.pid)
        with server.connect() as connection:
            connection.send(render("GET", "/blocks"))
            drains = f"worker {before.pid} finishes its requests: its replacement is ready"
            wait_until(lambda: drains in server.stderr(), "it is replaced")
            ended = f"worker {before.pid} ended by our SIGABRT: --worker-timeout, it has stood still for "
            wait_until(lambda: f"SEP112 {ended}" in server.stderr(), "the log says how it has ended")
            line = server.stderr()[server.stderr().index(f"SEP112 {ended}") :].partition("\n")[0]
            assert line.endswith("; 1 request was lost; another had taken its place before; its stacks:")
        texts = [event["text"] for event in status(server)["events"]]
        assert any(text.startswith(ended) and text.endswith("; 1 request was lost") for text in texts), texts


@each_style
def test_process_that_stands_still(model: str) -> None:
    with serve(model, "wsgi", *TIMEOUT) as server:
        (before,) = children(server.pid)
        assert server.get("/").status == 200
        os.kill(before.pid, signal.SIGSTOP)
        await_replacement(server, before.pid)
        assert f"worker {before.pid} ended by our SIG" in server.stderr()
        assert server.get("/").status == 200


@each_style
def test_busy_is_not_still(model: str) -> None:
    """A request that runs for longer than the time-out is no reason."""
    with serve(model, "wsgi", *TIMEOUT, app="support.app_late:wsgi") as server, server.connect() as connection:
        (before,) = children(server.pid)
        connection.send(render("GET", "/waits"))
        assert not becomes_true(lambda: [each.pid for each in children(server.pid)] != [before.pid], 1.5 * TIMEOUT_S)
        (server.directory / "released").touch()
        assert connection.read_response().status == 200


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGSEGV, "by signal SIGSEGV: it crashed; "),
        (signal.SIGKILL, "by signal SIGKILL (not from us, nor from the kernel's out-of-memory killer)"),
        (signal.SIGVTALRM, "by signal SIGVTALRM, which we did not send"),
        (signal.SIGTERM, "with status 0 (it was told to stop, and not by us)"),
    ],
)
@pytest.mark.parametrize("model", ["epoll"])
def test_death_is_explained(model: str, number: signal.Signals, words: str) -> None:
    with serve(model, "wsgi", "--workers", "1") as server:
        (before,) = children(server.pid)
        os.kill(before.pid, number)
        await_replacement(server, before.pid)
        assert f"worker {before.pid} ended {words}" in server.stderr()
        if number == signal.SIGSEGV:
            assert "(most recent call first)" in server.stderr()  # of the thread that took the signal


def test_child_that_crashes_writes_to_standard_error() -> None:
    """A child of forking has no parent that reads the file of the process which has forked it."""
    with serve("forking", "wsgi", "--supervisor") as server, server.connect() as connection:
        connection.send(render("GET", "/"))
        assert connection.read_response().status == 200
        (generation,) = children(server.pid)
        (child,) = children(generation.pid)
        os.kill(child.pid, signal.SIGSEGV)
        wait_until(lambda: "Fatal Python error: Segmentation fault" in server.stderr(), "its stacks are shown")
        assert "SEP112" not in server.stderr()


@pytest.mark.parametrize("how", [("epoll", "--supervisor"), ("epoll", "--workers", "1")], ids=" ".join)
@pytest.mark.parametrize("reloads", [False, True], ids=["stop", "reload"])
def test_crash_of_a_child_is_none_of_its_parent(reloads: bool, how: tuple[str, ...]) -> None:
    """A child that crashes before Python knows that it was forked writes its stacks where its parent would."""
    model, *options = how
    with serve(model, "wsgi", *options, "--supervisor", app="support.app_dies_in_c:wsgi") as server:
        assert server.get("/").body == str(int(signal.SIGABRT)).encode()
        if reloads:
            server.send_signal(signal.SIGHUP)
            wait_until(lambda: re.search(r"generation 1 \(pid \d+\) has ended", server.stderr()), "it is replaced")
        server.stop()
        assert "crashed" not in server.stderr()


def test_crash_after_that_of_a_child() -> None:
    """The stacks that are logged are its own."""
    with serve("epoll", "wsgi", "--workers", "1", app="support.app_dies_in_c:wsgi") as server:
        assert server.get("/").status == 200
        (before,) = children(server.pid)
        os.kill(before.pid, signal.SIGSEGV)
        await_replacement(server, before.pid)
        assert "its stacks:\nFatal Python error: Segmentation fault\n" in server.stderr()
        assert "Aborted" not in server.stderr()
