"""Gives memory that is free in the process's heap back to the system, when the process rests after work.

malloc(3) keeps what was freed for the next request. After a few large bodies at the same time that is some 10 MB: glibc
gives back the top of the heap beyond a threshold, which grows with the largest block that was ever freed (mallopt(3),
M_TRIM_THRESHOLD). A low threshold would hold memory down at all times, but then large answers cost up to three times
the CPU time, for the kernel has to give zeroed pages for each. So memory is given back when nobody waits.
"""

import ctypes
from time import process_time

REST_CPU_S = 0.02
"""Seconds of CPU time. A process that has used no more than this between two checks, about a second apart, is at rest.
"""

WORK_CPU_S = 0.1
"""Seconds of CPU time. A process that has used at least this much since memory was last given back has worked."""


class IdleHeap:
    """Gives free memory back to the system when the process rests after work. A thread of the process calls
    `check` about once a second.
    """

    def __init__(self) -> None:
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        """malloc_trim(3); None if the C library does not have it, as musl."""
        self._checked_s = self._trimmed_s = process_time()

    def check(self) -> None:
        """If the process has used the CPU for a while since memory was last given back (WORK_CPU_S), and rests now
        (REST_CPU_S), give free memory back to the system, which takes a few milliseconds.
        """
        now_s = process_time()
        rests = now_s - self._checked_s <= REST_CPU_S
        has_worked = self._checked_s - self._trimmed_s >= WORK_CPU_S
        self._checked_s = now_s
        if rests and has_worked and self._trim is not None:
            self._trim(0)
            self._checked_s = self._trimmed_s = process_time()
