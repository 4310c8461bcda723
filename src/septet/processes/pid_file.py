"""`--pid-file`: the pid of the server's first process, in a file."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG

from septet import remains
from septet.errors import Failed

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")

REUSED_S = 2.0
"""Seconds. If the process that now has the pid in the file started more than this after the file was written,
it is another one than the file means: the pid was used again. (The clocks of files and of processes differ a
little, hence not 0.)
"""


class PidFile:
    """The file with the pid of the process that makes this object. The file need not be written again when the
    process executes another program (USR2), because the process keeps its pid.
    """

    def __init__(self, path: str) -> None:
        """`path` is the absolute path of the file; a relative one would change its meaning when the application
        changes the working directory.
        """
        self.path = path
        self._pid = os.getpid()

    def write(self) -> None:
        """Write the pid to the file atomically. Raises Failed if the file names another running process, or if it
        cannot be written.
        """
        holder = _holder(self.path)
        if holder is not None and holder != self._pid:
            raise Failed(f"--pid-file is {self.path!r}, which names process {holder}, and that one runs")
        new = f"{self.path}.{self._pid}"
        try:
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            try:
                os.write(descriptor, b"%d\n" % self._pid)
            finally:
                os.close(descriptor)
            os.replace(new, self.path)
        except OSError as error:
            with suppress(OSError):
                os.unlink(new)
            raise Failed(f"--pid-file {self.path!r} cannot be written: {error.strerror}") from error
        remains.register(self)

    def remove_file(self) -> None:
        """Remove the file if it still has the pid of the process that has made this object. Does nothing in a process
        that was forked from that one.
        """
        if os.getpid() == self._pid and _pid_in(self.path) == self._pid:
            with suppress(OSError):  # the directory is root's, and this process is not root any more
                os.unlink(self.path)


@contextmanager
def pid_file_at(path: str | None) -> Iterator[None]:
    """Context manager: write the pid file at `path`, and remove it at the end; None: do nothing. Raises Failed."""
    if path is None:
        yield
        return
    file = PidFile(os.path.abspath(path))
    file.write()
    try:
        yield
    finally:
        file.remove_file()


def _pid_in(path: str) -> int | None:
    """Return the pid in the file; None if there is no file, or no pid in it. Does not wait for a named pipe's writer,
    because a signal handler may call this at the end (`remains`)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            if not S_ISREG(os.fstat(descriptor).st_mode):
                return None
            text = os.read(descriptor, 64)
        finally:
            os.close(descriptor)
    except OSError:
        return None
    found = re.fullmatch(rb"\s*([1-9][0-9]{0,9})\s*", text)
    return int(found[1]) if found else None


def _holder(path: str) -> int | None:
    """Return the pid that is in the file if a process with this pid runs, and was started before the file was
    written. Return None if there is no such process: then the pid is that of a process that has ended.
    """
    pid = _pid_in(path)
    if pid is None:
        return None
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        booted = re.search(r"^btime (\d+)$", Path("/proc/stat").read_text(), re.MULTILINE)
        written_at = os.stat(path).st_mtime
    except OSError:
        return None
    if fields[0] in "ZX" or booted is None:  # it has ended
        return None
    began_at = int(booted[1]) + int(fields[19]) / CLOCK_TICKS
    return None if began_at > written_at + REUSED_S else pid
