"""Keeps what a process writes when it crashes, so that its parent can log the part of it that matters.

A process that gets SIGSEGV, SIGABRT or the like cannot run Python any more; faulthandler writes the stacks of its
threads to a file in plain C. That file is a memfd which the parent has made before it forked. When the process has
ended, the parent reads it, and leaves out what `stacks` leaves out of other dumps: what led to the application's first
line, and the threads in which the application is not.

If the application, or PYTHONFAULTHANDLER, has chosen a file for such stacks, it stays as it is. Whether it has is told
by the object that we gave to faulthandler: it is freed as soon as faulthandler has another one.
"""

import faulthandler
import os
import re
from contextlib import suppress
from functools import cache
from weakref import ref

from septet.processes.stacks import MOST_CHARACTERS, application_begins, is_spare

STANDARD_ERROR = 2

_BEGINS = b"Fatal Python error: "
_THREAD = re.compile(r"^(Current thread|Thread) 0x[0-9a-f]+.*\(most recent call first\):$")
_FRAME = re.compile(r'^  File "(.*)", line (?:\d+|\?\?\?) in .*$')


class _File:
    """The part of a file that faulthandler uses."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def flush(self) -> None:
        pass


_given: "ref[_File] | None" = None
"""The file that we gave to faulthandler last; its target is gone if faulthandler has another one now."""


def new_file() -> int:
    """Return the descriptor of a file for the stacks of a process that is about to be forked; -1 if there can be none,
    and the process will write to standard error.
    """
    try:
        return os.memfd_create("septet-crash", os.MFD_CLOEXEC)
    except OSError:
        return -1


def write_to(descriptor: int) -> None:
    """Have this process write the stacks of its threads to a file when it crashes or is sent ABRT. descriptor: of
    `new_file`. Called in the process that was forked.
    """
    global _given
    if faulthandler.is_enabled() and (_given is None or _given() is None):
        return
    with suppress(OSError, ValueError):
        file = _File(descriptor if descriptor >= 0 else STANDARD_ERROR)
        faulthandler.enable(file)
        _given = ref(file)
        _write_elsewhere_in_children()


def _in_child() -> None:
    """Have a child of such a process, which has no parent that reads its file, write to standard error."""
    file = None if _given is None else _given()
    if file is not None and file.fileno() != STANDARD_ERROR:
        write_to(STANDARD_ERROR)
        with suppress(OSError):
            os.close(file.fileno())


@cache
def _write_elsewhere_in_children() -> None:
    os.register_at_fork(after_in_child=_in_child)


def read(descriptor: int) -> str:
    """Return what a process that has ended has written to its file, without what does not matter; "" if it has written
    nothing. Closes the file.

    A child that crashes before Python knows that it was forked, by C code or in a function of pthread_atfork(3), writes
    to the same file. The last of several dumps is that of the process itself, if it has crashed at all: the caller
    knows that by its wait status.
    """
    with suppress(OSError), open(descriptor, "rb") as file:
        file.seek(0)
        written = file.read()
        dump = written[max(0, written.rfind(_BEGINS)) :][:MOST_CHARACTERS]
        return shortened(dump.decode("utf-8", "replace").rstrip("\n"))
    return ""


def shortened(dump: str) -> str:
    """Return a dump of faulthandler without what led to the application's first line in each stack, and without the
    threads in which the application is not; these are counted. A dump in which no thread is in the application, and the
    thread of a crash, stay whole.
    """
    before, threads, after = _parts(dump)
    begins = [application_begins(_files(thread)) for thread in threads]
    if not any(begin is not None for begin in begins):
        return dump
    aborted = "Aborted" in "".join(before)
    shown, idle = list(before), 0
    for thread, begin in zip(threads, begins, strict=True):
        if begin is not None:
            shown += thread[: len(thread) - begin]
        elif is_spare(_files(thread)) and (aborted or not thread[0].startswith("Current")):
            idle += 1
        else:
            shown += thread
    if idle:
        shown.append(f"{idle} idle thread{'s' if idle > 1 else ''} of the server not shown")
    return "\n".join(shown + after)


def _parts(dump: str) -> tuple[list[str], list[list[str]], list[str]]:
    """Return the lines before the threads, those of each thread, and the others that come after the first thread, all
    without empty lines.
    """
    before: list[str] = []
    threads: list[list[str]] = []
    after: list[str] = []
    for line in filter(None, dump.split("\n")):
        if _THREAD.match(line):
            threads.append([line])
        elif threads and not after and line.startswith("  "):
            threads[-1].append(line)
        else:
            (after if threads else before).append(line)
    return before, threads, after


def _files(thread: list[str]) -> list[str]:
    """Return the file of each frame of a thread, the outermost frame first."""
    found = map(_FRAME.match, reversed(thread[1:]))
    return [frame[1] if frame is not None else "" for frame in found]
