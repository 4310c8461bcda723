"""`--reload`: a process that watches files and reports to the supervisor which have changed.

It is a process of its own because the package watchfiles starts threads, and a process with threads cannot safely fork,
as the supervisor does. It writes the names to a pipe, a line for each change, and dies with the supervisor.
"""

import importlib.util
import logging
import os
import signal
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from mmap import mmap
from time import time

from septet.errors import Failed
from septet.processes.children import fork, unblock_orders

SUFFIXES = (".py", ".toml")
"""Suffixes of the files whose changes cause a reload, in addition to the files that `Watched.included` names."""

QUIET_MS = 30
"""Milliseconds. Changes are reported when none has followed for this time: editors write a file in several steps."""
LONGEST_MS = 200
FIRST_LOOK_MS = 500
"""Milliseconds. The package watchfiles does not say when it has begun to watch, so after this time it is taken to have
begun. Files that have changed before are found by their times of modification.
"""

PROBLEM_BYTES = 1 << 16


class Problem:
    """The text of the error that keeps the newest code from being loaded, in memory that the supervisor shares with all
    generations.

    Only the supervisor writes it. A reader that comes during a write may see half of a text; its next read gives the
    whole.
    """

    def __init__(self) -> None:
        self._memory = mmap(-1, PROBLEM_BYTES)

    def write(self, text: str) -> None:
        data = text.encode(errors="replace")[: PROBLEM_BYTES - 4]
        self._memory[:4] = bytes(4)
        self._memory[4 : 4 + len(data)] = data
        self._memory[:4] = len(data).to_bytes(4, "little")

    def clear(self) -> None:
        self._memory[:4] = bytes(4)

    def read(self) -> str:
        """Return the text; "" if the newest code is loaded."""
        length = int.from_bytes(self._memory[:4], "little")
        return self._memory[4 : 4 + length].decode(errors="replace") if length else ""


@dataclass(frozen=True, slots=True)
class Watched:
    """What `--reload` watches. Changes of files in `directories` cause a reload if a file has one of SUFFIXES or
    matches a pattern in `included`, unless it matches one in `excluded`. A pattern (fnmatch) may match the file's path
    inside the directory, or one name in that path.
    """

    directories: tuple[str, ...]
    excluded: tuple[str, ...] = ()
    included: tuple[str, ...] = ()

    def counts(self, path: str) -> bool:
        """True if a change of this file causes a reload."""
        if not (self.included or path.endswith(SUFFIXES)):
            return False
        inside = [os.path.relpath(path, each) for each in self.directories]
        names = {name for name in inside if not name.startswith("..")} | {os.path.basename(path)}
        parts = {part for name in names for part in name.split(os.sep)}

        def matches(patterns: Iterable[str]) -> bool:
            return any(fnmatch(name, pattern) for pattern in patterns for name in names | parts)

        return (path.endswith(SUFFIXES) or matches(self.included)) and not matches(self.excluded)


def check_installed() -> None:
    """Raise Failed if the package watchfiles is not installed."""
    if importlib.util.find_spec("watchfiles") is None:
        raise Failed('--reload needs the package watchfiles, which is not installed: pip install "septet[reload]"')


class FileWatcher:
    """Starts the process that watches files for `--reload`, and reads from it which files have changed. For the main
    thread of the supervisor.
    """

    def __init__(self, watched: Watched) -> None:
        """Start the process that watches the files that `watched` describes. Raises OSError if it cannot be started."""
        self.watched = watched
        self._started_at = time()
        self.pipe, writing = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.pipe, False)
        try:
            self.pid = fork(partial(self._work, writing))
        except OSError:
            os.close(self.pipe)
            raise
        finally:
            os.close(writing)

    def changed(self) -> list[str]:
        """Return the names of the files whose changes the watching process has reported since the last call, without
        waiting for more. Empty if there are none, or if that process has ended.
        """
        with suppress(BlockingIOError):
            names = os.read(self.pipe, 65536).decode(errors="replace").splitlines()
            for name in names:
                _forget_compiled(name)
            return list(dict.fromkeys(names))
        return []

    def stop(self) -> None:
        os.close(self.pipe)
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def _work(self, writing: int) -> int:
        """Watch the files, and write the names of those that change to the pipe `writing`, until the supervisor ends.
        Runs in the child.
        """
        os.close(self.pipe)
        unblock_orders()
        from watchfiles import DefaultFilter, watch

        logging.getLogger("watchfiles").setLevel(logging.WARNING)
        ignored = DefaultFilter()  # version control, caches, virtual environments, files of editors

        def counts(change: object, path: str) -> bool:
            return ignored(change, path) and self.watched.counts(path)  # type: ignore[arg-type]

        options = {"watch_filter": counts, "step": QUIET_MS, "debounce": LONGEST_MS, "raise_interrupt": False}
        options |= {"rust_timeout": FIRST_LOOK_MS, "yield_on_timeout": True}
        began = False
        for changes in watch(*self.watched.directories, **options):  # type: ignore[arg-type]
            paths = {path for _, path in changes}
            if not began:  # what has changed before the kernel was asked to watch
                began = True
                paths.update(self._changed_since_start(ignored.ignore_dirs))
            _tell(writing, sorted(paths))
        return 0

    def _changed_since_start(self, ignored: Collection[str]) -> Iterator[str]:
        for top in self.watched.directories:
            for directory, below, names in os.walk(top):
                below[:] = [name for name in below if name not in ignored]
                for path in (os.path.join(directory, name) for name in names):
                    with suppress(OSError):
                        if self.watched.counts(path) and os.stat(path).st_mtime > self._started_at:
                            yield path


def _forget_compiled(path: str) -> None:
    """Remove the compiled file of a module. Python would take it for up to date if the source kept its size and changed
    twice within one second.
    """
    with suppress(OSError, NotImplementedError, ValueError):
        os.unlink(importlib.util.cache_from_source(path))


def _tell(writing: int, paths: Sequence[str]) -> None:
    for path in paths:
        os.write(writing, os.path.relpath(path).replace("\n", "?").encode(errors="replace") + b"\n")
