"""The server's own log, on standard error or where `--log-config` sends it."""

import json
import logging
import sys
import time
import tomllib
import traceback
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Any, TextIO

from septet.errors import UsageError

TEXT = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"


def configure(level: str, format: str = "text", file: str | None = None) -> None:
    """Send the log records of `septet` and of its applications, of this level and above, to standard error.

    `format`: "text" or "json". `file`: a configuration for `logging.config.dictConfig`, in TOML or JSON, that is
    applied after this; its handlers and loggers replace these. Raises UsageError if the file cannot be read or applied.
    """
    handler = _Handler(sys.stderr)
    handler.setFormatter(JsonFormatter() if format == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("hpack").setLevel(logging.INFO)  # at debug it logs each field of HTTP/2 with its value
    if file is not None:
        _apply(file)
    guard()


def guard() -> None:
    """Keep what handlers and filters of an application raise from coming out of the server's code that logs."""
    for each in (log, logging.getLogger("septet.access")):
        if not isinstance(each, _GuardedLogger):
            each.__class__ = _GuardedLogger


def _apply(file: str) -> None:
    from logging.config import dictConfig

    try:
        with open(file, "rb") as opened:
            content = json.load(opened) if file.endswith(".json") else tomllib.load(opened)
    except OSError as error:
        raise UsageError(f"--log-config is {file!r}, which cannot be read: {error.strerror}") from error
    except ValueError as error:  # tomllib.TOMLDecodeError and json.JSONDecodeError are ValueErrors
        raise UsageError(f"--log-config is {file!r}, which is no valid {_kind(file)}: {error}") from error
    if not isinstance(content, dict):
        raise UsageError(f"--log-config is {file!r}, which is no valid JSON object")
    content.setdefault("version", 1)
    content.setdefault("disable_existing_loggers", False)
    try:
        dictConfig(content)
    except (ValueError, TypeError, AttributeError, ImportError) as error:
        cause = error.__cause__
        why = f"{error}: {cause}" if cause is not None else str(error)
        raise UsageError(f"--log-config is {file!r}, which logging.config refuses: {why}") from error


def _kind(file: str) -> str:
    return "JSON" if file.endswith(".json") else "TOML"


class JsonFormatter(logging.Formatter):
    """Formats a record as a JSON object on one line: time (UTC), level, logger, pid, thread, message, and the traceback
    if there is one. Attributes given by `extra` are members, too.
    """

    def format(self, record: logging.LogRecord) -> str:
        second, part = divmod(record.created, 1)
        members: dict[str, Any] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(second))}.{int(part * 1000):03}Z",
            "level": record.levelname,
            "logger": record.name,
            "pid": record.process,
            "thread": record.threadName,
            "message": record.getMessage(),
        }
        if record.exc_info:
            members["traceback"] = self.formatException(record.exc_info)
        extra = {name: value for name, value in record.__dict__.items() if name not in _USUAL}
        return json.dumps(extra | members, default=repr)


_USUAL = {*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName"}
"""The attributes that every log record has. Other attributes were given by `extra` and become members of the JSON
object.
"""


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


def apart(log_to: Callable[..., object]) -> Callable[..., None]:
    """Return a function that calls `log_to` in a context of its own, a copy of that of this moment: for what is logged
    of one request, perhaps, while the application runs for another one. A filter of the application that adds what it
    finds in a context variable, such as the id of a request, does not find that of the other one.
    """
    context = copy_context()

    def log_apart(*arguments: object) -> None:
        context.copy().run(log_to, *arguments)

    return log_apart


class _GuardedLogger(logging.Logger):
    """Class of the loggers `septet` and `septet.access`, whose methods never raise. An application may add handlers and
    filters, set a factory of records, and raise an object whose `repr` raises. An exception in any of these would come
    out of server code that logs, and end a thread or the process, or a connection; it is printed instead.

    Nor does `logging.config` disable them: unless told otherwise it disables all loggers that it was not told of, and
    then no line says why a request was answered 500.
    """

    @property
    def disabled(self) -> bool:
        value: bool = self.__dict__.get("disabled", False)
        return value

    @disabled.setter
    def disabled(self, value: bool) -> None:
        if sys._getframe(1).f_globals.get("__name__") != "logging.config":
            self.__dict__["disabled"] = value

    def _log(self, level: int, msg: object, args: Any, *more: Any, **named: Any) -> None:
        """Log as `logging.Logger._log` does, through which the methods of all levels go; but print an exception instead
        of raising it.
        """
        try:
            super()._log(level, msg, args, *more, **{**named, "stacklevel": named.get("stacklevel", 1) + 1})
        except BaseException as error:
            with suppress(BaseException):  # standard error is closed or full, or the arguments have no text either
                print(f"{msg} (logging this raised {type(error).__name__})", file=sys.__stderr__)
                traceback.print_exc(file=sys.__stderr__)
