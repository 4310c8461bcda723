"""What /proc tells about a server's processes (proc(5)): who they are, whether they run, what they hold open.

A process is named by its pid *and* start time, so that a reused pid is never taken for the old process.
"""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """One process; `start` is its start time in clock ticks after boot."""

    pid: int
    start: int

    @property
    def running(self) -> bool:
        """Whether it still executes: a zombie that nobody has waited for does not."""
        state = _stat(self.pid)
        return state is not None and state[1] == self.start and state[0] not in "ZX"


def process(pid: int) -> Process | None:
    """The process that has `pid` now, or None."""
    state = _stat(pid)
    return None if state is None else Process(pid, state[1])


def children(pid: int) -> list[Process]:
    """The direct children of `pid`, zombies included, whichever of its threads made them."""
    pids: set[int] = set()
    for task in _entries(f"/proc/{pid}/task"):
        try:
            pids.update(map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split()))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return [child for child in map(process, sorted(pids)) if child is not None]


def tree(pid: int) -> list[Process]:
    """`pid` and all its descendants, parents first."""
    root = process(pid)
    if root is None:
        return []
    found = [root]
    for child in children(pid):
        found += tree(child.pid)
    return found


def open_descriptors(pid: int) -> int:
    """How many descriptors `pid` and its descendants have open together."""
    return sum(len(_entries(f"/proc/{member.pid}/fd")) for member in tree(pid))


def has_open(pid: int, path: Path) -> bool:
    """Whether `pid` or a descendant has the file at `path` open."""
    links = [f"/proc/{member.pid}/fd/{entry}" for member in tree(pid) for entry in _entries(f"/proc/{member.pid}/fd")]
    return str(path) in map(_target, links)


def threads(pid: int) -> int:
    """How many threads `pid` and its descendants have together."""
    return sum(len(_entries(f"/proc/{member.pid}/task")) for member in tree(pid))


def _stat(pid: int) -> tuple[str, int] | None:
    """State letter and start time: fields 3 and 22 of /proc/PID/stat, counted after the command's last `)`."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[0], int(fields[19])


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _entries(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, ProcessLookupError):
        return []
