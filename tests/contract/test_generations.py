"""The supervisor and its generations: reload without loss, and what happens when a new generation cannot start."""

import os
import re
import select
import shutil
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from contract.test_stops import sleeps_at_stop
from septet.lab.drill.users import Users
from septet.rules import DRAINING_S
from support import http2
from support.client import Connection
from support.messages import render
from support.models import EVENT_DRIVEN, MODELS
from support.processes import await_idle, children, is_stopped
from support.server import Server, serve
from support.tls import HOST, Authority, TlsConnection
from support.waiting import PATIENCE_S, becomes_true, wait_until

APP = "support.app_versions:{}"


class Versions(Server):
    """A server with a supervisor, for an application whose version is in a file of its directory."""

    def __init__(self, model: str, interface: str, *options: str) -> None:
        self.first = "one"
        arguments = (APP.format(interface), *(("--model", model) if model else ()), "--supervisor", *options)
        super().__init__(*arguments, bind=("127.0.0.1:0",) if model else ())

    def prepare(self) -> None:
        self.version(self.first)
        if "--model" not in self.command:  # it is named in a file that is read anew
            text = "model = 'epoll'\nbind = ['unix:one.sock', 'unix:two.sock']\n"
            (self.directory / "septet.toml").write_text(text)
            self._wait_ready = False

    def version(self, name: str) -> None:
        (self.directory / "version").write_text(name)

    def generation(self) -> int:
        """The pid of the generation that serves, when no other is left."""
        wait_until(lambda: len(children(self.pid)) == 1, "there is one generation")
        (child,) = children(self.pid)
        return child.pid

    def answers(self, version: str) -> bool:
        return self.get("/").body.startswith(version.encode())

    def reload(self, version: str) -> None:
        """HUP, and wait until the new generation serves."""
        before = self.stderr().count(" finishes its requests")
        self.version(version)
        self.send_signal(signal.SIGHUP)
        wait_until(lambda: self.stderr().count(" finishes its requests") > before, f"{version} is ready")
        wait_until(lambda: self.answers(version), f"{version} serves")

    def fails_to_reload(self, version: str) -> str:
        """HUP, and wait until the log says that the old generation goes on; gives what was logged."""
        position = len(self.stderr())
        self.version(version)
        self.send_signal(signal.SIGHUP)
        wait_until(lambda: " goes on: " in self.stderr()[position:], f"{version} has failed")
        return self.stderr()[position:]


def lost(server: Server, events: list[tuple[float, object]], duration_s: float = 1.2) -> list[str]:
    """Load the server with users of both kinds, while things happen, and longer if others had the CPUs then; gives the
    reasons of what was lost."""
    answered, losses = 0, []
    while answered <= 20 and not losses:
        users = Users(server.address, "/", 8, 8, 150.0)  # type: ignore[arg-type]
        tally = users.run(duration_s, events)  # type: ignore[arg-type]
        answered, losses, events = answered + tally.answered, losses + tally.losses, []
    return [f"{loss.reason}, {'kept' if loss.keeps else 'new'}" for loss in losses]


@pytest.mark.parametrize(
    ("model", "interface"),
    [*((model, "wsgi") for model in MODELS), ("forking", "asgi"), ("prethreaded", "asgi"), ("epoll", "asgi")],
)
def test_reload_loses_nothing(model: str, interface: str) -> None:
    with Versions(model, interface) as server:
        first = server.get("/").body

        def reload(version: str) -> None:
            server.version(version)
            server.process.send_signal(signal.SIGHUP)

        reasons = lost(server, [(0.2, lambda: reload("two")), (0.5, lambda: reload("three"))], 0.8)
        assert reasons == []
        wait_until(lambda: server.answers("three"), "the third generation serves")
        assert first.startswith(b"one")
        wait_until(lambda: len(children(server.pid)) == 1, "the old generations have ended")
        assert server.running
        server.tree()
        if interface == "asgi":
            assert "the application has ended one" in server.stderr()
        server.stop()
        assert not server.complaints()


@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=" ".join)
def test_generation_that_cannot_start_leaves_the_old_one(workers: tuple[str, ...]) -> None:
    with Versions("epoll", "asgi", "--startup-timeout", "2", *workers) as server:
        said = server.fails_to_reload("broken")
        assert "ValueError: deliberate: this version is broken" in said
        assert "app_versions.py" in said
        assert "src/septet/" not in said  # the application's frames alone
        assert "lifespan" not in said
        assert "deliberate: no database" in server.fails_to_reload("unwell")
        assert "it was not ready within 2 s (--startup-timeout)" in server.fails_to_reload("slow")
        assert "ended with status 7 before it was ready" in server.fails_to_reload("exit")
        (server.directory / "septet.toml").write_text("workers = 'many'\n")
        position = len(server.stderr())
        if not workers:
            server.send_signal(signal.SIGHUP)
            wait_until(lambda: "the server goes on as it is" in server.stderr()[position:], "it is refused")
        (server.directory / "septet.toml").unlink()
        assert server.answers("one")
        server.reload("two")


@pytest.mark.parametrize(
    ("version", "status", "said"),
    [
        ("broken", 1, "septet: APP 'support.app_versions:asgi': importing support.app_versions failed: ValueError: "),
        ("unwell", 3, "septet: the application did not start: deliberate: no database"),
        ("exit", 1, "septet: the application's process ended with status 7 before it was ready"),
    ],
)
def test_first_start_that_fails_ends_the_server(version: str, status: int, said: str) -> None:
    server = Versions("epoll", "asgi")
    server._wait_ready = False
    server.first = version
    with server:
        assert server.wait() == status
        assert server.stderr().splitlines()[-1].startswith(said)
        assert "listening" not in server.stderr()


@pytest.mark.parametrize("model", ["epoll", "prethreaded", "preforked"])
def test_generation_that_is_killed_is_replaced(model: str) -> None:
    with Versions(model, "wsgi") as server:
        before = server.generation()

        def kill() -> None:
            server.tree()
            os.kill(before, signal.SIGKILL)

        reasons = lost(server, [(0.4, kill)])
        assert len(reasons) <= 16, reasons  # those that it was just answering, one for each user at most
        assert not any(reason.startswith("connecting") for reason in reasons), reasons
        assert server.generation() != before
        assert "ended by signal SIGKILL (not from us, nor" in server.stderr()


def test_configuration_is_read_anew() -> None:
    """At HUP: the file, and what it changes, in the new generation alone."""
    with Versions("epoll", "wsgi") as server:
        server.reload("two")
        settings = server.directory / "septet.toml"
        settings.write_text("server_header = 'other'\n")
        server.reload("three")
        # A connection made meanwhile may still be accepted by the old one, until it has taken the order to finish.
        wait_until(lambda: "generation 2 (pid" in server.stderr().split(" finishes ")[-1], "the old one has ended")
        assert server.get("/").get("server") == "other"


def test_certificates_are_loaded_anew(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    files = authority.server
    options = ("--tls-certificate", str(files.certificate), "--tls-key", str(files.key))
    with Versions("epoll", "wsgi", *options) as server:

        def serial() -> object:
            with TlsConnection(server.address, authority.client_context()) as connection:
                assert connection.request("GET", "/").status == 200
                return connection.socket.getpeercert()["serialNumber"]  # type: ignore[index]

        before = serial()
        assert authority.issue(HOST, "127.0.0.1") == files  # written anew
        server.send_signal(signal.SIGHUP)
        wait_until(lambda: serial() != before, "the new certificate is shown")
        files.certificate.write_text("no certificate")
        server.send_signal(signal.SIGHUP)
        wait_until(lambda: "the server goes on as it is" in server.stderr(), "the file is refused")
        assert "ERROR septet: SEP114 HUP: --tls-certificate is " in server.stderr()
        assert serial() != before


def test_addresses_and_model_change() -> None:
    """A new address is opened, and one that is no longer named is closed when the new generation serves."""
    with Versions("", "wsgi") as server:
        wait_until(lambda: server.stderr().count("listening on") == 2, "it is ready")
        settings, paths = server.directory / "septet.toml", ("one.sock", "two.sock", "three.sock")

        def reachable() -> list[bool]:
            return [_answers(server.directory / path) for path in paths]

        assert reachable() == [True, True, False]
        settings.write_text("model = 'prethreaded'\nworkers = 2\nbind = ['unix:two.sock', 'unix:three.sock']\n")
        server.send_signal(signal.SIGHUP)
        wait_until(lambda: reachable() == [False, True, True], "the new addresses are served")
        assert len(children(server.generation())) == 2
        settings.write_text("bind = ['unix:two.sock', 'unix:no/such/directory/four.sock']\n")
        position = len(server.stderr())
        server.send_signal(signal.SIGHUP)
        wait_until(lambda: "cannot listen at unix:" in server.stderr()[position:], "the log says why")
        assert reachable() == [False, True, True]


@pytest.mark.parametrize("mistake", ["the application", "the certificate"])
def test_new_address_of_a_generation_that_cannot_start_is_closed(mistake: str) -> None:
    """Else a client would connect there, and wait for ever in a queue from which nobody accepts."""
    with Versions("", "wsgi") as server:
        wait_until(lambda: server.stderr().count("listening on") == 2, "it is ready")
        settings = server.directory / "septet.toml"
        before = settings.read_text()
        more = "tls_certificate = ['one.sock']\n" if mistake == "the certificate" else ""
        settings.write_text("bind = ['unix:one.sock', 'unix:three.sock']\n" + more)
        if mistake == "the application":
            server.fails_to_reload("broken")
        else:
            server.send_signal(signal.SIGHUP)
            wait_until(lambda: "the server goes on as it is" in server.stderr(), "it is refused")
        assert sorted(path.name for path in server.directory.glob("*.sock")) == ["one.sock", "two.sock"]
        assert _answers(server.directory / "two.sock")
        settings.write_text(before)
        position = len(server.stderr())
        server.version("two")
        server.send_signal(signal.SIGHUP)
        wait_until(lambda: "finishes its requests" in server.stderr()[position:], "the next one serves")
        assert _answers(server.directory / "two.sock")


@pytest.mark.parametrize("order", [signal.SIGHUP, signal.SIGUSR2], ids=lambda order: order.name)
def test_file_of_a_unix_socket_that_was_removed_is_made_anew(order: signal.Signals) -> None:
    with Versions("", "wsgi") as server:
        wait_until(lambda: server.stderr().count("listening on") == 2, "it is ready")
        one, two = server.directory / "one.sock", server.directory / "two.sock"
        one.unlink()
        server.version("two")
        server.send_signal(order)
        wait_until(lambda: server.stderr().count(" has ended") == 1, "the other generation serves alone")
        assert _answers(one)
        assert _answers(two)
        server.stop()
        assert not one.exists()
        assert not two.exists()


@pytest.mark.parametrize("order", [signal.SIGHUP, signal.SIGUSR2], ids=lambda order: order.name)
def test_file_of_another_program_in_the_place_of_a_unix_socket_is_left(order: signal.Signals) -> None:
    with Versions("", "wsgi") as server, socket.socket(socket.AF_UNIX) as other:
        wait_until(lambda: server.stderr().count("listening on") == 2, "it is ready")
        one = server.directory / "one.sock"
        one.unlink()
        other.bind(str(one))
        other.listen()
        server.version("two")
        server.send_signal(order)
        wait_until(lambda: server.stderr().count(" has ended") == 1, "the other generation serves alone")
        assert "one.sock was removed, and is not made anew" in server.stderr()
        assert _answers(server.directory / "two.sock")
        server.stop()
        assert one.is_socket()


@pytest.mark.parametrize("order", [signal.SIGHUP, signal.SIGUSR2], ids=lambda order: order.name)
@pytest.mark.parametrize(
    "relative", [("--access-log", "a.log"), ("--control", "c.sock"), ("--static", "/s=.")], ids=" ".join
)
def test_directory_of_the_start_that_was_removed(order: signal.Signals, relative: tuple[str, str]) -> None:
    """As that of an older release is. What is relative cannot be found any more, and the server goes on."""
    server = serve("epoll", "wsgi", "--supervisor", *relative)
    server.command = ["sh", "-c", 'mkdir gone && cd gone && exec "$@"', "sh", *server.command]
    with server:
        shutil.rmtree(server.directory / "gone")
        server.send_signal(order)
        sentence = "a path of the configuration is relative, and the working directory cannot be found: No such file"
        wait_until(lambda: sentence in server.stderr(), "the log says why")
        wait_until(lambda: "goes on" in server.stderr(), "the old generation goes on")
        assert server.get("/").status == 200
        assert not server.complaints()


def _connects(server: Server) -> bool:
    try:
        server.connect().close()
    except OSError:
        return False
    return True


def _answers(path: Path) -> bool:
    try:
        with Connection(str(path)) as connection:
            return connection.request("GET", "/").status == 200
    except OSError:
        return False


@pytest.mark.parametrize("how", [("epoll",), ("forking",), ("preforked", "--workers", "2")], ids=" ".join)
def test_upgrade_loses_nothing(how: tuple[str, ...]) -> None:
    """The process stays and its program changes."""
    model, *options = how
    with Versions(model, "wsgi", *options) as server:

        def upgrade() -> None:
            server.tree()
            server.version("two")
            server.process.send_signal(signal.SIGUSR2)

        assert lost(server, [(0.2, upgrade)]) == []
        wait_until(lambda: server.answers("two"), "the new program's generation serves")
        assert f"process {server.pid} runs Septet" in server.stderr()
        server.generation()
        assert server.stderr().count("listening on") == 1
        server.reload("three")
        server.stop()
        assert not server.complaints()


def test_upgrade_that_fails_leaves_the_old_program() -> None:
    with Versions("epoll", "wsgi") as server:
        before = server.generation()
        (server.directory / "septet.toml").write_text("workers = 'many'\n")
        server.send_signal(signal.SIGUSR2)
        wait_until(lambda: "USR2: the program that was tried ended with status 2" in server.stderr(), "it is refused")
        assert "workers is 'many'" in server.stderr()
        assert server.generation() == before
        (server.directory / "septet.toml").unlink()
        server.version("broken")
        server.send_signal(signal.SIGUSR2)
        wait_until(lambda: "cannot start, and generation 1 " in server.stderr(), "the new program has tried")
        assert server.answers("one")
        assert server.generation() == before


def test_generation_of_the_program_before_is_killed_at_the_stop() -> None:
    """The last line says what became of its requests, and the status is that of a server that has served."""
    with Versions("epoll", "asgi") as server, server.connect() as connection:
        before = server.generation()
        server.version("broken")
        server.send_signal(signal.SIGUSR2)
        wait_until(lambda: "cannot start, and generation 1 " in server.stderr(), "the new program has tried")
        connection.send(render("GET", "/gate"))
        server.journal.wait_for("at gate one")
        server.send_signal(signal.SIGTERM)
        wait_until(lambda: not _connects(server), "the stop has begun")
        os.kill(before, signal.SIGKILL)
        assert server.wait() == 0
        assert server.stderr().endswith("stopped: requests were cut (SEP121)\n")


@pytest.mark.parametrize("how", [("epoll",), ("epoll", "--workers", "2"), ("preforked",)], ids=" ".join)
def test_process_is_replaced_after_its_requests(how: tuple[str, ...]) -> None:
    model, *options = how
    with Versions(model, "wsgi", *options, "--max-requests", "20", "--max-requests-jitter", "10") as server:
        first = {process.pid for process in server.tree()}
        assert lost(server, []) == []
        assert "is replaced: it has answered its number of requests (--max-requests)" in server.stderr()
        wait_until(lambda: not first.issubset({process.pid for process in server.tree()}), "an old process has ended")
        assert "ERROR" not in server.stderr()


@pytest.mark.parametrize("workers", [(), ("--workers", "1")], ids=" ".join)
@pytest.mark.parametrize(
    ("option", "why"),
    [
        (("--max-worker-memory", "1M"), r"is replaced: it uses \d+\.\d MB, and its limit is 1\.[01] MB \(--max-w"),
        (("--max-worker-age", "0.1"), "is replaced: it has reached its age"),
    ],
)
def test_process_is_replaced_by_its_parent(option: tuple[str, str], why: str, workers: tuple[str, ...]) -> None:
    with Versions("epoll", "wsgi", *option, *workers) as server:
        before = server.get("/").body
        wait_until(lambda: server.get("/").body != before, "another process serves")
        assert re.search(why, server.stderr())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_while_the_application_is_imported(number: signal.Signals) -> None:
    server = Versions("epoll", "wsgi")
    server._wait_ready = False
    server.first = "slow"
    with server:
        wait_until(lambda: "is slow" in server.stderr(), "the application is imported")
        server.send_signal(number)
        assert server.wait() == 1
        own = "septet: the application was not loaded yet when the order to stop came"
        killed = "the application had not started when the order to stop came, and did not end"  # it had no CPU for 2 s
        assert own in server.stderr() or killed in server.stderr()


def test_stop_while_an_import_does_not_return_to_python() -> None:
    """It is killed, which is a failure like any other end of that time."""
    server = Versions("epoll", "wsgi")
    server._wait_ready = False
    server.first = "deaf"
    with server:
        wait_until(lambda: "is deaf" in server.stderr(), "the application is imported")
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 1
        assert "SEP122 the application had not started when the order to stop came" in server.stderr()


def test_generation_that_is_killed_as_the_stop_begins(token: str) -> None:
    """The supervisor learns of both at once, and the last line says what became of the request."""
    with serve("epoll", "wsgi", "--supervisor") as server, server.connect() as connection:
        connection.send(render("GET", f"/gate?gate={token}"))
        server.journal.wait_for(f"at gate {token}")
        (generation,) = children(server.pid)
        os.kill(server.pid, signal.SIGSTOP)
        wait_until(lambda: is_stopped(server.pid), "it is stopped")
        server.send_signal(signal.SIGTERM)
        os.kill(generation.pid, signal.SIGKILL)
        wait_until(lambda: not generation.running, "the generation has ended")
        os.kill(server.pid, signal.SIGCONT)
        assert server.wait() == 0
        assert server.stderr().endswith("stopped: requests were cut (SEP121)\n")


@pytest.mark.parametrize("how", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGQUIT,)], ids=["TERM TERM", "QUIT"])
def test_stop_at_once(how: tuple[signal.Signals, ...], token: str) -> None:
    with serve("epoll", "wsgi", "--supervisor", "--workers", "2") as server, server.connect() as connection:
        connection.send(f"GET /gate?gate={token} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        server.journal.wait_for(f"at gate {token}")
        for number in how:
            server.send_signal(number)
            wait_until(lambda: not server.running or not _connects(server), "the signal is handled")
        assert server.wait() == 1


@pytest.mark.parametrize("given", [False, True], ids=["ours", "given"])
def test_stop_while_another_program_is_tried(given: bool, token: str) -> None:
    """The stop goes before: the program is not replaced, and the request in flight is answered."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        how: dict[str, Any] = {"bind": (f"fd://{sock.fileno()}",), "pass_fds": (sock.fileno(),)} if given else {}
        with serve("epoll", "wsgi", "--supervisor", **how) as server, server.connect() as connection:
            connection.send(render("GET", f"/gate?gate={token}"))
            server.journal.wait_for(f"at gate {token}")
            server.send_signal(signal.SIGUSR2)
            wait_until(lambda: "is tried in a child" in server.stderr(), "it is tried")
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: not server.running or len(children(server.pid)) == 1, "the trial is over")
            server.journal.open_gate(token)
            assert connection.read_response().status == 200
            assert server.wait() == 0
            assert "Traceback" not in server.stderr()


def test_stop_while_one_worker_of_the_next_generation_serves() -> None:
    """The other worker has not started yet, so the generation is not ready. Its requests are answered all the same, and
    it is no failure that it has not started."""
    with Versions("epoll", "asgi", "--workers", "2") as server:
        old = [worker.pid for worker in children(server.generation())]
        server.version("uneven")
        server.send_signal(signal.SIGHUP)
        wait_until(lambda: (server.directory / "first").exists(), "one worker of the new generation serves")
        for pid in old:  # so that they take no client
            os.kill(pid, signal.SIGSTOP)
            wait_until(lambda: is_stopped(pid), "it is stopped")  # noqa: B023
        with server.connect() as client:
            client.send(render("GET", "/long"))
            server.journal.wait_for("long, uneven")
            for pid in old:
                os.kill(pid, signal.SIGCONT)
            server.send_signal(signal.SIGTERM)
            assert client.read_response().body.startswith(b"uneven")
        assert server.wait() == 0


@pytest.mark.parametrize("model", ["preforked", "epoll"])
def test_one_worker_more_and_fewer(model: str) -> None:
    with Versions(model, "wsgi", "--workers", "2") as server:

        def workers() -> int:
            server.tree()
            return len(children(server.generation()))

        assert workers() == 2
        server.send_signal(signal.SIGTTIN)
        wait_until(lambda: workers() == 3, "there is one more")
        for number, wanted in ((signal.SIGTTOU, 2), (signal.SIGTTOU, 1), (signal.SIGTTIN, 2)):
            server.send_signal(number)
            wait_until(lambda wanted=wanted: workers() == wanted, f"there are {wanted}")  # type: ignore[misc]
        assert server.answers("one")
        assert "ERROR" not in server.stderr()


@pytest.mark.parametrize("how", [("epoll",), ("epoll", "--workers", "2"), ("forking",)], ids=" ".join)
def test_log_files_are_opened_anew(how: tuple[str, ...]) -> None:
    model, *options = how
    with Versions(model, "wsgi", "--access-log", "access.log", *options) as server:
        log, old = server.directory / "access.log", server.directory / "access.log.1"
        with server.connect() as kept:
            assert kept.request("GET", "/before").status == 200
            wait_until(lambda: "/before" in log.read_text(), "the line is written")
            log.rename(old)
            server.send_signal(signal.SIGUSR1)
            pids = [process.pid for process in server.tree()]
            wait_until(lambda: not any(_writes_to(pid, old) for pid in pids), "no process has the old file open")
            assert kept.request("GET", "/after").status == 200
        wait_until(lambda: "/after" in log.read_text(), "the new file has the line")
        assert re.findall(r"GET (\S+)", old.read_text()) == ["/before"]


def _writes_to(pid: int, path: Path) -> bool:
    links = (f"/proc/{pid}/fd/{entry}" for entry in os.listdir(f"/proc/{pid}/fd"))
    return any(os.path.exists(link) and os.path.samefile(link, path) for link in links)


class Developed(Server):
    """A server under --reload, whose application is a file in its directory."""

    def __init__(self, interface: str, text: str) -> None:
        self.interface, self.text = interface, text
        super().__init__(
            "shop:app", "--supervisor", "--reload", "--reload-exclude", "ignored", "--reload-include", "*.html"
        )
        self.command[self.command.index("--app-dir") + 1] = "."

    def prepare(self) -> None:
        (self.directory / "ignored").mkdir()
        self.write(self.text)

    def write(self, text: str) -> None:
        """The application answers with this text, or has it as its code if it is none."""
        whole = _SHOPS[self.interface].format(text) if text.isidentifier() else text
        (self.directory / "shop.py").write_text(whole)

    def page(self) -> str:
        return self.get("/", "Accept: text/html").body.decode()


_SHOPS = {
    "wsgi": """\
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"{}"]
""",
    "asgi": """\
import asyncio

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    if scope["path"] == "/events":
        while True:
            await send({{"type": "http.response.body", "body": b"data: event\\n\\n", "more_body": True}})
            await asyncio.sleep(0.05)
    await send({{"type": "http.response.body", "body": b"{}"}})
""",
}


def test_changed_files_are_loaded(interface: str) -> None:
    with Developed(interface, "one") as server, server.connect() as endless:
        if interface == "asgi":
            endless.send(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
            assert endless.read_head().status == 200
        server.write("two")
        wait_until(lambda: server.get("/").body == b"two", "the new code serves")
        assert "shop.py, changed: generation 2 " in server.stderr()
        server.write("def app(:\n")
        wait_until(lambda: "SyntaxError" in server.page(), "browsers see the error")
        assert "def app(:" in server.page()
        assert server.get("/").body == b"two"
        wait_until(lambda: "SyntaxError: " in server.stderr(), "the log has it, too")
        before = server.stderr().count("starts")
        (server.directory / "ignored" / "three.py").touch()
        (server.directory / "notes.txt").touch()
        server.write("three")
        wait_until(lambda: server.page() == "three", "the mended code serves")
        assert server.stderr().count("starts") == before + 1
        (server.directory / "ignored" / "four.html").touch()
        (server.directory / "page.html").touch()
        wait_until(lambda: "page.html, changed: generation " in server.stderr(), "a file that is included counts")
        if interface == "asgi":
            wait_until(lambda: "generation 1 (pid " in _ended(server.stderr()), "the stream is cut in time")
            assert "SEP121 requests in flight are cut: under --reload they have 2 s to end" in server.stderr()
            assert "ERROR septet: the application raised at GET /events" not in server.stderr()
        server.tree()
        server.stop()
        assert not server.complaints()


def _ended(log: str) -> str:
    return "\n".join(line for line in log.splitlines() if line.endswith(" has ended"))


def test_first_code_that_does_not_run_is_waited_for() -> None:
    with Developed("wsgi", "import no_such_module\n") as server:
        wait_until(lambda: "no_such_module" in server.page(), "browsers see the error")
        (failed,) = [line for line in server.stderr().splitlines() if " ERROR " in line]
        assert re.search(
            r"SEP113 generation 1 \(pid \d+\) cannot start, and a change of its files is waited for: ", failed
        )
        assert "importing shop failed: No module named 'no_such_module'" in failed
        assert "Traceback (most recent call last):\n" in server.stderr().partition(failed)[2]
        wait_until(lambda: "serves the error page and nothing else" in server.stderr(), "the log says so")
        assert not re.search(r"generation 2 \(pid \d+\) serves$", server.stderr(), re.MULTILINE)
        server.write("one")
        wait_until(lambda: server.page() == "one", "the code serves")


def test_exit_while_loading_has_its_line() -> None:
    with Developed("wsgi", "one") as server:
        server.write("import argparse\n\nargparse.ArgumentParser().exit(3)\n")
        wait_until(lambda: "it called sys.exit(3) (" in server.stderr(), "it is logged")
        assert re.search(r"SEP113 [^\n]*it called sys\.exit\(3\) \(\S*/shop\.py, line 3\)", server.stderr())
        assert server.get("/").body == b"one"


def test_generation_that_another_change_replaces_is_logged() -> None:
    slow = "import time, pathlib\npathlib.Path('loading').touch()\ntime.sleep(60)\n"
    with Developed("wsgi", "one") as server:
        server.write(slow)
        wait_until((server.directory / "loading").exists, "the second generation loads")
        server.write("three")
        wait_until(lambda: server.get("/").body == b"three", "the third generation serves")
        words = r"generation 2 \(pid \d+\) was superseded: \S*shop\.py, changed before it was ready"
        assert len(re.findall(words, server.stderr())) == 1


@pytest.mark.parametrize("model", MODELS)
def test_idle_connections_are_told_of_their_end(model: str) -> None:
    """None ends before an answer has said so, however many there are and whenever the order reaches their process."""
    _in_time(lambda: _reload_while_clients_are_idle(model))


def _reload_while_clients_are_idle(model: str) -> None:
    count = 1 if model in ("iterative", "preforked") else 4
    with Versions(model, "wsgi") as server, ExitStack() as stack:
        idle = [stack.enter_context(server.connect()) for _ in range(count)]
        for connection in idle:
            assert connection.request("GET", "/").status == 200
        with _reload_while_clients_are_there(server, 0.0):
            for connection in idle:
                answers = [connection.request("GET", "/")]
                while answers[-1].get("connection") != "close":
                    answers.append(connection.request("GET", "/"))
                assert all(answer.body.startswith(b"one") for answer in answers)
        server.tree()
        server.stop()


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
@pytest.mark.parametrize("model", MODELS)
def test_handshake_of_tls_is_not_cut(model: str, protocol: str, tmp_path: Path) -> None:
    """The client may complete it and send a request, and is told then that the connection ends."""
    authority = Authority(tmp_path)
    _in_time(lambda: _reload_within_a_handshake(model, protocol, authority))


def _reload_within_a_handshake(model: str, protocol: str, authority: Authority) -> None:
    context = authority.client_context()
    context.set_alpn_protocols([protocol])
    with (
        Versions(model, "wsgi", *authority.server.options) as server,
        socket.create_connection(server.address, PATIENCE_S) as plain,
        context.wrap_socket(plain, server_hostname=HOST, do_handshake_on_connect=False) as sock,
    ):
        sock.setblocking(False)
        with _stopped(server), pytest.raises(ssl.SSLWantReadError):
            sock.do_handshake()
        select.select([sock], [], [], PATIENCE_S)  # the server has done its part
        sock.settimeout(PATIENCE_S)
        with _reload_while_clients_are_there(server, 1.3):
            sock.do_handshake()
            if protocol == "h2":
                _ask_over_http2(server, sock)
            else:
                sock.sendall(render("GET", "/"))
                answer = b"".join(iter(lambda: sock.recv(65536), b""))
                assert b"Connection: close" in answer
                assert b"\r\n\r\none" in answer
        wait_until(lambda: len(children(server.pid)) == 1, "the old generation has ended")


@pytest.mark.parametrize("model", MODELS)
def test_client_that_begins_http2_while_a_generation_drains_is_told(model: str) -> None:
    """It has sent a part of the preface. Else it would keep the old generation until its requests are cut."""
    _in_time(lambda: _reload_within_a_preface(model))


def _reload_within_a_preface(model: str) -> None:
    with (
        Versions(model, "wsgi", "--http2-cleartext") as server,
        socket.create_connection(server.address, PATIENCE_S) as sock,
    ):
        client = http2.Client()
        preface = client.h2.data_to_send()
        sock.sendall(preface[:10])
        await_idle(server.pid)
        with _reload_while_clients_are_there(server, 1.3):
            sock.sendall(preface[10:])
            _ask_over_http2(server, sock, client)
        wait_until(lambda: len(children(server.pid)) == 1, "the old generation has ended")


@contextmanager
def _stopped(server: Server) -> Iterator[None]:
    processes = server.tree()
    for process in processes:
        os.kill(process.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: all(is_stopped(process.pid) for process in processes), "all are stopped")
        yield
    finally:
        for process in processes:
            os.kill(process.pid, signal.SIGCONT)


class _TooLate(Exception):
    """A busy machine has let a client go on when a generation that drains waits for it no more."""


def _in_time(attempt: Callable[[], None]) -> None:
    """Make an attempt, again if it was too late, which says nothing about the server."""
    for last in (False, False, True):
        try:
            attempt()
            break
        except _TooLate:
            if last:
                raise


@contextmanager
def _reload_while_clients_are_there(server: Versions, silent_s: float) -> Iterator[None]:
    """They go on after `silent_s` while the old generation drains, which waits for them for DRAINING_S."""
    began = time.monotonic()
    server.version("two")
    server.send_signal(signal.SIGHUP)
    wait_until(lambda: " finishes its requests" in server.stderr(), "the old generation drains")
    try:
        assert not becomes_true(lambda: len(children(server.pid)) == 1, silent_s), "they were cut"
        yield
    except (OSError, AssertionError) as error:
        if time.monotonic() - began > DRAINING_S:
            raise _TooLate from error
        raise


def _ask_over_http2(server: Versions, sock: socket.socket, client: http2.Client | None = None) -> None:
    connection = http2.Connection(server.address, client=client, sock=sock)
    assert connection.request("/").body.startswith(b"one")
    connection.read_to_end()
    assert connection.client.went_away is not None


@pytest.mark.parametrize("model", [model for model in MODELS if model not in EVENT_DRIVEN and model != "interpreters"])
@pytest.mark.parametrize("sent", ["GET / HTTP/1.1\r\nHo", ""], ids=["half a head", "nothing"])
def test_stop_while_a_generation_drains(model: str, sent: str) -> None:
    """What it waits for then is no request: the stop takes no longer than any other."""
    options = ("--workers", "1") if model == "preforked" else ()
    with Versions(model, "wsgi", *options) as server, server.connect() as connection:
        assert connection.request("GET", "/").body.startswith(b"one")
        connection.send(sent.encode())
        before = server.stderr().count(" finishes its requests")
        server.version("two")
        server.send_signal(signal.SIGHUP)
        wait_until(lambda: server.stderr().count(" finishes its requests") > before, "the old one drains")
        await_idle(server.pid)
        assert sleeps_at_stop(server) < 1.0
