"""Servers that root starts and that run the application as `nobody`: what is needed to try that."""

import os
import pwd
import subprocess
import sys
from functools import cache
from pathlib import Path

import click
import pytest

import septet
from support.server import Server

NOBODY = pwd.getpwnam("nobody")

#: An application for both interfaces, which tells as whom it was imported and as whom it runs.
APPLICATION = """
import ctypes, json, os

IMPORTED_AS = os.getuid()
signal = ctypes.c_int()
ctypes.CDLL(None).prctl(2, ctypes.byref(signal))  # PR_GET_PDEATHSIG, of this thread

def facts():
    mask = os.umask(0)
    os.umask(mask)
    try:
        os.setuid(0)
        back = True
    except OSError:
        back = False
    return json.dumps({
        "imported_as": IMPORTED_AS, "users": os.getresuid(), "groups": [*os.getresgid(), *os.getgroups()],
        "umask": mask, "home": os.environ.get("HOME"), "dies_with_parent": signal.value == 9, "back": back,
        "manager": os.environ.get("NOTIFY_SOCKET"), "pid": os.getpid(),
    }).encode()

def wsgi(environ, start_response):
    start_response("200 OK", [])
    return [facts()]

async def asgi(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": facts()})
"""


@cache
def python_for_all() -> str:
    """A Python that `nobody` can run, with what it needs of ours. Skips the test if this is not root, or there is
    none."""
    if os.geteuid() != 0:
        pytest.skip("only root can change users")
    for python in (sys.executable, "/usr/bin/python3"):
        code = "import sys, click, septet.server; sys.exit(sys.version_info < (3, 11))"
        try:
            if as_nobody(python, "-c", code).returncode == 0:
                return python
        except PermissionError:
            continue
    pytest.skip("there is no Python 3.11 that a user other than root can run")


def environment() -> dict[str, str]:
    paths = (Path(septet.__file__).parent.parent, Path(click.__file__).parent.parent)
    return {"PYTHONPATH": os.pathsep.join(map(str, paths)), "PATH": os.environ["PATH"]}


class AsNobody(Server):
    """A server that root starts, with `--user nobody` among its options, in a directory that all may read."""

    def __init__(self, model: str, interface: str, *options: str, supervisor: bool = True) -> None:
        switch = "--supervisor" if supervisor else "--no-supervisor"
        super().__init__(f"shop:{interface}", "--model", model, "--user", "nobody", switch, *options)
        self.command[0] = python_for_all()
        self.command[self.command.index("--app-dir") + 1] = "."
        self._environment = environment()

    def prepare(self) -> None:
        self.directory.chmod(0o755)
        (self.directory / "shop.py").write_text(APPLICATION)


def as_nobody(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command as `nobody`. Raises PermissionError if that user cannot execute it."""
    return subprocess.run(
        command,
        user="nobody",
        group=NOBODY.pw_gid,
        extra_groups=[],
        env=environment(),
        cwd="/",
        check=False,
        capture_output=True,
        text=True,
    )
