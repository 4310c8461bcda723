"""The control groups of this process, and the limits that they set: cgroups(7), version 2 and version 1.

In a container the CPUs and the memory of the machine are not those of the process. The innermost group is not enough: a
group around it may be given less, so the narrowest limit of all counts.

The only reader of control groups: the server takes its default numbers of workers and threads from it, the laboratory
what it may use and what it records about the machine.
"""

from collections.abc import Iterator
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
UNLIMITED_BYTES = 1 << 60
"""Version 1 writes "no limit" as the largest multiple of a page."""


def groups(controller: str, root: Path = CGROUP, membership: Path = MEMBERSHIP) -> Iterator[Path]:
    """The directories of this process's group as `controller` knows it, and of the groups around it, innermost first.

    The groups at the root come last in any case: where the membership cannot be read, or names a group of the host that
    a container does not see, they are what applies to the container.
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
    """How many CPUs' worth of time the group may take; None: no limit is set."""
    quotas = (_quota(group) for group in groups("cpu", root, membership))
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota(group: Path) -> float | None:
    """Version 2 has "QUOTA PERIOD" in microseconds, or "max PERIOD"; version 1 a file for each."""
    quota, _, period = read(group / "cpu.max").strip().partition(" ")
    if not quota:
        quota, period = read(group / "cpu.cfs_quota_us").strip(), read(group / "cpu.cfs_period_us").strip()
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() and int(period) else None


def memory_limits(root: Path = CGROUP, membership: Path = MEMBERSHIP) -> Iterator[tuple[int, str]]:
    """(bytes, name of the file) for each limit of memory."""
    for group in groups("memory", root, membership):
        for name in ("memory.max", "memory.limit_in_bytes"):
            most = number(read(group / name))
            if most and most < UNLIMITED_BYTES:
                yield most, name


def number(text: str) -> int | None:
    """The first word, if it is a number; a limit may be "max" instead."""
    word = text.split(maxsplit=1)[:1]
    return int(word[0]) if word and word[0].isdecimal() else None


def read(path: Path) -> str:
    """The text of a file; "" when it cannot be read."""
    try:
        return path.read_text()
    except OSError:
        return ""
