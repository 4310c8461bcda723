"""How many CPUs this process may use: those it is bound to, and no more than its control group is given.

In a container the machine's CPUs are not ours: servers that count them start hundreds of workers in a group of two.
"""

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def usable_cpus() -> int:
    """At least 1."""
    bound = len(os.sched_getaffinity(0))
    quota = cgroup_cpus()
    return bound if quota is None else max(1, min(bound, math.ceil(quota)))


def cgroup_cpus(root: Path = CGROUP, membership: Path = Path("/proc/self/cgroup")) -> float | None:
    """CPUs' worth of time that the control group may take, by cgroups(7) version 2 or 1; None: no limit is set."""
    quotas = [*_version_2(root, membership), *_version_1(root)]
    return min(quotas, default=None)


def _version_2(root: Path, membership: Path) -> list[float]:
    """`cpu.max` of the group and of every group around it: "QUOTA PERIOD" in microseconds, or "max PERIOD"."""
    path = next((line[3:] for line in _read(membership).splitlines() if line.startswith("0::")), "/")
    group = root / path.lstrip("/")
    quotas = []
    for folder in (group, *group.parents):
        quota, _, period = _read(folder / "cpu.max").strip().partition(" ")
        if quota.isdecimal() and period.isdecimal() and int(period):
            quotas.append(int(quota) / int(period))
        if folder == root:
            break
    return quotas


def _version_1(root: Path) -> list[float]:
    quota = _read(root / "cpu/cpu.cfs_quota_us").strip()
    period = _read(root / "cpu/cpu.cfs_period_us").strip()
    return [int(quota) / int(period)] if quota.isdecimal() and period.isdecimal() and int(period) else []


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def default_threads() -> int:
    """Eight for each CPU: a web application's thread mostly waits, for its database or for its client."""
    return 8 * usable_cpus()
