"""Logs that descriptors, memory, threads or processes are exhausted: one line for each episode, not for each
failure."""

import logging
from errno import ENOMEM
from threading import Lock
from time import monotonic

log = logging.getLogger("septet")

ACCEPT_PAUSE_S = 0.5
"""Seconds for which a process accepts no client after accept(2) has failed, because descriptors or memory were
exhausted. Clients that are connected may finish meanwhile, which sets some of these free.
"""

EPISODE_S = 10.0
"""Seconds. A failure that follows the one before it within this time belongs to the same episode and is not logged.
Under load, a resource that becomes free is used up again at once, so failures follow each other.
"""


def lacks_memory(error: BaseException) -> bool:
    """True if the interpreter or the system has no memory, as system calls that wait may report, too (poll(2))."""
    return isinstance(error, MemoryError) or (type(error) is OSError and error.errno == ENOMEM)


def reason(error: BaseException) -> str:
    """Return the system's text for an error ("Too many open files"), "out of memory" for a MemoryError, else its
    repr."""
    return getattr(error, "strerror", None) or ("out of memory" if isinstance(error, MemoryError) else repr(error))


class ResourceExhaustion:
    """Logs that descriptors, memory, threads or processes are exhausted: one line for each episode, in which failures
    follow each other within EPISODE_S. Any thread of the process may use it.
    """

    def __init__(self) -> None:
        self._seen: float | None = None
        self._lock = Lock()

    def report(self, what: str, meanwhile: str = "clients wait until it can be done again") -> None:
        """Log "`what`; `meanwhile`", unless the failure before this one was less than EPISODE_S ago. what: what cannot
        be done, and why. meanwhile: the consequence for clients.
        """
        now = monotonic()
        with self._lock:
            seen, self._seen = self._seen, now
        if seen is None or now - seen > EPISODE_S:
            log.error("%s; %s", what, meanwhile)
