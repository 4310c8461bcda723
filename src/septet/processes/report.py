"""What a generation reports to its supervisor, and an interpreter to the main one of its process: lines of JSON, on a
pipe or on a pair of sockets.
"""

import json
import os
from contextlib import suppress
from typing import Any

from septet import forked
from septet.errors import Failed, Refused, SeptetError, UsageError

_KINDS: dict[int, type[SeptetError]] = {kind.exit_status: kind for kind in (UsageError, Refused, Failed)}


class Report:
    """The writing end of the pipe on which a generation, a process that loads and serves the application, reports
    to the supervisor. Any thread may write; each report is a line, written by one write(2).
    """

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        forked.register(self)

    def ready(self, workers: int) -> None:
        """Report that this generation, a process that loads and serves the application, accepts clients from now on.
        `workers` is the number of processes that do so.
        """
        self._write({"ready": workers})

    def serves(self) -> None:
        """Report that at least one process accepts clients, though others are still starting."""
        self._write({"serves": True})

    def failed(self, error: SeptetError) -> None:
        """Report that the generation cannot start, and why."""
        traceback = getattr(error, "traceback", "")
        self._write({"failed": str(error), "status": error.exit_status, "traceback": traceback})

    def retire(self, why: str) -> None:
        """Ask the supervisor to replace this process (a generation, which loads and serves the application) by a new
        one. `why` is the reason, for the log.
        """
        self._write({"retire": why})

    def cut(self) -> None:
        """Report that requests were broken off: their connections were closed before they were answered. Sent by an
        interpreter to the main one of its process, which then logs it.
        """
        self._write({"cut": True})

    def tell(self, text: str) -> None:
        """Report an event about a worker of this generation, for the metrics and the console."""
        self._write({"tell": text})

    def _write(self, message: dict[str, Any]) -> None:
        with suppress(OSError):  # the supervisor is gone
            os.write(self._pipe, json.dumps(message).encode() + b"\n")

    def close_in_child(self) -> None:
        with suppress(OSError):
            os.close(self._pipe)


def failure_of(message: dict[str, Any]) -> SeptetError:
    """Return the error that a message from `Report.failed` describes."""
    error = _KINDS[message["status"]](message["failed"])
    if isinstance(error, Failed):
        error.traceback = message["traceback"]
    return error
