"""HUP and USR2 where there is no supervisor for whom they are meant: a line in the log, and nothing is cut."""

import os
import pty
import signal

import pytest

from support.marks import name
from support.messages import render
from support.models import IN_MAIN_INTERPRETER, INTERFACES, MODELS, WITH_WORKERS
from support.processes import await_idle
from support.server import Server, serve
from support.waiting import wait_until

SAID = {
    signal.SIGHUP: "WARNING septet: SIGHUP is ignored here: the supervisor loads the application anew",
    signal.SIGUSR2: "WARNING septet: SIGUSR2 is ignored here: the supervisor replaces itself",
}


def signal_all(server: Server, number: signal.Signals) -> None:
    """Each process of the server says its line."""
    before = server.stderr().count(SAID[number])
    pids = [process.pid for process in server.tree()]
    for pid in pids:
        os.kill(pid, number)
    wait_until(lambda: server.stderr().count(SAID[number]) == before + len(pids), f"{pids} have logged {number.name}")


ALONE = [((model,), interface) for interface in INTERFACES for model in MODELS]
WITH_TWO_WORKERS = [((model, "--workers", "2"), "wsgi") for model in WITH_WORKERS]


@pytest.mark.parametrize(("how", "interface"), [*ALONE, *WITH_TWO_WORKERS], ids=name)
def test_signal_without_meaning_cuts_nothing(how: tuple[str, ...], interface: str, token: str) -> None:
    model, *workers = how
    with serve(model, interface, *workers) as server, server.connect() as connection:
        connection.send(render("GET", f"/gate?first&gate={token}"))
        server.journal.wait_for(f"at gate {token}")
        seen = server.tree()
        for number in SAID:
            signal_all(server, number)
        assert server.tree() == seen
        server.journal.open_gate(token)
        assert connection.read_response().status == 200
        assert server.get("/").status == 200
        server.stop()
        assert not server.complaints()


@pytest.mark.parametrize("model", IN_MAIN_INTERPRETER)
def test_children_of_the_application_have_the_default(model: str) -> None:
    with serve(model, "wsgi", app="support.app_forks:wsgi") as server:
        assert server.get("/").body == b"SIG_DFL SIG_DFL, SIG_DFL SIG_DFL"


@pytest.mark.parametrize("model", ["epoll"])
def test_handler_of_the_application_stays(model: str) -> None:
    with serve(model, "wsgi", app="support.app_handles_signals:wsgi") as server:
        os.kill(server.pid, signal.SIGUSR1)
        signal_all(server, signal.SIGHUP)
        assert server.running
        assert server.get("/").status == 200


WITHOUT_AND_WITH_WORKERS = [*((model,) for model in IN_MAIN_INTERPRETER), ("epoll", "--workers", "2")]


@pytest.mark.parametrize("how", WITHOUT_AND_WITH_WORKERS, ids=" ".join)
def test_client_that_leaves_ends_no_server_whose_application_wants_sigpipe(
    how: tuple[str, ...], interface: str
) -> None:
    """In a child of the application it does what the application has asked for."""
    with serve(how[0], interface, *how[1:], app=f"support.app_default_signals:{interface}") as server:
        seen = server.tree()
        for _ in range(4):
            with server.connect() as connection:
                connection.send(render("GET", "/much"))
                connection.end_sending()  # so that the RST makes send(2) fail with EPIPE, and not with ECONNRESET
                connection.read_head()
        assert server.get("/").body == b"-13"
        if how[0] != "forking":
            assert server.tree() == seen


@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=" ".join)
@pytest.mark.parametrize("model", ["epoll"])
@pytest.mark.parametrize("supervisor", ["--supervisor", "--no-supervisor"])
def test_server_ends_with_its_terminal(model: str, workers: tuple[str, ...], supervisor: str) -> None:
    """When the terminal is closed, nobody is left who could stop it."""
    command = [*serve(model, "wsgi", *workers).command, supervisor]
    pid, terminal = pty.fork()
    if not pid:
        os.execv(command[0], command)
    said = b""
    while b"listening" not in said or not said.endswith(b"\n"):
        said += os.read(terminal, 4096)
    await_idle(pid)
    os.close(terminal)  # the kernel sends HUP to the session that had it
    ended: list[int] = []
    wait_until(lambda: bool(ended) or _reaped(pid, ended), "the server has ended")
    assert ended == [0]


def _reaped(pid: int, ended: list[int]) -> bool:
    child, status = os.waitpid(pid, os.WNOHANG)
    if child:
        ended.append(os.waitstatus_to_exitcode(status))
    return bool(child)
