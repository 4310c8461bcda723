"""The access log: a line for every answer, in the format that `--access-log-format` chooses (see `log_format`).

A line is written when the whole answer has been sent, so that it can tell status, size and durations. If the client
leaves before that, a line is written as well; its status is 499, as in nginx, if the answer had not begun.

Each line is one write(2), so threads and processes may share the file, and no line is lost at a stop, however sudden.
"""

import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import IO

from septet import forked
from septet.errors import Failed
from septet.log_format import COMMON, Entry, formatter
from septet.logs import apart
from septet.protocol import ServerExchange
from septet.streams import Sink, was_closed

log = logging.getLogger("septet")
access = logging.getLogger("septet.access")

CLIENT_CLOSED = 499
"""The status in the log for a request whose client left before its answer began, as nginx logs it."""


_common = formatter(COMMON)


def _write_nothing(exchange: ServerExchange, status: int, complete: bool) -> None:
    """Takes the place of `LoggedAccess._write` in a child that the application has forked."""


class LoggedAccess:
    """Gives a line for each answer to the logger `septet.access`, which `--log-config` may send anywhere. An
    `Observer`: sessions call it when a request begins and when its answer or its connection has ended.
    """

    def __init__(self, format: Callable[[Entry], str] = _common, exclude: Sequence[str] = ()) -> None:
        """`format`: makes the text of a line from an answer (`Entry`). `exclude`: paths of requests that are not
        logged; a path that ends with * stands for all paths that begin with the text before the *.
        """
        self._format = format
        self._excluded = frozenset(path.encode() for path in exclude if not path.endswith("*"))
        self._prefixes = tuple(path[:-1].encode() for path in exclude if path.endswith("*"))
        self._log_fault = apart(self._log)
        """Logs the line of an answer that the server has given instead of the application."""
        forked.register(self)

    def close_in_child(self) -> None:
        """Called in a child that the application has forked: write nothing from now on. The requests are the parent's,
        and it logs them, whatever the child gives by its copies of `send` and `write`.
        """
        self._write = _write_nothing  # type: ignore[method-assign]

    def began(self, exchange: ServerExchange) -> None:
        exchange.observer_state = time.monotonic_ns()

    def ended(self, exchange: ServerExchange) -> None:
        self._write(exchange, exchange.status, True)

    def closed(self, exchange: ServerExchange) -> None:
        if exchange.observer_state is not None:
            self._write(exchange, exchange.status or CLIENT_CLOSED, False)

    def _write(self, exchange: ServerExchange, status: int, complete: bool) -> None:
        began, exchange.observer_state = exchange.observer_state, None
        path = exchange.request.path
        if path in self._excluded or (self._prefixes and path.startswith(self._prefixes)):
            return
        now_ns = time.monotonic_ns()
        entry = Entry(exchange, exchange.request, status, complete, time.time(), now_ns, began)
        line = self._format(entry)
        # By the server itself, perhaps as the application runs for the request before it on its connection.
        self._log(line) if getattr(exchange, "fault", None) is None else self._log_fault(line)

    def _log(self, line: str) -> None:
        access.info("%s", line)


class AccessLog(LoggedAccess):
    """Writes a line for each answer to a file. Any thread may use it, and it goes on working in a process that is
    forked. An `Observer`: sessions call it when a request begins and when its answer or its connection has ended.
    """

    def __init__(self, file: IO[bytes], format: Callable[[Entry], str] = _common, exclude: Sequence[str] = ()) -> None:
        super().__init__(format, exclude)
        self._file = file
        self._is_ours = False
        """True if the file was opened here: then a child that the application forks does not keep it open."""
        self._sink = Sink(file.fileno(), "the access log", log.error)

    @classmethod
    def open(cls, path: str, format: Callable[[Entry], str] = _common, exclude: Sequence[str] = ()) -> "AccessLog":
        """Open the access log at `path`; `-` is standard output. Raises Failed if it cannot be written. `format` and
        `exclude` are those of `LoggedAccess`.
        """
        try:
            if path == "-":
                return cls(_standard_output(), format, exclude)
            opened = cls(open(path, "ab", buffering=0, opener=_open_nowait), format, exclude)  # noqa: SIM115
            opened._is_ours = True
            opened._sink.begin_a_line()
            opened._sink.reopen_at_usr1(path)
            return opened
        except OSError as error:
            raise Failed(f"cannot write the access log {path}: {error.strerror}") from error

    def close_in_child(self) -> None:
        super().close_in_child()
        if self._is_ours:
            self._file.close()

    def _log(self, line: str) -> None:
        self._sink.write(line.encode() + b"\n")


def _standard_output() -> IO[bytes]:
    if 1 in was_closed:
        raise Failed("cannot write the access log -: standard output is closed")
    return sys.stdout.buffer


def _open_nowait(path: str, flags: int) -> int:
    """Open a file and return its descriptor, as the `opener` of `open`. Does not wait: for a FIFO without a reader it
    raises OSError (ENXIO).
    """
    return os.open(path, flags | os.O_NONBLOCK, 0o666)
