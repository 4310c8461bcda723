"""Which CPUs the server gets, and which the users, so that neither takes the other's time.

A quarter of the CPUs for the users, at least one: for one CPU of the generator there are about three of work in the
fastest of our models. With a single CPU nothing can be kept apart.
"""

from __future__ import annotations

import os
from typing import NamedTuple


class Pinning(NamedTuple):
    """Two sets of CPUs that have none in common; both empty when nothing is bound."""

    server: tuple[int, ...] = ()
    client: tuple[int, ...] = ()


def pinning(cpus: list[int] | None = None) -> Pinning:
    """The last quarter of the usable CPUs (or of `cpus`) for the users, the others for the server."""
    usable = sorted(os.sched_getaffinity(0) if cpus is None else cpus)
    if len(usable) < 2:
        return Pinning()
    clients = max(1, len(usable) // 4)
    return Pinning(tuple(usable[:-clients]), tuple(usable[-clients:]))
