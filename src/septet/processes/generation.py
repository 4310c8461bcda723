"""One generation: what it is to be, what it tells the supervisor, and what the supervisor knows of it.

See `septet.processes.generations`.
"""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from septet import forked
from septet.errors import Failed, Refused, SeptetError, UsageError
from septet.processes.recycling import Life, Recycling

_KINDS: dict[int, type[SeptetError]] = {kind.exit_status: kind for kind in (UsageError, Refused, Failed)}


class Report:
    """The generation's end of the pipe: what it tells the supervisor. For any thread; each line is one write(2)."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        forked.register(self)

    def ready(self, workers: int) -> None:
        """Clients are accepted from now on, by so many processes."""
        self._write({"ready": workers})

    def serves(self) -> None:
        """The first of several processes accepts clients."""
        self._write({"serves": True})

    def failed(self, error: SeptetError) -> None:
        """It cannot start."""
        traceback = getattr(error, "traceback", "")
        self._write({"failed": str(error), "status": error.exit_status, "traceback": traceback})

    def retire(self, why: str) -> None:
        """It asks for a successor."""
        self._write({"retire": why})

    def tell(self, text: str) -> None:
        """Something has happened to one of its workers."""
        self._write({"tell": text})

    def _write(self, message: dict[str, Any]) -> None:
        with suppress(OSError):  # the supervisor is gone
            os.write(self._pipe, json.dumps(message).encode() + b"\n")

    def close_in_child(self) -> None:
        with suppress(OSError):
            os.close(self._pipe)


def failure_of(message: dict[str, Any]) -> SeptetError:
    """What `Report.failed` was given."""
    error = _KINDS[message["status"]](message["failed"])
    if isinstance(error, Failed):
        error.traceback = message["traceback"]
    return error


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Plan:
    """What a generation is to be."""

    run: Callable[[Report], int]
    """Called in its process, with TERM at its default; gives the exit status."""
    began: Callable[[int], None]
    """Called in the supervisor when it is ready, with the number of processes that serve."""
    graceful_timeout: float
    startup_timeout: float
    recycling: Recycling
    """When the generation is replaced, if it has no workers of its own."""
    instead: Callable[[Report], int] | None = None
    """What is run if the very first generation cannot start. None: the server ends."""
    failed: Callable[[str], None] = lambda text: None
    """Called in the supervisor with a text when a generation cannot start, and with an empty one when one is ready."""


@dataclass(slots=True, eq=False)
class Generation:
    """One process, and what is known of it."""

    number: int
    pid: int
    pipe: int
    """The reading end; -1 when it is closed."""
    plan: Plan
    started_at: float
    life: Life
    row: int = 0
    """In the table of metrics; 0: there is none."""
    reason: str = ""
    """Why it replaces another: one of `metrics.lanes.REASONS`."""
    failed: bool = False
    """It has reported, or we have logged, why it cannot start."""
    serves: bool = False
    """It has reported that one of its processes, at least, accepts clients."""
    ends_at: float = float("inf")
    """When it is killed if it has not ended; on the clock of `monotonic`."""
    unread: bytes = b""

    def __str__(self) -> str:
        return f"generation {self.number} (pid {self.pid})"

    def messages(self) -> list[dict[str, Any]]:
        """What it has reported since the last call."""
        try:
            data = os.read(self.pipe, 65536)
        except BlockingIOError:
            return []
        *lines, self.unread = (self.unread + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def handed_over(self, current: bool) -> dict[str, Any]:
        """What another program, in this process, has to know of it. Its pipe stays open there."""
        os.set_inheritable(self.pipe, True)
        known = {"number": self.number, "pid": self.pid, "pipe": self.pipe, "current": current}
        return {**known, "graceful_timeout": self.plan.graceful_timeout, "row": self.row}


def keep_text(text: str) -> None:
    """For the generation that shows the text."""


class Handed(Protocol):
    """The listening sockets, as far as the supervisor knows them (`net.handover.ListenerSet`)."""

    def shut(self) -> None:
        """Accept no more clients."""

    def hand_over(self) -> list[dict[str, Any]]:
        """What another program needs to go on with them."""

    def keep(self) -> None:
        """They were not handed over after all."""


@dataclass(slots=True)
class Living:
    """The generations that there are."""

    current: Generation | None = None
    """The one that serves."""
    next: Generation | None = None
    """The one that starts."""
    old: list[Generation] = field(default_factory=list)
    """Those that drain."""

    def all(self) -> list[Generation]:
        return [each for each in (self.next, self.current, *self.old) if each is not None]
