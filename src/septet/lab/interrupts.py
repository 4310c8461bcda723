"""Treats TERM like Ctrl-C, so that every `finally` runs.

By default TERM ends a process at once and leaves behind what it started: servers, and load generators. `timeout`, CI
runners and service managers all send TERM first. KILL cannot be caught; see `server.Watchdog`.
"""

from __future__ import annotations

import signal


def term_as_interrupt() -> None:
    """From now on TERM raises KeyboardInterrupt in the main thread, from which this must be called."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
