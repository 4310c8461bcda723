"""The CPUs and the memory that this process may use, after the limits of its control groups (see `septet.cgroups`).

A container may use less than the machine has: advice made from the machine's numbers would not fit it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from septet.cgroups import CGROUP, MEMBERSHIP, cpu_quota, memory_limits
from septet.lab import machine
from septet.lab.pinning import Pinning
from septet.lab.verdicts import FOREIGN_SHARE_MAX


@dataclass(frozen=True, slots=True)
class MachineLimits:
    """The CPUs and the memory that the server may use while it is measured."""

    cpus: int
    """Number of CPUs that the server is bound to, or fewer if its control group allows fewer; at least 1."""
    memory_bytes: int
    shared: bool = False
    """True if the load generator uses the same CPUs."""
    notes: tuple[str, ...] = ()
    """Sentences for the user: how the CPUs are divided, and which limits are lower than the machine's."""


def machine_limits(pinned: Pinning, root: Path = CGROUP, membership: Path = MEMBERSHIP) -> MachineLimits:
    """Return the limits of a server on the CPUs that `pinned` leaves to it, in the control groups of this process."""
    usable = len(os.sched_getaffinity(0))
    bound = len(pinned.server) or usable
    notes = [_share(bound, usable, pinned)]
    quota = cpu_quota(root, membership)
    if quota is not None and quota < bound + len(pinned.client):
        notes.append(f"the control group may use {quota:g} CPUs: the users' part of that is not the server's")
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    memory = min((most for most, _ in memory_limits(root, membership)), default=physical)
    if memory < physical:
        notes.append(f"the control group may use {memory / 1e6:,.0f} MB of memory")
    cpus = bound if quota is None else max(1, min(bound, round(quota - len(pinned.client))))
    return MachineLimits(cpus, min(memory, physical), not pinned.server, tuple(notes))


def await_quiet(say: Callable[[str], None], at_most_s: float) -> bool:
    """Wait until other programs leave the machine alone, for some time; says so, and returns whether they do."""
    deadline = time.monotonic() + at_most_s
    share, told = machine.busy_share(), False
    while share > FOREIGN_SHARE_MAX:
        if time.monotonic() >= deadline:
            say(
                f"other programs still use {share:.0%} of the CPUs: what a server holds can be believed, what it does "
                "not may be their doing, so capacities will be lower bounds"
            )
            return False
        if not told:
            say(f"other programs use {share:.0%} of the CPUs: waiting up to {at_most_s:.0f} s for them")
            told = True
        share = machine.busy_share()
    return True


def _share(bound: int, usable: int, pinned: Pinning) -> str:
    if not pinned.server:
        return f"server and users share {_cpus(usable)}: the server would carry more if the users came from elsewhere"
    return f"of {_cpus(usable)} the server gets {bound}, the users {len(pinned.client)}"


def _cpus(number: int) -> str:
    return f"{number} CPU{'s' * (number != 1)}"
