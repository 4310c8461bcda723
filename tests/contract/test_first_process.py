"""The server as the first process of a container, which inherits all orphans: pid_namespaces(7)."""

import os
import shutil
import signal
import subprocess

import pytest

from support.processes import children
from support.server import Server
from support.waiting import wait_until

APPLICATION = """
import os, subprocess

def wsgi(environ, start_response):
    start_response("200 OK", [])
    asked = environ["QUERY_STRING"]
    if not asked:  # an orphan: its parent, the shell, ends before it
        shell = subprocess.run(["sh", "-c", "sleep 0.1 >/dev/null & echo $!"], capture_output=True, check=True)
        return [shell.stdout.strip()]
    try:
        with open(f"/proc/{int(asked)}/stat") as file:
            return [file.read().rpartition(")")[2].split()[0].encode()]
    except (FileNotFoundError, ProcessLookupError):  # it may be reaped between open and read
        return [b"gone"]
"""


class FirstProcess(Server):
    """A server whose pid is 1, as itself and its processes see it."""

    def __init__(self, *options: str) -> None:
        super().__init__("shop:wsgi", "--supervisor", *options)
        self.command[self.command.index("--app-dir") + 1] = "."
        self.command = ["unshare", "--pid", "--fork", "--mount-proc", *self.command]

    def prepare(self) -> None:
        (self.directory / "shop.py").write_text(APPLICATION)

    def send_signal(self, number: signal.Signals) -> None:
        self.tree()
        (server,) = children(self.pid)
        os.kill(server.pid, number)


@pytest.mark.parametrize("how", [("epoll",), ("preforked", "--workers", "2"), ("forking",)], ids=" ".join)
def test_orphans_are_reaped(how: tuple[str, ...]) -> None:
    command = ["unshare", "--pid", "--fork", "--mount-proc", "true"]
    if shutil.which("unshare") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("namespaces of processes are not permitted here")
    model, *options = how
    with FirstProcess("--model", model, *options) as server:
        assert server.ready[0].pid == 1
        orphan = server.get("/").body.decode()
        wait_until(lambda: server.get(f"/?{orphan}").body == b"gone", "the orphan has ended and is reaped")
        server.send_signal(signal.SIGHUP)
        wait_until(lambda: "finishes its requests" in server.stderr(), "the new generation serves")
        orphan = server.get("/").body.decode()
        wait_until(lambda: server.get(f"/?{orphan}").body == b"gone", "the orphan has ended and is reaped")
        server.stop()
        assert not server.complaints()
