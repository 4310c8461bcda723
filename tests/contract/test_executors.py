"""A ProcessPoolExecutor of the application at the end of its process: jobs are finished, and no process is left."""

import os
import signal

import pytest

from contract.test_stops import SOON_S, sleeps_at_stop
from support.processes import process
from support.server import Server, serve
from support.waiting import wait_until

APP = "support.app_executors:wsgi"

HOW = pytest.mark.parametrize(
    "how",
    [
        ("epoll",),
        ("epoll", "--supervisor"),
        ("epoll", "--workers", "1", "--worker-timeout", "1"),
        ("prethreaded",),
        ("preforked", "--workers", "2"),
    ],
    ids=" ".join,
)

TIMEOUT_S = 0.5


def serves(how: tuple[str, ...], *options: str) -> Server:
    return serve(how[0], "wsgi", *how[1:], *options, app=APP)


def begin_job(server: Server) -> None:
    assert server.get("/job").body == b"fine"
    server.journal.wait_for("at gate job")
    server.tree()


def await_the_wait(server: Server) -> None:
    wait_until(lambda: "waiting for jobs" in server.stderr() or not server.running, "the job is waited for")


@HOW
def test_job_is_finished(how: tuple[str, ...]) -> None:
    with serves(how) as server:
        begin_job(server)
        server.send_signal(signal.SIGTERM)
        await_the_wait(server)
        server.journal.open_gate("job")
        assert server.wait() == 0
        assert server.journal.count("done") == 1
        assert " cut" not in server.stderr()


@pytest.mark.parametrize("workers", [(), ("--workers", "1")], ids=["no workers", "a worker"])
def test_job_is_finished_at_a_reload(workers: tuple[str, ...]) -> None:
    with serves(("epoll", *workers), "--supervisor") as server:
        begin_job(server)
        (pid,) = server.journal.starting("process ")
        executing = process(int(pid))
        server.send_signal(signal.SIGHUP)
        await_the_wait(server)
        assert server.get("/").body == b"fine"
        server.journal.open_gate("job")
        server.journal.wait_for("done")
        wait_until(lambda: executing is None or not executing.running, "the process of the job has ended")
        wait_until(lambda: "generation 1" in server.stderr().rpartition(" has ended")[0], "the generation has ended")


@HOW
def test_job_and_daemon_end_with_the_time_for_a_stop(how: tuple[str, ...]) -> None:
    with serves(how, "--graceful-timeout", str(TIMEOUT_S + 0.5)) as server:
        assert server.get("/daemon").body == b"fine"
        begin_job(server)
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 0
        assert "jobs of the application's ProcessPoolExecutor are cut" in server.stderr()
        assert server.journal.count("done") == 0


def test_job_ends_with_a_second_signal() -> None:
    with serves(("epoll",)) as server:
        begin_job(server)
        server.send_signal(signal.SIGTERM)
        await_the_wait(server)
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 1


@HOW
def test_executor_without_jobs_takes_no_time(how: tuple[str, ...]) -> None:
    """Nor does it give any to a thread that is cut."""
    with serves(how) as server:
        assert server.get("/idle").body == b"fine"
        server.tree()
        assert sleeps_at_stop(server) < SOON_S
        assert server.wait() == os.EX_OK
