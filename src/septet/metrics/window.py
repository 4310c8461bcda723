"""The last minute: sums of the table of metrics as they were when it began, to be subtracted from the present ones."""

from collections import deque
from dataclasses import dataclass

WINDOW_S = 60.0
"""Seconds to which quantiles and means refer: those of more than a few minutes ago say nothing of what is slow now, and
those of a second are of few requests.
"""
STEP_S = 5.0
"""Seconds between two sums that are kept for the window, which is therefore up to this much longer."""


@dataclass(slots=True, frozen=True)
class Sums:
    """The sums of all processes at one instant."""

    at_s: float
    total: memoryview
    """The counters of the table of metrics, at the indices of `lanes`."""
    waited_s: float
    """For how long requests had waited for a thread, in seconds, summed over the requests."""


class Window:
    """Keeps the sums of the last WINDOW_S, one for every STEP_S."""

    def __init__(self, first: Sums) -> None:
        self._sums = deque([first])

    @property
    def beginning(self) -> Sums:
        """The sums at the beginning of the window; or the first ones, if they are not that old."""
        return self._sums[0]

    def add(self, sums: Sums) -> None:
        """Take the sums of the present. Called about once a second."""
        if sums.at_s - self._sums[-1].at_s >= STEP_S:
            self._sums.append(sums)
        while len(self._sums) > 1 and sums.at_s - self._sums[1].at_s >= WINDOW_S:
            self._sums.popleft()
