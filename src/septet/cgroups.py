"""The control groups of this process, and the limits that they set: cgroups(7), version 2 and version 1.

In a container a process may use less CPU and memory than the machine has. The innermost group does not suffice: a group
around it may have a lower limit, so the lowest limit of all applies.

The server derives its default numbers of workers and threads from these limits; the laboratory records them, and does
not use more than they allow.
"""

from collections.abc import Iterator
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
UNLIMITED_BYTES = 1 << 60
"""Bytes. Version 1 of control groups writes "no limit" as the largest multiple of a page, so a limit of this size or
more counts as none.
"""


def groups(controller: str, root: Path = CGROUP, membership: Path = MEMBERSHIP) -> Iterator[Path]:
    """Yield the cgroup directories whose limits for `controller` ("cpu", "memory", "pids") apply to this process.

    `membership` is a file like /proc/self/cgroup, which names the process's group in each hierarchy; `root` is where
    the hierarchies are mounted. Yielded are the process's group, then the groups around it, up to the top of the
    hierarchy: that of version 2, and in version 1 that of the controller. `root` and `root`/`controller` follow in any
    case: they have the container's own limits if the membership cannot be read, or names a group of the host that is
    not visible here. With "" as `controller`, only version 2 is looked at. The directories need not exist.
    """
    found: dict[Path, None] = {}
    for line in read(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root / controller if controllers else root  # version 1, or 2
        group = top / path.lstrip("/")
        found |= dict.fromkeys(folder for folder in (group, *group.parents) if folder.is_relative_to(top))
    yield from found | dict.fromkeys((root, root / controller))


def cpu_quota(root: Path = CGROUP, membership: Path = MEMBERSHIP) -> float | None:
    """Return how much CPU time this process's control groups (cgroups(7)) let it use, in CPUs (1.5: 1.5 s of CPU time
    each second); None: they set no limit.
    """
    quotas = (_quota(group) for group in groups("cpu", root, membership))
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota(group: Path) -> float | None:
    """Return the CPU limit of the cgroup whose directory is `group`, in CPUs; None: it has none. Version 2 has one file
    (cpu.max) with "QUOTA PERIOD" in microseconds, or "max PERIOD"; version 1 has a file for each of the two.
    """
    quota, _, period = read(group / "cpu.max").strip().partition(" ")
    if not quota:
        quota, period = read(group / "cpu.cfs_quota_us").strip(), read(group / "cpu.cfs_period_us").strip()
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() and int(period) else None


def memory_limits(root: Path = CGROUP, membership: Path = MEMBERSHIP) -> Iterator[tuple[int, str]]:
    """Yield (limit in bytes, name of the file that has the limit) for each memory limit of this process's control
    groups (cgroups(7)).
    """
    for group in groups("memory", root, membership):
        for name in ("memory.max", "memory.limit_in_bytes"):
            most = number(read(group / name))
            if most and most < UNLIMITED_BYTES:
                yield most, name


def number(text: str) -> int | None:
    """Return the first word of `text`, the contents of a file with a limit, as a number; None if it is not a decimal
    number: it may be "max".
    """
    word = text.split(maxsplit=1)[:1]
    return int(word[0]) if word and word[0].isdecimal() else None


def read(path: Path) -> str:
    """Return the text of a file; "" if it cannot be read."""
    try:
        return path.read_text()
    except OSError:
        return ""
