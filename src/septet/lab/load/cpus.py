"""On which CPUs something runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from .plan import LoadError


def check_cpus(cpus: tuple[int, ...]) -> None:
    """Raises LoadError for one that this process may not use."""
    usable = os.sched_getaffinity(0)
    if wrong := [str(cpu) for cpu in cpus if cpu not in usable]:
        raise LoadError(f"CPU {wrong[0]} is not usable here; there are {', '.join(map(str, sorted(usable)))}")


@contextmanager
def bound_to(cpus: tuple[int, ...]) -> Iterator[None]:
    """Bind this thread to the CPUs, if there are any, for as long as the context lasts.

    A process that is started meanwhile begins with what this thread has (sched_setaffinity(2)).
    """
    before = os.sched_getaffinity(0)
    if cpus:
        os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
