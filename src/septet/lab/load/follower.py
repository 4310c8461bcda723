"""A process of a crew, led by lines on its standard input: its order, then instants of the clock in nanoseconds."""

from __future__ import annotations

import json
import os
import select
from typing import Any

from .cpus import check_cpus
from .phases import carry_out
from .plan import LoadError, NobodyListens, Plan

STDIN = 0


class LedCue:
    """The cue of a process that is led."""

    at_once = False  # the others are waited for

    def came(self) -> int:
        say("ready", {})
        return int(read_line())

    def over(self, answers: int) -> bool:
        return bool(select.select([STDIN], [], [], 0)[0])

    def begin_ns(self) -> int:
        return int(read_line())


def follow() -> int:
    """Exit status 0, or 2 when the plan is refused."""
    try:
        plan = Plan.from_values(json.loads(read_line()))
        if plan.cpus:
            check_cpus(plan.cpus)
            os.sched_setaffinity(0, plan.cpus)
        say("raw", carry_out(plan, say, LedCue()))
    except LoadError as error:
        refuse(error)
        return 2
    return 0


def read_line() -> str:
    """The next line, and not a byte more: what is left must be seen by select(2)."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(STDIN, 1)
        if not byte:
            raise LoadError("the leader has gone")
        line += byte
    return line.decode()


def refuse(error: LoadError) -> None:
    say("refused", {"reason": str(error), "listens": not isinstance(error, NobodyListens)})


def say(event: str, details: dict[str, Any]) -> None:
    """One event as a line of JSON on standard output."""
    print(json.dumps({"event": event, **details}), flush=True)
