"""The server's own log on standard error, and the access log, which has a line for every answer."""

import logging
import os
import sys
import time
import traceback
from contextlib import suppress
from typing import IO, Any, TextIO

from septet.errors import Failed
from septet.protocol import ServerExchange
from septet.streams import Sink, was_closed


def configure(level: str) -> None:
    """Send the log records of `septet` and of its applications to standard error, from `level` ("info", "warning", ...)
    on. Replaces the handlers of the root logger."""
    handler = _Handler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    if not isinstance(log, _GuardedLogger):
        log.__class__ = _GuardedLogger


log = logging.getLogger("septet")


class _Handler(logging.StreamHandler[TextIO]):
    """A StreamHandler that takes its lock with `with`, as Python does since 3.13. Before that, an exception raised by
    another thread (PyThreadState_SetAsyncExc) could arrive between taking the lock and the `try`; the lock was never
    released then, and every thread that logged would wait for ever."""

    def handle(self, record: logging.LogRecord) -> bool:
        found = self.filter(record)
        if found:
            assert self.lock is not None, "a handler of the standard library has a lock"
            with self.lock:
                self.emit(
                    found if isinstance(found, logging.LogRecord) else record
                )  # since Python 3.12 a filter may return another record
        return bool(found)

    def flush(self) -> None:
        assert self.lock is not None, "a handler of the standard library has a lock"
        with self.lock:
            self.stream.flush()


class _GuardedLogger(logging.Logger):
    """Class of the logger `septet`, whose methods never raise. An application may add handlers and filters, set a
    factory of records, and raise an object whose `repr` raises. An exception in any of these would come out of server
    code that logs, and end a thread or the process; it is printed instead."""

    def _log(self, level: int, msg: object, args: Any, *more: Any, **named: Any) -> None:
        """Log as `logging.Logger._log` does, which the methods of all levels call."""
        try:
            super()._log(level, msg, args, *more, **{**named, "stacklevel": named.get("stacklevel", 1) + 1})
        except BaseException as error:
            with suppress(BaseException):  # standard error is closed or full, or the arguments have no text either
                print(f"{msg} (logging this raised {type(error).__name__})", file=sys.__stderr__)
                traceback.print_exc(file=sys.__stderr__)


class AccessLog:
    """An `Observer` that writes a line for each answer: the common log format, and the microseconds from the request's
    head to the end of its answer.

        127.0.0.1 - - [23/Nov/2026:04:20:00 +0000] "GET /guestbook HTTP/1.1" 200 2310 184

    The client's bytes are escaped, so that a request cannot write lines of its own. Each line is one write(2), so
    threads and processes may share the file.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sink = Sink(file.fileno(), "the access log", log.error)

    @classmethod
    def open(cls, path: str) -> "AccessLog":
        """Open the access log at `path`; `-` is standard output. Raises Failed if it cannot be written."""
        try:
            if path == "-":
                return cls._of_standard_output()
            opened = cls(open(path, "ab", buffering=0, opener=_open_nowait))  # noqa: SIM115  as long as we run
            opened._sink.begin_a_line()
            return opened
        except OSError as error:
            raise Failed(f"cannot write the access log {path}: {error.strerror}") from error

    @classmethod
    def _of_standard_output(cls) -> "AccessLog":
        if 1 in was_closed:
            raise Failed("cannot write the access log -: standard output is closed")
        return cls(sys.stdout.buffer)

    def began(self, exchange: ServerExchange) -> None:
        exchange.observer_state = time.monotonic()

    def ended(self, exchange: ServerExchange) -> None:
        client = exchange.request.client or exchange.client or ("-", 0)
        now = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime())
        request = exchange.request
        began, exchange.observer_state = exchange.observer_state, None
        took = f"{(time.monotonic() - began) * 1e6:.0f}" if began is not None else "-"
        line = f"{request.method} {_escape(request.target)} HTTP/{request.version}" if request.target else "-"
        self._sink.write(f'{client[0]} - - [{now}] "{line}" {exchange.status} {exchange.sent} {took}\n'.encode())


def _open_nowait(path: str, flags: int) -> int:
    """Open a file without waiting; an `opener` for `open`. A FIFO without a reader raises OSError (ENXIO)."""
    return os.open(path, flags | os.O_NONBLOCK, 0o666)


def _escape(target: bytes) -> str:
    return target.decode("latin-1").replace("\\", "\\\\").replace('"', '\\"')
