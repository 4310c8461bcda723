"""The log says who has sent a signal to the supervisor."""

import os
import signal
from pathlib import Path

import pytest

from septet.processes.senders import sender
from support.processes import await_idle
from support.server import Server, serve
from support.waiting import becomes_true, wait_until

OWN = f"from pid {os.getpid()} ({Path('/proc/self/comm').read_text().strip()}), user {os.getuid()}"


def send(server: Server, number: signal.Signals) -> None:
    """Send it until its sender is in the log, which lacks those of signals that come while the supervisor works."""
    line = f"{number.name.removeprefix('SIG')} {OWN}"

    def sent() -> bool:
        await_idle(server.pid)
        server.send_signal(number)
        return becomes_true(lambda: line in server.stderr(), 1.0)

    wait_until(sent, f"the log has {line}")


@pytest.mark.parametrize("options", [("--supervisor",), ("--workers", "2")], ids=" ".join)
def test_sender_is_logged(options: tuple[str, ...]) -> None:
    with serve("epoll", "wsgi", *options) as server:
        send(server, signal.SIGTTIN)
        if options == ("--supervisor",):
            send(server, signal.SIGHUP)
            wait_until(lambda: "generation 2 (pid" in server.stderr(), "and is carried out")
            send(server, signal.SIGUSR2)
            wait_until(lambda: "USR2: generation" in server.stderr(), "and is carried out")
        wait_until(lambda: server.get("/").status == 200, "it serves")
        await_idle(server.pid)
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 0
        assert server.stderr().count("TERM from pid") <= 1, "a generation is not told of it by others"


def test_words() -> None:
    assert sender(0, os.getpid(), 7).endswith("), user 7")
    assert sender(0, 0, 7) == "outside of this container's processes, user 7"
    assert sender(0x80, 0, 0).startswith("the kernel")
    assert sender(0, 1 << 30, 7) == f"pid {1 << 30}, user 7"
