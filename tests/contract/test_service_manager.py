"""What the service manager hears (sd_notify(3)), and the sockets that it hands over by name (sd_listen_fds(3))."""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from septet.net.sd_notify import ServiceManager
from support.client import Connection
from support.models import MODELS
from support.server import Server, serve
from support.users import APPLICATION
from support.waiting import becomes_true, wait_until

BECOMES = (
    "import os, sys; number, *command = sys.argv[1:]; number == '-' or os.dup2(int(number), 3); "
    "os.environ['LISTEN_PID'] = os.environ['WATCHDOG_PID'] = str(os.getpid()); os.execv(command[0], command)"
)
"""A program that becomes the server, as a service manager does: so both have the pid that the variables name."""


class Manager:
    """The socket of a service manager, and what was said there: a dictionary for each message."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.heard: list[dict[str, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind("\0" + name[1:] if name.startswith("@") else name)
        self._socket.setblocking(False)
        self.senders: set[int] = set()

    def listen(self) -> list[dict[str, str]]:
        """All that was said so far."""
        while True:
            try:
                data, credentials, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(12))
            except BlockingIOError:
                return self.heard
            self.senders.add(int.from_bytes(credentials[0][2][:4], "little"))
            self.heard.append(dict(line.split("=", 1) for line in data.decode().splitlines()))

    def times(self, key: str) -> int:
        return sum(key in message for message in self.listen())

    def order(self) -> list[str]:
        """The states that were told, one after the other."""
        states = ("READY", "RELOADING", "STOPPING", "MAINPID")
        return [state for message in self.listen() for state in states if state in message]

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    made = Manager(str(tmp_path / "notify") if request.param == "path" else f"@septet-test-{os.getpid()}")
    yield made
    made.close()


def started(manager: Manager, server: Server, environment: dict[str, str] | None = None, given: str = "-") -> Server:
    server._environment = {"NOTIFY_SOCKET": manager.name, **(environment or {})}
    server.command = [sys.executable, "-c", BECOMES, given, *server.command]
    return server


class Shop(Server):
    """A server whose application tells what it knows of the service manager."""

    def __init__(self, model: str, interface: str, *options: str) -> None:
        super().__init__(f"shop:{interface}", "--model", model, *options)
        self.command[self.command.index("--app-dir") + 1] = "."

    def prepare(self) -> None:
        self.write(APPLICATION)

    def write(self, text: str) -> None:
        (self.directory / "shop.py").write_text(text)


def test_life_of_a_service(manager: Manager) -> None:
    """Its start, a reload, one that fails, another program, and the end. The application knows of none of it."""
    with started(manager, Shop("epoll", "wsgi", "--supervisor", "--workers", "2")) as server:
        wait_until(lambda: manager.order() == ["READY"], "the manager has heard of it")
        assert "generation 1 (pid " in manager.heard[0]["STATUS"]
        assert json.loads(server.get("/").body)["manager"] is None
        before_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        server.send_signal(signal.SIGHUP)
        wait_until(lambda: manager.order() == ["READY", "RELOADING", "READY"], "it has loaded anew")
        reloading = next(message for message in manager.heard if "RELOADING" in message)
        assert before_us <= int(reloading["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        server.write("raise ValueError('deliberate')")
        server.send_signal(signal.SIGHUP)
        wait_until(lambda: manager.order()[3:] == ["RELOADING", "READY"], "it goes on")
        assert "goes on, because generation 3 " in manager.heard[-1]["STATUS"]
        (server.directory / "septet.toml").write_text("backlog = 0")
        server.send_signal(signal.SIGHUP)
        wait_until(lambda: manager.order()[5:] == ["RELOADING", "READY"], "it goes on")
        assert "HUP failed: septet.toml:1: backlog is 0" in manager.heard[-1]["STATUS"]
        (server.directory / "septet.toml").unlink()
        server.write(APPLICATION)
        server.send_signal(signal.SIGUSR2)
        wait_until(lambda: manager.order()[7:] == ["RELOADING", "MAINPID", "READY"], "another program serves")
        assert [each["MAINPID"] for each in manager.heard if "MAINPID" in each] == [str(server.pid)]
        assert json.loads(server.get("/").body)["manager"] is None
        server.stop()
        assert manager.order()[10:] == ["STOPPING"]
        assert manager.senders == {server.pid}


@pytest.fixture
def abstract() -> Any:
    made = Manager(f"@septet-test-{os.getpid()}")
    yield made
    made.close()


@pytest.mark.parametrize("how", [("epoll",), ("threaded",), ("epoll", "--workers", "1"), ("forking",)], ids=" ".join)
def test_service_without_a_supervisor(how: tuple[str, ...], abstract: Manager) -> None:
    model, *options = how
    watchdog = {"WATCHDOG_USEC": "1000000"}
    with started(abstract, Shop(model, "wsgi", "--no-supervisor", *options), watchdog) as server:
        wait_until(lambda: abstract.times("READY") == 1, "the manager has heard of it")
        assert json.loads(server.get("/").body)["manager"] is None
        if model == "forking":
            wait_until(lambda: {"WATCHDOG_USEC": "0"} in abstract.listen(), "the watchdog is switched off")
            assert "WATCHDOG_USEC has no effect with forking and --no-supervisor" in server.stderr()
        else:
            wait_until(lambda: abstract.times("WATCHDOG") >= 3, "it says that it is alive")
        server.stop()
        assert abstract.order() == ["READY", "STOPPING"]
        assert abstract.senders == {server.pid}


@pytest.mark.parametrize("model", MODELS)
def test_service_that_is_alive_says_so(model: str, abstract: Manager) -> None:
    with started(abstract, Shop(model, "wsgi", "--supervisor"), {"WATCHDOG_USEC": "400000"}) as server:
        wait_until(lambda: abstract.times("WATCHDOG") >= 4, "it says that it is alive")
        assert abstract.senders == {server.pid}


@pytest.mark.parametrize("workers", [(), ("--workers", "1")], ids=" ".join)
def test_service_that_stands_still_does_not(workers: tuple[str, ...], abstract: Manager) -> None:
    """The supervisor is well, and the process that serves is not."""
    with started(abstract, Shop("epoll", "wsgi", "--supervisor", *workers), {"WATCHDOG_USEC": "400000"}) as server:
        wait_until(lambda: abstract.times("WATCHDOG") >= 2, "it says that it is alive")
        last = server.tree()[-1]
        os.kill(last.pid, signal.SIGSTOP)

        def silent() -> bool:
            heard = abstract.times("WATCHDOG")
            return not becomes_true(lambda: abstract.times("WATCHDOG") > heard, 0.8)

        wait_until(silent, "it says nothing any more")
        os.kill(last.pid, signal.SIGCONT)
        heard = abstract.times("WATCHDOG")
        wait_until(lambda: abstract.times("WATCHDOG") > heard, "it is alive again")


def test_watchdog_goes_on_in_another_program_and_at_the_end(abstract: Manager, token: str) -> None:
    server = serve("epoll", "wsgi", "--supervisor")
    with started(abstract, server, {"WATCHDOG_USEC": "400000"}), server.connect() as connection:
        server.send_signal(signal.SIGUSR2)
        wait_until(lambda: abstract.order() == ["READY", "RELOADING", "MAINPID", "READY"], "another program serves")
        heard = abstract.times("WATCHDOG")
        wait_until(lambda: abstract.times("WATCHDOG") > heard, "it is alive")
        connection.send(f"GET /gate?gate={token} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        server.journal.wait_for(f"at gate {token}")
        server.send_signal(signal.SIGTERM)
        wait_until(lambda: abstract.times("STOPPING") == 1, "it stops")
        heard = abstract.times("WATCHDOG")
        wait_until(lambda: abstract.times("WATCHDOG") > heard, "it is alive, and finishes its requests")
        server.journal.open_gate(token)
        assert server.wait() == 0


def test_sockets_by_name(abstract: Manager) -> None:
    """They stay the same at HUP and USR2, and none of the others is listened at."""
    with socket.create_server(("127.0.0.1", 0)) as web, socket.create_server(("127.0.0.1", 0)) as other:
        names = {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "other:web"}
        server = serve("epoll", "wsgi", "--supervisor", bind=("fd://web",))
        server._wait_ready = False
        server._pass_fds = (web.fileno(), other.fileno())
        program = f"import os; os.dup2({other.fileno()}, 103); os.dup2({web.fileno()}, 4); os.dup2(103, 3); " + BECOMES
        started(abstract, server, names)
        server.command[2] = program
        with server:
            wait_until(lambda: abstract.order() == ["READY"], "it serves")
            assert server.stderr().count("listening on") == 1
            for number in (signal.SIGHUP, signal.SIGUSR2):
                with Connection(web.getsockname()) as connection:
                    assert connection.request("GET", "/hello").status == 200
                server.send_signal(number)
                ready = abstract.times("READY")
                wait_until(lambda ready=ready: abstract.times("READY") > ready, "another serves")  # type: ignore[misc]
            with Connection(web.getsockname()) as connection:
                assert connection.request("GET", "/hello").status == 200


@pytest.mark.parametrize(
    ("environ", "address", "watchdog_s"),
    [
        ({}, "", 0.0),
        ({"NOTIFY_SOCKET": "/run/notify"}, "/run/notify", 0.0),
        ({"NOTIFY_SOCKET": "vsock:2:9"}, "", 0.0),
        ({"NOTIFY_SOCKET": "@a", "WATCHDOG_USEC": "5000000"}, "@a", 5.0),
        ({"NOTIFY_SOCKET": "@a", "WATCHDOG_USEC": "5000000", "WATCHDOG_PID": str(os.getpid())}, "@a", 5.0),
        ({"NOTIFY_SOCKET": "@a", "WATCHDOG_USEC": "5000000", "WATCHDOG_PID": "1"}, "@a", 0.0),
        ({"NOTIFY_SOCKET": "@a", "WATCHDOG_USEC": "x"}, "@a", 0.0),
        ({"WATCHDOG_USEC": "5000000"}, "", 0.0),
    ],
)
def test_variables(environ: dict[str, str], address: str, watchdog_s: float) -> None:
    manager = ServiceManager.from_environment(environ)
    assert (manager.address, manager.watchdog_s) == (address, watchdog_s)
    assert environ == {}


@pytest.mark.parametrize("say", [lambda manager: manager.ready("a"), lambda manager: manager.beat(True)])
def test_manager_that_does_not_listen(say: Callable[[ServiceManager], None], tmp_path: Path) -> None:
    say(ServiceManager(str(tmp_path / "gone"), 1.0))


def test_status_is_one_line(abstract: Manager) -> None:
    """Else an application could say more by the text of an error."""
    ServiceManager(abstract.name).ready("cannot start: \nMAINPID=1")
    assert abstract.listen() == [{"READY": "1", "STATUS": "cannot start: "}]
