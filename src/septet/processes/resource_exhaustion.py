"""Want of descriptors, memory, threads or processes: told once, however often it shows."""

import logging
from threading import Lock
from time import monotonic

log = logging.getLogger("septet")

ACCEPT_PAUSE_S = 0.5
"""How long nobody is let in after that failed: those who are in may finish meanwhile, and the CPU is theirs."""

EPISODE_S = 10.0
"""A want that shows again within this time has not ended in between: under load a place that becomes free is taken
at once."""


def reason(error: BaseException) -> str:
    """What was lacking, in words."""
    return getattr(error, "strerror", None) or ("out of memory" if isinstance(error, MemoryError) else repr(error))


class ResourceExhaustion:
    """One line in the log for each episode, whichever thread of the process meets it."""

    def __init__(self) -> None:
        self._seen: float | None = None
        self._lock = Lock()

    def report(self, what: str, meanwhile: str = "clients wait until it can be done again") -> None:
        """It shows: `what` cannot be done, and why, and what becomes of the clients `meanwhile`."""
        now = monotonic()
        with self._lock:
            seen, self._seen = self._seen, now
        if seen is None or now - seen > EPISODE_S:
            log.error("%s; %s", what, meanwhile)
