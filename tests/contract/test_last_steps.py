"""The last steps of a server: what the application does then keeps no process for ever, and no file is left."""

import os
import signal
import socket
from pathlib import Path

import pytest

from contract.test_stops import SOON_S, sleeps_at_stop
from support.processes import children
from support.server import Server
from support.waiting import wait_until

APP = "support.app_last_steps:wsgi"

SUPERVISED = pytest.mark.parametrize("supervisor", ["--supervisor", "--no-supervisor"])

TIMEOUT_S = 0.5


class Last(Server):
    def __init__(self, how: str, model: str, *options: str, bind: tuple[str, ...] = ("127.0.0.1:0",)) -> None:
        super().__init__(APP, "--model", model, *options, bind=bind)
        self.how = how

    def prepare(self) -> None:
        self.does(self.how)

    def does(self, how: str) -> None:
        (self.directory / "version").write_text(how)


@SUPERVISED
@pytest.mark.parametrize("model", ["iterative", "forking", "threaded", "epoll"])
@pytest.mark.parametrize("end", ["a second signal", "the time is up"])
def test_no_file_is_left(end: str, model: str, supervisor: str, tmp_path: Path) -> None:
    path = str(tmp_path / "http")
    timeout = str(TIMEOUT_S) if end == "the time is up" else "30"
    options = (
        "--graceful-timeout",
        timeout,
        "--pid-file",
        str(tmp_path / "pid"),
        "--control",
        str(tmp_path / "control"),
    )
    with Last("", model, supervisor, *options, bind=(f"unix:{path}",)) as server:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(b"GET /sleep HTTP/1.1\r\nHost: h\r\n\r\n")
            server.journal.wait_for("sleeps")
            assert sorted(os.listdir(tmp_path)) == ["control", "http", "pid"]
            server.send_signal(signal.SIGTERM)
            if end == "a second signal":
                server.send_signal(signal.SIGQUIT)
            assert server.wait() == (end == "a second signal")
        assert os.listdir(tmp_path) == []


def test_no_pid_file_is_left_by_a_start_that_is_ended(tmp_path: Path) -> None:
    server = Server("support.app_stops:wsgi", "--no-supervisor", "--pid-file", str(tmp_path / "pid"), wait_ready=False)
    server._environment = {"STOPS_AT_IMPORT": "hang"}
    with server:
        server.journal.wait_for("importing")
        assert os.listdir(tmp_path) == ["pid"]
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 1
    assert os.listdir(tmp_path) == []


@SUPERVISED
@pytest.mark.parametrize(
    "how", [("epoll", "--workers", "2"), ("preforked", "--workers", "2"), ("iterative",)], ids=" ".join
)
def test_exit_handler_that_does_not_end(how: tuple[str, ...], supervisor: str) -> None:
    """It has the time for a graceful stop, in each process, and no more."""
    model, *options = how
    with Last("hang", model, supervisor, "--graceful-timeout", str(TIMEOUT_S), *options) as server:
        assert server.get("/").body == b"fine"
        assert sleeps_at_stop(server) < 2 * TIMEOUT_S + SOON_S
        assert "requests in flight are cut" not in server.stderr()
        assert "exit handlers of the application are cut" in server.stderr()


def test_exit_handler_of_a_generation_that_cannot_start() -> None:
    """It does not keep the server from trying the next one."""
    with Last("", "epoll", "--supervisor") as server:
        server.does("hang, fail")
        server.send_signal(signal.SIGHUP)
        wait_until(lambda: "SEP113" in server.stderr(), "it has failed")
        server.does("")
        server.send_signal(signal.SIGHUP)
        wait_until(lambda: "finishes its requests" in server.stderr(), "the next one serves", 10)


@pytest.mark.parametrize(
    "how",
    [("epoll", "--workers", "2"), ("preforked", "--workers", "2"), ("forking",), ("epoll", "--supervisor")],
    ids=" ".join,
)
def test_process_that_is_stopped(how: tuple[str, ...]) -> None:
    """By SIGSTOP: it goes on when the server stops, and ends as all do."""
    model, *options = how
    with Last("", model, *options) as server, server.connect() as connection:
        assert connection.request("GET", "/").body == b"fine"
        os.kill(children(server.pid)[0].pid, signal.SIGSTOP)
        assert sleeps_at_stop(server) < SOON_S
        assert "cut" not in server.stderr()


def test_thread_that_answers_for_metrics() -> None:
    """It is woken at the end, and does not end when it next looks by itself, a second after it has answered."""
    with Last("", "epoll", "--no-supervisor", "--metrics-bind", "127.0.0.1:0") as server:
        port = int(server.stderr().partition("metrics at http://127.0.0.1:")[2].split()[0])
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            assert client.recv(9) == b"HTTP/1.1 "
            assert sleeps_at_stop(server) < 0.5
