"""Which share of their time a server's threads wait for the GIL: from looks at them, twenty times a second.

A thread that waits is in futex(2) on the lock of the interpreter (see `septet.lab.threads.reasons`). With more than
a few dozen threads looking would take CPU time from the server, so there is no figure; nor is there one for an
interpreter without a GIL.
"""

from __future__ import annotations

import sys
from collections import Counter

from septet.lab.threads.reasons import Reasons
from septet.lab.threads.states import State
from septet.lab.threads.tasks import Tasks

THREADS_MAX = 64
LOOKS_MIN = 50
"""Fewer looks at busy threads are too few for a share."""
BUSY = frozenset({State.RUNNING, State.RUNNABLE, State.GIL})


class GilWatch:
    """Looks at the threads of a session, and computes the share."""

    def __init__(self, session: int, port: int) -> None:
        self._tasks = Tasks(session, Reasons(frozenset({port})))
        self._seen: Counter[State] = Counter()
        self._too_many = not getattr(sys, "_is_gil_enabled", lambda: True)()

    def look(self) -> None:
        if self._too_many:
            return
        samples = self._tasks.look()
        self._too_many = len(samples) > THREADS_MAX
        self._seen.update(sample.state for sample in samples if sample.state in BUSY)

    def share(self) -> float | None:
        """The share of the time in which threads wanted to run that they waited for the GIL; None: not known."""
        busy = self._seen.total()
        return None if self._too_many or busy < LOOKS_MIN else self._seen[State.GIL] / busy

    def close(self) -> None:
        self._tasks.close()
