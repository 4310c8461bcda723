"""Writing to standard streams and logs without ever stopping the server: they may be closed, on a full disk, or a pipe
that is not read.

A line that cannot be written is dropped and counted. Failures less than EPISODE_S apart are one episode, of which the
first is reported. A pipe or a socket is written without waiting. A pipe is reopened for this, if possible, because
O_NONBLOCK on the file description that we inherited would change it for the other programs that share it (open(2)).
When a pipe has been full for a second, lines are dropped until its reader makes room.
"""

import io
import os
import select
import socket
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from weakref import WeakKeyDictionary

from septet import forked

MAX_WAIT_S = 1.0
"""Seconds that a write waits for room in a full pipe; then its line is dropped. All threads that log wait meanwhile. As
long as the pipe stays full, later lines are dropped without a wait.
"""

EPISODE_S = 10.0
"""Seconds. Failed writes that are less than this apart belong to one episode, of which only the first is reported."""

was_closed: set[int] = set()
"""The standard descriptors (0, 1, 2) that were closed when the server was started; `secure` fills it."""


class Sink:
    """Writes whole lines to a descriptor. Any thread may use it, and so may processes forked after its creation.

    `name` is what the descriptor is in a report, "the access log". `report` is called with a sentence once for each
    episode in which writing fails, and once, when it works again, with the number of writes that were lost.
    """

    def __init__(self, descriptor: int, name: str, report: Callable[[str], None]) -> None:
        self._name = name
        self._report = report
        self._write, self._close_own = _writer(descriptor)
        if self._close_own is not None:
            forked.register(self)
        self.descriptor = descriptor
        self._lost = 0
        self._failed: float | None = None
        """When a write failed last, on the monotonic clock (seconds). None: no write has failed, or one has worked more
        than EPISODE_S after the last failure.
        """
        self._full = False
        """True if the last write found the pipe or socket full: then the next one does not wait for room again."""
        self._torn = False
        """True if the file ends within a line, because the last one was written in part: the next write begins with a
        line end."""

    def close_in_child(self) -> None:
        """Called in a child that the application has forked: write to the descriptor itself from now on. If the child
        gives up that one, as a daemon does with standard error, the pipe's reader must see the end.
        """
        if self._close_own is not None:
            self._write = partial(os.write, self.descriptor)
            self._close_own()
            self._close_own = None

    def reopen_at_usr1(self, path: str) -> None:
        """Note that this sink writes to the log file at `path`: at the signal USR1 the file is opened anew under the
        same descriptor (`reopen_log_files`), since it may have been renamed. Does nothing if it is not a regular file.
        """
        if stat.S_ISREG(os.fstat(self.descriptor).st_mode):
            _log_files[self] = os.path.abspath(path)

    def begin_a_line(self) -> None:
        """Have the next write begin with a line end if the file ends within a line, as it may after a full disk."""
        self._torn = _ends_within_a_line(self.descriptor)

    def write(self, lines: bytes) -> None:
        """Write `lines`, which end with a line end, in one write(2) if the kernel accepts them at once. Never
        raises."""
        rest = memoryview(b"\n" + lines if self._torn else lines)
        try:
            while rest:
                rest = rest[self._write_some(rest) :]
        except OSError as error:
            self._torn = self._torn or 0 < len(rest) < len(lines)
            self._fail(error)
            return
        self._torn = self._full = False
        if self._failed is not None:
            self._recover(self._failed)

    def _write_some(self, data: memoryview) -> int:
        try:
            return self._write(data)
        except BlockingIOError:
            if self._full or not _has_room(self.descriptor):
                self._full = True
                raise
            return self._write(data)

    def _fail(self, error: OSError) -> None:
        now, failed = monotonic(), self._failed
        self._lost += 1
        self._failed = now
        if failed is None or now - failed > EPISODE_S:
            full = isinstance(error, BlockingIOError)
            why = "its reader does not read" if full else error.strerror or str(error)
            self._report(f"cannot write {self._name}: {why}; lines are lost until it can be written again")

    def _recover(self, failed: float) -> None:
        if monotonic() - failed > EPISODE_S:
            self._failed = None
            lost, self._lost = self._lost, 0
            self._report(f"{self._name} is written again; lines that were lost: {lost}")


_log_files: "WeakKeyDictionary[Sink, str]" = WeakKeyDictionary()
"""The path of each log file that is opened anew at USR1."""


def reopen_log_files() -> list[str]:
    """Open each log file anew under its descriptor, after it was renamed. Returns a sentence for each that failed. May
    be called in a signal handler: dup2(2) replaces a file between two writes."""
    complaints = []
    for sink, path in list(_log_files.items()):
        try:
            opened = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
            os.dup2(opened, sink.descriptor, inheritable=False)
            os.close(opened)
        except OSError as error:
            complaints.append(f"cannot open {path} anew: {error.strerror}; lines go to the old file")
    return complaints


def _writer(descriptor: int) -> tuple[Callable[[memoryview], int], Callable[[], None] | None]:
    """Return a function that writes bytes to the descriptor as write(2) does: it returns the number written, and raises
    BlockingIOError instead of waiting for a full pipe or socket. And a function that closes the descriptor that was
    opened for this; None if none was."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISFIFO(mode):
        with suppress(OSError):  # without /proc, or as another user: use the inherited one
            own = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            return partial(os.write, own), partial(os.close, own)
    if stat.S_ISSOCK(mode):
        sock = socket.socket(fileno=os.dup(descriptor))
        return lambda data: sock.send(data, socket.MSG_DONTWAIT), sock.close
    return partial(os.write, descriptor), None


def _has_room(descriptor: int) -> bool:
    """Wait until the descriptor can be written, MAX_WAIT_S at most. Returns True if it can."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(MAX_WAIT_S * 1000))


def _ends_within_a_line(descriptor: int) -> bool:
    """True if the descriptor is a regular file whose last byte is not a line end."""
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or not status.st_size:
            return False
        reading = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.pread(reading, 1, status.st_size - 1) != b"\n"
    except OSError:
        return False
    finally:
        os.close(reading)


class _StandardError(io.RawIOBase):
    """The raw stream of `sys.stderr`, which drops what cannot be written and never raises."""

    def __init__(self) -> None:
        self._sink = Sink(2, "standard error", lambda _: None)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2

    def write(self, data: "memoryview | bytes") -> int:  # type: ignore[override]
        self._sink.write(bytes(data))
        return len(data)


def secure() -> None:
    """Make the standard streams safe to use. The command calls it before it opens anything.

    A closed descriptor below 3 would be reused for a listener or a client, and the output of C libraries would go
    there; so it is opened as /dev/null.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            was_closed.add(descriptor)
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # open(2) returns the lowest free descriptor
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None or not os.isatty(2):
        if sys.stderr is not None:
            sys.stderr.flush()
        sys.stderr = io.TextIOWrapper(
            _StandardError(),
            encoding=getattr(sys.stderr, "encoding", None) or "utf-8",
            errors="backslashreplace",
            line_buffering=True,
        )


def flush() -> None:
    """Write what the standard streams have buffered, if possible."""
    for stream in (sys.stdout, sys.stderr):
        try:  # `suppress` would cost each fork of the model forking some pages
            stream.flush()
        except (OSError, ValueError, AttributeError):  # the stream is full; closed; removed by the application
            pass
