"""Divides the CPUs between the server and the users, so that they do not take each other's CPU time.

The users get a quarter of the CPUs, at least one: one CPU of the generator keeps about three CPUs of the fastest model
busy. A single CPU has to be shared.
"""

from __future__ import annotations

import os
from typing import NamedTuple


class Pinning(NamedTuple):
    """The CPUs of the server and of the load generator, without overlap; both empty when neither is bound."""

    server: tuple[int, ...] = ()
    client: tuple[int, ...] = ()


def pinning(cpus: list[int] | None = None) -> Pinning:
    """Return the split of the CPUs that this process may use (or of `cpus`): the last quarter is for the load
    generator, the others are for the server.
    """
    usable = sorted(os.sched_getaffinity(0) if cpus is None else cpus)
    if len(usable) < 2:
        return Pinning()
    clients = max(1, len(usable) // 4)
    return Pinning(tuple(usable[:-clients]), tuple(usable[-clients:]))
