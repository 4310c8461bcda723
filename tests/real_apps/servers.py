"""The servers as real processes: Septet under a model, and the peers whose answers are the measure."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from real_apps.applications import Application
from support.processes import Process, tree
from support.server import TRACEBACK_END, Server
from support.waiting import PATIENCE_S, wait_until

PEERS = {"wsgi": "gunicorn", "asgi": "uvicorn"}

_PEER_COMMANDS = {
    "gunicorn": ("gunicorn", "--worker-class", "gthread", "--threads", "8", "--bind", "127.0.0.1:0"),
    "uvicorn": ("uvicorn", "--host", "127.0.0.1", "--port", "0"),
}
_PEER_READY = re.compile(r"(?:Listening at:|running on) (http://127\.0\.0\.1:\d+)")

#: A line of ours, of Python's logging without a configuration, of gunicorn's or of uvicorn's; its message.
_ERROR_LINE = re.compile(r"^(?:.*\b(?:ERROR|CRITICAL)\b(?: [\w.]+)?[:\]]?|septet: error:)\s*(.*)$", re.MULTILINE)

#: An object's address, a token of a visit's.
_CHANCE = re.compile(r"\b(0x[0-9a-f]+|[0-9a-f]{32})\b")


class Running(Protocol):
    """A server that answers; leaving its context ends it."""

    url: str

    def log(self) -> str: ...


class _Septet:
    def __init__(self, server: Server) -> None:
        address = server.address
        self.url = f"http://{address[0]}:{address[1]}"
        self._server = server

    def log(self) -> str:
        return self._server.stderr()


@contextmanager
def septet(application: Application, model: str, options: Sequence[str], directory: Path) -> Iterator[Running]:
    """Told to end with TERM, it must do so in time with status 0 and leave no process.

    Raises:
        AssertionError: it does not start, or not end so.
    """
    environment = application.environment(directory)
    server = Server(application.target, "--model", model, *options, environment=environment, stdout=subprocess.DEVNULL)
    with server:
        yield _Septet(server)


class _Peer:
    def __init__(self, application: Application, directory: Path, output: Path) -> None:
        self._output = output
        self._seen: set[Process] = set()
        # PYTHONPATH has the tests: the suite is started so.
        command = [sys.executable, "-m", *_PEER_COMMANDS[PEERS[application.interface]], application.target]
        with output.open("wb") as file:
            self._process = subprocess.Popen(
                command,
                # Recent versions of gunicorn put a control socket into the home directory.
                env=os.environ | application.environment(directory) | {"HOME": str(output.parent)},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=output.parent,
            )
        self.url = ""

    def log(self) -> str:
        return self._output.read_text(errors="replace")

    def await_ready(self) -> None:
        wait_until(lambda: self._is_ready() or self._process.poll() is not None, f"{self._process.args!r} is ready")
        assert self.url, f"{self._process.args!r} ended with {self._process.returncode}: {self.log()[-500:]}"

    def _is_ready(self) -> bool:
        match = _PEER_READY.search(self.log())
        self.url = match[1] if match else ""
        return bool(match)

    def end(self) -> None:
        """How it ends is not our subject."""
        self._seen.update(tree(self._process.pid))
        self._process.terminate()
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            pass
        for process in self._seen:
            if process.running:
                os.kill(process.pid, signal.SIGKILL)
        self._process.wait()


@contextmanager
def peer(application: Application, directory: Path) -> Iterator[Running]:
    """gunicorn's threads or uvicorn.

    Raises:
        AssertionError: it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="real-apps-peer-") as temporary:
        server = _Peer(application, directory, Path(temporary) / "output")
        try:
            server.await_ready()
            yield server
        finally:
            server.end()


def complaints(log: str) -> list[str]:
    """What a log says of errors: the ends of tracebacks, and the messages of error lines."""
    return [*TRACEBACK_END.findall(log), *filter(None, _ERROR_LINE.findall(log))]


def complaints_of_ours(ours: str, theirs: str) -> list[str]:
    """Those of our log that the peer's log has nothing of, each once, without what is chance."""
    ours, theirs = _CHANCE.sub("...", ours), _CHANCE.sub("...", theirs)
    return [text for text in dict.fromkeys(complaints(ours)) if text not in theirs]
