"""A real `septet serve` process: started on free ports, stopped and checked to be gone with its whole process tree."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from support.client import Address, Connection, Response
from support.journal import VARIABLE, Journal
from support.models import INTERPRETERS
from support.processes import Process, tree
from support.starter import WARNINGS, start
from support.waiting import PATIENCE_S, wait_until

#: Where `support.apps_wsgi` and its siblings are found: the directory `tests`.
APP_DIR = str(Path(__file__).parent.parent)

_READY = re.compile(
    r"^septet: listening on (?:https?://(?P<host>\[[0-9a-f:]+\]|[0-9.]+):(?P<port>\d+)|unix:(?P<path>/\S+)) "
    r"\((?P<model>\w+), (?P<workers>\d+) workers?, pid (?P<pid>\d+)\)$",
    re.MULTILINE,
)


def loopback() -> str:
    """An address in 127.0.0.0/8 that only this process of the tests uses: a port there that was free, or has been given
    back, is not given to a server of another one."""
    pid = os.getpid()
    return f"127.{64 + (pid >> 16) % 64}.{pid >> 8 & 255}.{pid & 255}"


#: What configures any server, and must not reach those of the tests by chance.
_PLATFORM = ("PORT", "WEB_CONCURRENCY", "LISTEN_FDS", "LISTEN_PID")

#: Whether servers have a supervisor unless a test says so.
SUPERVISOR = os.environ.get("CONTRACT_SUPERVISOR", "no")

#: In the exceptions that the fixture applications raise, and in those by which the server accuses an application.
EXCUSES = ("deliberate", "the application")

#: The last line of a traceback, or of the last one in a chain.
TRACEBACK_END = re.compile(
    r"^Traceback \(most recent call last\):\n(?:[ \t].*\n)*(\S.*)$(?!\n+(?:During handling|The above exception))",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Ready:
    """One ready line."""

    address: Address
    model: str
    workers: int
    pid: int


SHARED_GRACEFUL_S = 5
"""`--graceful-timeout` of servers that tests share. Tests in which requests are to be cut at a stop make it shorter."""


class Server:
    """`septet serve ARGUMENTS`, as a context manager that yields once the server is ready.

    `bind` may be empty for a server that is given its addresses in `arguments`. Leaving the context stops a server
    that still runs and asserts exit status 0 and that no process of its tree is left; when the test has failed
    already, it kills them instead, so that the first failure is the one that is reported.
    """

    def __init__(
        self,
        *arguments: str,
        bind: tuple[str, ...] = ("127.0.0.1:0",),
        environment: dict[str, str] | None = None,
        pass_fds: tuple[int, ...] = (),
        wait_ready: bool = True,
        stdout: int | None = None,
    ) -> None:
        self.command = [sys.executable, "-m", "septet", "serve", "--app-dir", APP_DIR, *arguments]
        for address in bind:
            self.command += ["--bind", address]
        self._environment = environment or {}
        self._pass_fds = pass_fds
        self._wait_ready = wait_ready
        self._stdout = stdout
        self._seen: set[Process] = set()

    def prepare(self) -> None:
        """Called before the server starts, in `directory`."""

    def __enter__(self) -> Self:
        self._temporary = tempfile.TemporaryDirectory(prefix="septet-contract-")
        self.directory = Path(self._temporary.name)
        self.prepare()
        self.journal = Journal(self.directory)
        self._stderr = self.directory / "stderr"
        with self._stderr.open("wb") as stderr:
            self.process = start(
                self.command, self._make_environment(), self.directory, self._stdout, stderr.fileno(), self._pass_fds
            )
        try:
            if self._wait_ready:
                self._await_ready_lines()
        except BaseException:
            self._destroy()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self.stop()
            elif error is not None:
                error.add_note(f"The server's log ended with:\n{self.stderr()[-4000:]}")
        finally:
            self._destroy()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    @property
    def address(self) -> Address:
        return self.ready[0].address

    def connect(self, receive_buffer: int = 0) -> Connection:
        return Connection(self.address, receive_buffer=receive_buffer)

    def request(self, method: str, target: str, *fields: str, body: bytes | None = None) -> Response:
        """One request on a connection of its own."""
        with self.connect() as connection:
            return connection.request(method, target, *fields, body=body)

    def get(self, target: str, *fields: str) -> Response:
        return self.request("GET", target, *fields)

    def stderr(self) -> str:
        return self._stderr.read_text(errors="replace")

    def tree(self) -> list[Process]:
        """The server's processes now; they are remembered, and must be gone when the server is."""
        found = tree(self.pid)
        self._seen.update(found)
        return found

    def send_signal(self, number: signal.Signals) -> None:
        self.tree()
        self.process.send_signal(number)

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """The exit status, once the server has ended by itself and with its whole tree."""
        try:
            status = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the server had not ended after {timeout_s:g} s; it wrote {self.stderr()}") from None
        wait_until(lambda: not self.survivors(), f"no process is left of {self._seen}")
        return status

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop it gracefully, if it still runs, and assert exit status 0 and a tree that is gone."""
        if self.running:
            self.send_signal(number)
            status = self.wait()
            assert status == 0, f"exit status {status} after {number.name}; it wrote {self.stderr()}"
            if self._graceful_timeout_s >= SHARED_GRACEFUL_S:  # a request has been forgotten
                assert "time for a graceful stop is up" not in self.stderr(), f"it wrote {self.stderr()}"
        assert not self.survivors()

    def survivors(self) -> list[Process]:
        return [process for process in self._seen if process.running]

    def complaints(self, since: int = 0) -> list[str]:
        """What it wrote to stderr after position `since` that only a defect of the server explains."""
        return complaints(self.stderr()[since:])

    @property
    def _graceful_timeout_s(self) -> float:
        options = dict(pairwise(self.command))
        return float(options.get("--graceful-timeout", 30))

    def _make_environment(self) -> dict[str, str]:
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("SEPTET_") and name not in _PLATFORM
        }
        # One process less for each server. Tests of the supervisor ask for it: `--supervisor`. All may be run with it.
        watch = {
            **WARNINGS,
            VARIABLE: str(self.directory),
            "SEPTET_SUPERVISOR": SUPERVISOR,
        }
        return clean | watch | self._environment

    def _await_ready_lines(self) -> None:
        expected = self.command.count("--bind")
        wait_until(
            lambda: len(_READY.findall(self.stderr())) >= expected or not self.running,
            f"{expected} ready lines from {self.command}",
        )
        assert self.running, f"{self.command} ended with {self.process.returncode}: {self.stderr()}"
        self.ready = [_ready(match) for match in _READY.finditer(self.stderr())]
        self.tree()

    def _destroy(self) -> None:
        """Leave nothing behind, however the test went."""
        if self.running:
            self.tree()
        for process in self._seen:
            if process.running:
                os.kill(process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE_S)
        self._temporary.cleanup()


def complaints(stderr: str) -> list[str]:
    """Leaked resources, and tracebacks that end in an exception which is no fault of the application's."""
    leaks = [line for line in stderr.splitlines() if "ResourceWarning: " in line or "was never awaited" in line]
    return leaks + [end for end in TRACEBACK_END.findall(stderr) if not any(word in end for word in EXCUSES)]


def _ready(match: re.Match[str]) -> Ready:
    host, port, path = match["host"], match["port"], match["path"]
    address = path if path is not None else (host.strip("[]"), int(port))
    return Ready(address, match["model"], int(match["workers"]), int(match["pid"]))


def serve(model: str, interface: str, *options: str, app: str | None = None, **settings: Any) -> Server:
    """A server for the fixture application of `interface` (or for `app`) under `model`."""
    if model == "interpreters" and "--threads" not in options:  # each takes a third of a second of CPU time to start
        options = ("--threads", str(INTERPRETERS), *options)
    return Server(app or f"support.apps_{interface}:app", "--model", model, *options, **settings)
