"""What the kernel has counted for a process and all its descendants (proc(5))."""

import os
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class CpuTime:
    """CPU seconds. The sum is exact to a clock tick; the kernel samples how it divides into user and system."""

    user_s: float
    system_s: float

    def __sub__(self, earlier: "CpuTime") -> "CpuTime":
        return CpuTime(self.user_s - earlier.user_s, self.system_s - earlier.system_s)


def tree(pid: int) -> list[int]:
    """`pid` and its living descendants; a process that ends meanwhile is left out."""
    members = [pid]
    for task in _tasks(pid):
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        for child in children:
            members += tree(int(child))
    return members


def _tasks(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []


def cpu_time(pid: int) -> CpuTime:
    """CPU time of the tree of `pid`, with that of the children it has already waited for."""
    user = system = 0
    for member in tree(pid):
        try:
            stat = Path(f"/proc/{member}/stat").read_text()
        except OSError:
            continue
        # The command may hold spaces and parentheses; the fields are counted from behind it. utime is field 14.
        fields = stat[stat.rindex(")") + 2 :].split()
        user += int(fields[11]) + int(fields[13])
        system += int(fields[12]) + int(fields[14])
    return CpuTime(user / TICKS_PER_S, system / TICKS_PER_S)


def memory_kib(pid: int) -> int:
    """Proportional set size of the tree of `pid` in KiB: a page that n processes share counts 1/n for each."""
    total = 0
    for member in tree(pid):
        try:
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total
