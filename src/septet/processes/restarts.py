"""How soon a process that has ended is replaced, and how many failures are too many, for workers and generations."""

from time import monotonic

EARLY_DEATH_S = 1.0
"""Seconds. A process that ends within this time after its start has ended early: the next one starts after a delay."""
MIN_DELAY_S = 0.1
"""Seconds of delay after one early end. The delay doubles with each early end in a row, up to MAX_DELAY_S."""
MAX_DELAY_S = 5.0
KILL_MARGIN_S = 2.0
"""Seconds. A process that was told to stop and has not ended this long after `--graceful-timeout` is killed by
the supervisor.
"""
MAX_FAILED_STARTS = 8
"""If this many starts in a row have failed, and nothing is left that serves, the server ends."""


class RestartDelay:
    """Decides how long to wait until another process takes the place of one that has ended."""

    def __init__(self) -> None:
        self._early_deaths = 0
        """Number of processes in a row that ended within EARLY_DEATH_S seconds after their start."""

    def after(self, started_at: float) -> float:
        """Return the delay in seconds. `started_at`: when the process was started that has ended now, on the clock of
        `time.monotonic`. To be called once for each.
        """
        if monotonic() - started_at >= EARLY_DEATH_S:
            self._early_deaths = 0
            return 0.0
        self._early_deaths += 1
        return min(MAX_DELAY_S, MIN_DELAY_S * 2.0 ** (self._early_deaths - 1))
