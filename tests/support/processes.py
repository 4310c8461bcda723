"""What /proc tells about a server's processes (proc(5)): who they are, whether they run, what they hold open.

A process is named by its pid *and* start time, so that a reused pid is never taken for the old process.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from support.waiting import wait_until

WINDOW_S = 0.25
#: Of a window in which a process computes or would: a loop that is woken in vain does so all the time.
IDLE_SHARE = 0.5


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


def is_stopped(pid: int) -> bool:
    """Whether each of its threads has been stopped by a signal."""
    states = [_stat(f"{pid}/task/{task}") for task in _entries(f"/proc/{pid}/task")]
    return bool(states) and all(state is not None and state[0] == "T" for state in states)


def open_descriptors(pid: int) -> int:
    """How many descriptors `pid` and its descendants have open together."""
    return sum(len(_entries(f"/proc/{member.pid}/fd")) for member in tree(pid))


def lowest_free_descriptor(pid: int) -> int:
    """The number that the next descriptor of `pid` gets."""
    taken = set(map(int, _entries(f"/proc/{pid}/fd")))
    return next(number for number in range(len(taken) + 1) if number not in taken)


def rests(pid: int) -> bool:
    """Whether a window comes soon in which `pid` and its descendants hardly want the CPU.

    Waiting for the CPU counts like having it: so a loop without rest shows on a busy machine, too, which lets it have a
    small share only.
    """
    return any(_wanted_share(pid) < IDLE_SHARE for _ in range(20))


def _wanted_share(pid: int) -> float:
    before, began = _runnable_ns(pid), time.monotonic_ns()
    time.sleep(WINDOW_S)  # a measurement takes its time
    return (_runnable_ns(pid) - before) / (time.monotonic_ns() - began)


def _runnable_ns(pid: int) -> int:
    """Time on a CPU and in its queue: the first two fields of schedstat (sched-stats.rst of the kernel)."""
    return sum(sum(each[:2]) for each in _schedstats(pid).values())


def slept_s(pid: int, over: Callable[[], bool]) -> float:
    """For how long, until `over()`, no thread of `pid` and its descendants had anything to do.

    So a wait for a time-out shows, and what takes long because others have the CPU does not.
    """
    total_s, at, before = 0.0, time.monotonic(), _sleepers(pid)
    while not over():
        time.sleep(0.005)
        now, found = time.monotonic(), _sleepers(pid)
        if found and found == before:
            total_s += now - at
        at, before = now, found
    return total_s


def _sleepers(pid: int) -> dict[str, tuple[int, ...]]:
    """What the scheduler has counted of each thread; nothing unless all are asleep."""
    return _schedstats(pid) if _all_asleep(pid) else {}


def await_idle(pid: int) -> None:
    """Return once each thread of `pid` and its descendants waits: asleep, and not scheduled between two looks."""
    wait_until(lambda: _all_asleep(pid) and _schedstats(pid) == _schedstats(pid) and _all_asleep(pid), f"{pid} is idle")


def _all_asleep(pid: int) -> bool:
    states = (_stat(f"{member.pid}/task/{task}") for member, task in _threads(pid))
    return all(state is None or state[0] in "SZ" for state in states)


def _schedstats(pid: int) -> dict[str, tuple[int, ...]]:
    found = {}
    for member, task in _threads(pid):
        try:
            found[task] = tuple(map(int, Path(f"/proc/{member.pid}/task/{task}/schedstat").read_text().split()))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def _threads(pid: int) -> list[tuple[Process, str]]:
    return [(member, task) for member in tree(pid) for task in _entries(f"/proc/{member.pid}/task")]


def has_open(pid: int, path: Path) -> bool:
    """Whether `pid` or a descendant has the file at `path` open."""
    links = [f"/proc/{member.pid}/fd/{entry}" for member in tree(pid) for entry in _entries(f"/proc/{member.pid}/fd")]
    return str(path) in map(_target, links)


def threads(pid: int) -> int:
    """How many threads `pid` and its descendants have together."""
    return sum(len(_entries(f"/proc/{member.pid}/task")) for member in tree(pid))


def _stat(pid: int | str) -> tuple[str, int] | None:
    """State letter and start time of a process or, as PID/task/TID, of a thread.

    They are fields 3 and 22 of /proc/PID/stat, counted after the command's last `)`.
    """
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
