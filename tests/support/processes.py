"""What /proc tells about a server's processes (proc(5)): who they are, whether they run, what they hold open.

A process is named by its pid *and* start time, so that a reused pid is never taken for the old process.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

WINDOW_S = 0.5
#: Of one CPU, in a window: a loop that is woken in vain takes all of it.
IDLE_SHARE = 0.3


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


def lowest_free_descriptor(pid: int) -> int:
    """The number that the next descriptor of `pid` gets."""
    taken = set(map(int, _entries(f"/proc/{pid}/fd")))
    return next(number for number in range(len(taken) + 1) if number not in taken)


def rests(pid: int) -> bool:
    """Whether a window comes soon in which `pid` and its descendants hardly compute."""
    return any(_share_of_cpu(pid) < IDLE_SHARE for _ in range(10))


def _share_of_cpu(pid: int) -> float:
    before = cpu_seconds(pid)
    time.sleep(WINDOW_S)  # a measurement takes its time
    return (cpu_seconds(pid) - before) / WINDOW_S


def cpu_seconds(pid: int) -> float:
    """What `pid` and its living descendants have computed so far, in user and in kernel mode."""
    return sum(_ticks(member.pid) for member in tree(pid)) / os.sysconf("SC_CLK_TCK")


def _ticks(pid: int) -> int:
    """utime and stime: fields 14 and 15 of /proc/PID/stat."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(fields[11]) + int(fields[12])


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


def private_memory(pid: int) -> int:
    """Bytes that `pid` and its living descendants share with no other process: Private_* in smaps_rollup, proc(5)."""
    return sum(_private_memory(member.pid) for member in tree(pid))


def _private_memory(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Private_"))
