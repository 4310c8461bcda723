"""The log says who has sent a signal to the supervisor."""

import os
import signal
from pathlib import Path

import pytest

from septet.processes.senders import sender
from support.processes import await_idle
from support.server import serve
from support.waiting import wait_until


@pytest.mark.parametrize("options", [("--supervisor",), ("--workers", "2")], ids=" ".join)
def test_sender_is_logged(options: tuple[str, ...]) -> None:
    own = f"from pid {os.getpid()} ({Path('/proc/self/comm').read_text().strip()}), user {os.getuid()}"
    with serve("epoll", "wsgi", *options) as server:
        assert server.get("/").status == 200
        await_idle(server.pid)
        server.send_signal(signal.SIGTTIN)
        wait_until(lambda: f"TTIN {own}" in server.stderr(), "it is logged")
        if options == ("--supervisor",):
            for number in (signal.SIGHUP, signal.SIGUSR2):
                await_idle(server.pid)
                server.send_signal(number)
                wait_until(lambda number=number: f"{number.name[3:]} {own}" in server.stderr(), "it is logged")
                generation = 2 if number == signal.SIGHUP else 3
                wait_until(lambda g=generation: f"generation {g} (pid" in server.stderr(), "and carried out")
        wait_until(lambda: server.get("/").status == 200, "it serves")
        await_idle(server.pid)
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 0
        assert f"TERM {own}" in server.stderr()
        assert server.stderr().count("TERM from") == 1


def test_words() -> None:
    assert sender(0, os.getpid(), 7).endswith("), user 7")
    assert sender(0, 0, 7) == "outside of this container's processes, user 7"
    assert sender(0x80, 0, 0).startswith("the kernel")
    assert sender(0, 1 << 30, 7) == f"pid {1 << 30}, user 7"
