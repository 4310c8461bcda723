"""A whole run: in this process, or with a process on each CPU that the plan names."""

from __future__ import annotations

from typing import Any

from .cpus import bound_to, check_cpus
from .crew import lead
from .figures import figures
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
    with bound_to(plan.cpus):
        return figures(plan, [carry_out(plan, notify, OwnCue(plan))])
