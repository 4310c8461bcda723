"""How a fixture application and its test talk past the server: a journal and gates, both files in one directory.

The application may run in any process or thread, so it appends lines to a file (one write(2) with O_APPEND is never
torn) and the test reads them. The other way round the application waits at a gate until the test makes the gate's
file. Tests thus wait for "the request has been entered", never for a time.
"""

import asyncio
import os
import time
from pathlib import Path

from support.waiting import wait_until

#: The environment variable that tells an application its directory. Not SEPTET_*: that is the configuration's.
VARIABLE = "CONTRACT_DIRECTORY"

_GATE_PATIENCE_S = 60.0
_GATE_PAUSE_S = 0.01


class Journal:
    """The test's side."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._file = directory / "journal"

    def lines(self) -> list[str]:
        return self._file.read_text().splitlines() if self._file.exists() else []

    def count(self, line: str) -> int:
        return self.lines().count(line)

    def starting(self, prefix: str) -> list[str]:
        """What follows `prefix` in the lines that begin with it."""
        return [line.removeprefix(prefix) for line in self.lines() if line.startswith(prefix)]

    def wait_for(self, line: str) -> None:
        wait_until(lambda: line in self.lines(), f"the application wrote {line!r}; it wrote {self.lines()[-20:]}")

    def open_gate(self, name: str) -> None:
        _gate(self.directory, name).touch()


def write(line: str) -> None:
    """The application's side: note that something has happened."""
    descriptor = os.open(_directory() / "journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


def pass_gate(name: str) -> None:
    """The application's side, WSGI: note the arrival, then block until the test opens the gate."""
    write(f"at gate {name}")
    deadline = time.monotonic() + _GATE_PATIENCE_S
    while not _gate(_directory(), name).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody opened the gate {name}")
        time.sleep(_GATE_PAUSE_S)


async def pass_gate_async(name: str) -> None:
    """The application's side, ASGI: the same as a coroutine that leaves the loop free."""
    write(f"at gate {name}")
    async with asyncio.timeout(_GATE_PATIENCE_S):
        while not _gate(_directory(), name).exists():  # noqa: ASYNC110 - other processes cannot set an asyncio.Event
            await asyncio.sleep(_GATE_PAUSE_S)


def _directory() -> Path:
    return Path(os.environ[VARIABLE])


def _gate(directory: Path, name: str) -> Path:
    return directory / f"gate-{name}"
