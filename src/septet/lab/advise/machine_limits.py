"""What may be used here: the CPUs, and the memory, of this process and of the control groups it is in.

In a container the machine's numbers are not ours: a plan made from them would be for another machine. Read by
cgroups(7), version 2 or 1; the innermost group is not enough, for a group around it may be given less.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from septet.lab.pinning import Pinning

CGROUP = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
_UNLIMITED_BYTES = 1 << 60  # version 1 writes "no limit" as the largest multiple of a page


@dataclass(frozen=True, slots=True)
class Limits:
    """What the server may use while it is measured. `notes` are sentences about what is less than it looks."""

    cpus: int  # that the server is bound to, and its control group lets it use; at least 1
    memory_bytes: int
    shared: bool = False  # the load generator uses the same CPUs
    notes: tuple[str, ...] = ()


def limits(pinned: Pinning, root: Path = CGROUP, membership: Path = MEMBERSHIP) -> Limits:
    """The limits of a server on the CPUs that `pinned` leaves to it, in the control groups of this process."""
    usable = len(os.sched_getaffinity(0))
    bound = len(pinned.server) or usable
    notes = [_share(bound, usable, pinned)]
    groups = list(_groups(root, membership))
    quota = min(filter(None, (_quota(folder) for folder in groups)), default=None)
    if quota is not None and quota < bound + len(pinned.client):
        notes.append(f"the control group may use {quota:g} CPUs: the users' part of that is not the server's")
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    memory = min(filter(None, (_memory(folder) for folder in groups)), default=physical)
    if memory < physical:
        notes.append(f"the control group may use {memory / 1e6:,.0f} MB of memory")
    cpus = bound if quota is None else max(1, min(bound, round(quota - len(pinned.client))))
    return Limits(cpus, min(memory, physical), not pinned.server, tuple(notes))


def _share(bound: int, usable: int, pinned: Pinning) -> str:
    if not pinned.server:
        return f"server and users share {_cpus(usable)}: the server would carry more if the users came from elsewhere"
    return f"of {_cpus(usable)} the server gets {bound}, the users {len(pinned.client)}"


def _cpus(number: int) -> str:
    return f"{number} CPU{'s' * (number != 1)}"


def _groups(root: Path, membership: Path) -> Iterator[Path]:
    """The folders of our control group and of those around it: version 2 first, then version 1's controllers."""
    lines = (_read(membership) or "").splitlines()
    path = next((line[3:] for line in lines if line.startswith("0::")), "/")
    group = root / path.lstrip("/")
    for folder in (group, *group.parents):
        yield folder
        if folder == root:
            break
    yield root / "cpu"
    yield root / "memory"


def _quota(folder: Path) -> float | None:
    """CPUs' worth of time in a period; None without a limit."""
    quota, _, period = (_read(folder / "cpu.max") or "").partition(" ")
    if not quota:
        quota, period = _read(folder / "cpu.cfs_quota_us") or "", _read(folder / "cpu.cfs_period_us") or ""
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() and int(period) else None


def _memory(folder: Path) -> int | None:
    text = _read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes") or ""
    return int(text) if text.isdecimal() and 0 < int(text) < _UNLIMITED_BYTES else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
