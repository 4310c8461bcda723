"""The share of the time for which a server's threads wait for the GIL, estimated from samples twenty times a second.

A thread that waits for it is in futex(2) on the lock of the interpreter (see `septet.lab.threads.reasons`). With more
than THREADS_MAX threads, samples would take too much CPU time from the server, so there is no figure; nor is there one
for an interpreter without a GIL.
"""

from __future__ import annotations

import sys
from collections import Counter

from septet.lab.threads.reasons import Reasons
from septet.lab.threads.states import State
from septet.lab.threads.tasks import Tasks

THREADS_MAX = 64
LOOKS_MIN = 50
"""Least number of samples of threads that run or want to run; with fewer there is no figure."""
BUSY = frozenset({State.RUNNING, State.RUNNABLE, State.GIL})


class GilWatch:
    """Samples the threads of a session (see `lab.server`); `port` is that of the server's listener."""

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
        """Return the time for which threads waited for the GIL, as a share of the time in which they ran or wanted to
        run.

        None when it is not known: too few samples, too many threads, or no GIL.
        """
        busy = self._seen.total()
        return None if self._too_many or busy < LOOKS_MIN else self._seen[State.GIL] / busy

    def close(self) -> None:
        self._tasks.close()
