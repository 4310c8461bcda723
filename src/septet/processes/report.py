"""What a generation reports to its supervisor, and an interpreter to the main one of its process: lines of JSON, on a
pipe or on a pair of sockets.
"""

import errno
import json
import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from septet import forked
from septet.errors import Failed, Refused, SeptetError, UsageError

_CLOSED = (
    "the application, or a library that it imports, has closed descriptors that it had not opened (as os.closerange "
    "and libraries that make a daemon do), the server's among them: leave that out"
)

_KINDS: dict[int, type[SeptetError]] = {kind.exit_status: kind for kind in (UsageError, Refused, Failed)}


class Report:
    """The writing end of the pipe on which a generation, a process that loads and serves the application, reports
    to the supervisor. Any thread may write; each report is a line, written by one write(2).
    """

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._file = _file_of(pipe)
        forked.register(self)

    def check_descriptors(self, listening: Iterable[socket.socket]) -> None:
        """Raise Failed if the application has closed the pipe or a listening socket. Called when it has been loaded."""
        try:
            own = _file_of(self._pipe) == self._file
            own = own and all(each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) for each in listening)
        except OSError:
            own = False
        if not own:
            raise Failed(_CLOSED)

    def ready(self, workers: int) -> None:
        """Report that this generation, a process that loads and serves the application, accepts clients from now on.
        `workers` is the number of processes that do so.
        """
        self._write({"ready": workers})

    def serves(self) -> None:
        """Report that at least one process accepts clients, though others are still starting."""
        self._write({"serves": True})

    def failed(self, error: SeptetError) -> None:
        """Report that it cannot start, and why; on standard error, if the application has closed the pipe."""
        traceback = getattr(error, "traceback", "")
        if not self._write({"failed": str(error), "status": error.exit_status, "traceback": traceback}):
            with suppress(OSError):  # by its number, as `sys.stderr` may be a copy that was closed as well
                os.write(2, f"{traceback}septet: {error}\n".encode(errors="backslashreplace"))

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

    def _write(self, message: dict[str, Any]) -> bool:
        """Return False if the application has closed the pipe. Its number may be that of a file of the application's
        since, into which nothing must be written.
        """
        try:
            if _file_of(self._pipe) != self._file:
                return False
            os.write(self._pipe, json.dumps(message).encode() + b"\n")
        except OSError as error:  # otherwise the supervisor is gone
            return error.errno != errno.EBADF
        return True

    def close_in_child(self) -> None:
        with suppress(OSError):
            os.close(self._pipe)


def _file_of(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def failure_of(message: dict[str, Any]) -> SeptetError:
    """Return the error that a message from `Report.failed` describes."""
    error = _KINDS[message["status"]](message["failed"])
    if isinstance(error, Failed):
        error.traceback = message["traceback"]
    return error
