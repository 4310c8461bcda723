"""Says in words what a process did for a while: whether it computed, waited, got no CPU, or was stopped. For its
supervisor, which explains in this way why a worker stands still.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Self

from septet.metrics.proc import is_stopped, usage, wanted_cpu_s

MOST_THREADS = 64
"""Most threads of a process that are looked at, since each costs some microseconds."""


@dataclass(slots=True, frozen=True)
class Activity:
    """What the kernel had counted of a process at one instant."""

    at_s: float
    """The instant, on the clock of `time.monotonic`."""
    cpu_s: float
    """CPU seconds that the process had used."""
    wanted_s: dict[int, float]
    """For each of its threads, by the kernel's id: the seconds for which it had run, or was ready to run while others
    had the CPU. Empty if the kernel does not tell.
    """

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """Return the present figures of a process; None if there is no such process."""
        used = usage(pid)
        if used is None:
            return None
        wanted_s = {}
        with suppress(OSError):
            for thread in map(int, os.listdir(f"/proc/{pid}/task")[:MOST_THREADS]):
                wanted = wanted_cpu_s(pid, thread)
                if wanted is not None:
                    wanted_s[thread] = wanted
        return cls(monotonic(), used.cpu_s, wanted_s)

    def since(self, pid: int) -> str:
        """Return what the same process, `pid`, has done since these figures were taken, as the end of a sentence such
        as "it has stood still for 3 s": ": it is stopped", or ", in which it has used 0.1 s of CPU time: it waits".
        """
        if is_stopped(pid):
            return ": it is stopped (by SIGSTOP or a similar signal, or by a debugger)"
        now = type(self).of(pid)
        if now is None:
            return ""
        took_s, cpu_s = now.at_s - self.at_s, now.cpu_s - self.cpu_s
        wanted_s = max(
            (wanted - self.wanted_s.get(thread, wanted) for thread, wanted in now.wanted_s.items()), default=0
        )
        used = f", in which it has used {cpu_s:.1f} s of CPU time"
        if cpu_s > took_s / 2:
            return f"{used}: it computes"
        if wanted_s > took_s / 2:  # the busiest thread alone: the waits of several overlap
            waited_s = max(0.0, wanted_s - cpu_s)
            return f"{used} and was ready to run for {waited_s:.1f} s more: it computes, but others have the CPU"
        return f"{used}: it waits"
