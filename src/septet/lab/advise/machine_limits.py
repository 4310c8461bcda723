"""Reads how many CPUs and how much memory this process may use, within the limits of its control groups (see
`septet.cgroups`).

A container may be allowed less than the machine has: advice that is made from the machine's numbers would not fit it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from septet.cgroups import CGROUP, MEMBERSHIP, cpu_quota, memory_limits
from septet.errors import Failed
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
    """True if the load generator uses the same CPUs as the server."""
    notes: tuple[str, ...] = ()
    """Sentences for the user: how the CPUs are divided, and which limits are lower than the machine's."""


def machine_limits(pinned: Pinning, root: Path = CGROUP, membership: Path = MEMBERSHIP) -> MachineLimits:
    """Return the limits of a server on the CPUs that `pinned` leaves to it, within the control groups of this process.
    `membership`: the file that names these groups, and `root`: the directory where control groups are mounted.
    """
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


GO_ON, WAIT, GIVE_UP = IF_BUSY = ("go-on", "wait", "give-up")
"""Values of --if-busy, which says what to do if other programs still use the CPUs after a short wait: "go-on" measures
all the same, so that capacities are lower bounds; "wait" waits up to an hour; "give-up" ends with an error.
"""
LONG_WAIT_S = 3600.0
SAID_EVERY_S = 60.0


def await_quiet(
    say: Callable[[str], None],
    short_s: float,
    if_busy: str = GO_ON,
    busy_share: Callable[[], float] = machine.busy_share,
) -> None:
    """Wait until other programs use hardly any CPU, but for at most `short_s` seconds, or for at most an hour if
    `if_busy` is WAIT. `say` is called with sentences about the wait.

    `busy_share` takes a moment and returns the share of all CPUs that is in use. If that share is still more than
    FOREIGN_SHARE_MAX at the end, Failed is raised, unless `if_busy` is GO_ON.
    """
    at_most_s = LONG_WAIT_S if if_busy == WAIT else short_s
    begun = time.monotonic()
    share, next_word_s = busy_share(), 0.0
    while share > FOREIGN_SHARE_MAX:
        waited_s = time.monotonic() - begun
        if waited_s >= at_most_s:
            break
        if waited_s >= next_word_s:
            say(f"other programs use {share:.0%} of the CPUs: waiting up to {at_most_s - waited_s:.0f} s for them")
            next_word_s += SAID_EVERY_S
        share = busy_share()
    else:
        return
    if if_busy != GO_ON:
        raise Failed(
            f"other programs use {share:.0%} of the CPUs, so only lower bounds could be found; --if-busy {GO_ON} finds "
            "these"
        )
    say(
        f"other programs still use {share:.0%} of the CPUs: what a server holds can be believed, what it does not may "
        "be their doing, so capacities will be lower bounds"
    )


def _share(bound: int, usable: int, pinned: Pinning) -> str:
    if not pinned.server:
        return f"server and users share {_cpus(usable)}: the server would carry more if the users came from elsewhere"
    return f"of {_cpus(usable)} the server gets {bound}, the users {len(pinned.client)}"


def _cpus(number: int) -> str:
    return f"{number} CPU{'s' * (number != 1)}"
