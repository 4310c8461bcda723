"""Treats TERM like Ctrl-C, so that every `finally` runs.

By default the signal TERM ends a process at once, and the servers and load generators that it has started run on.
`timeout`, CI runners and service managers all send TERM first. The signal KILL cannot be caught; see `server.Watchdog`.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from septet.errors import Failed

AGAIN_S = 0.5
"""Seconds between two signals, once a time limit is exceeded."""


@contextmanager
def time_limit(seconds: float, reason: str) -> Iterator[None]:
    """Context manager: raise Failed with this reason in the main thread if the `with` block takes longer than `seconds`
    (by the signal SIGALRM). Time limits must not be nested.

    In other threads, which receive no signals, there is no limit.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    told = False

    def over(number: int, frame: object) -> None:
        nonlocal told
        if not told:
            told = True
            raise Failed(reason)

    before = signal.signal(signal.SIGALRM, over)
    # Again and again: a signal that comes just before a thread waits for a lock does not end that wait.
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def term_as_interrupt() -> None:
    """Make TERM raise KeyboardInterrupt in the main thread, like INT. To be called from the main thread."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
