"""A whole run: in this process, or with a process on each CPU that the plan names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .crew import lead
from .figures import figures
from .limits import check_cpus
from .loop import Notify
from .phases import OwnCue, carry_out
from .plan import Plan


def run(plan: Plan, notify: Notify = lambda event, details: None) -> dict[str, Any]:
    """Load the server as planned and return the figures of the time after the warm-up.

    `notify` hears of "came", "progress" (four times a second), "measuring" and "measured". Ctrl-C ends the run early
    with the figures so far, marked `interrupted`. Raises LoadError, before anything is sent, when it cannot be done
    here, and when nobody listens at the URL.
    """
    check_cpus(plan.cpus)
    if len(plan.cpus) > 1:
        return figures(plan, lead(plan, notify))
    with _bound_to(plan.cpus):
        return figures(plan, [carry_out(plan, notify, OwnCue(plan))])


@contextmanager
def _bound_to(cpus: tuple[int, ...]) -> Iterator[None]:
    """Bind this thread to the CPUs, if there are any, for as long as the context lasts."""
    before = os.sched_getaffinity(0)
    if cpus:
        os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
