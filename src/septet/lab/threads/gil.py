"""Measures how long a server's threads wait for the GIL and how many CPUs they want, by samples twenty times a second.

A thread that waits for the GIL is in futex(2) on the interpreter's lock (see `septet.lab.threads.reasons`). With more
than a few dozen threads, sampling would take CPU time from the server, so there is no figure; nor is there one for an
interpreter without a GIL.

A thread that runs and one that could run both want a CPU. So the number of CPUs that a server wants does not depend on
what other programs leave it: a server that computes wants one or more all the time, one that waits for a backend hardly
any.
"""

from __future__ import annotations

from collections import Counter

from septet.lab.threads.reasons import Reasons
from septet.lab.threads.states import State
from septet.lab.threads.tasks import Tasks

THREADS_MAX = 64
LOOKS_MIN = 50
"""Least number of samples from which the share of the GIL is computed. Only samples in which a thread runs, could run
or waits for the GIL are counted; with fewer the share is not known.
"""
BUSY = frozenset({State.RUNNING, State.RUNNABLE, State.GIL})
ON_CPU = frozenset({State.RUNNING, State.RUNNABLE})
WANTED_LOOKS_MIN = 5
"""Least number of times that all threads must have been sampled for the number of CPUs that the server wants to be
known. A thread wants a CPU if it runs or could run.
"""


class GilWatch:
    """Samples the threads of a server that listens at `port`. Computes for what share of the time they waited for the
    GIL, and how many of the server's `cpus` CPUs they wanted, which means that they ran or could run. The server's
    processes are those of the session with the id `session`. `has_gil`: False if the server's Python has no GIL.
    """

    def __init__(self, session: int, port: int, cpus: int = 1, has_gil: bool = True) -> None:
        self._tasks = Tasks(session, Reasons(frozenset({port})))
        self._seen: Counter[State] = Counter()
        self._looks = self._wanted = 0
        self._cpus = cpus
        self._has_gil = has_gil
        self._too_many = False

    def look(self) -> None:
        if self._too_many:
            return
        samples = self._tasks.look()
        self._too_many = len(samples) > THREADS_MAX
        self._seen.update(sample.state for sample in samples if sample.state in BUSY)
        self._looks += 1
        self._wanted += min(self._cpus, sum(sample.state in ON_CPU for sample in samples))

    def share(self) -> float | None:
        """Return the time for which threads waited for the GIL, as a share of the time in which they ran, could run or
        waited for the GIL.

        None if it is not known: there are too few samples, too many threads to sample them, or Python has no GIL.
        """
        busy = self._seen.total()
        known = self._has_gil and not self._too_many and busy >= LOOKS_MIN
        return self._seen[State.GIL] / busy if known else None

    def cpus_wanted(self) -> float | None:
        """Return how many of the server's CPUs its threads wanted (ran on, or waited for) on average. None if there are
        too few samples, or too many threads to sample them.
        """
        return None if self._too_many or self._looks < WANTED_LOOKS_MIN else self._wanted / self._looks

    def close(self) -> None:
        self._tasks.close()
