"""When a warm-up is over: after its time, or when the rate of answers has become steady."""

from __future__ import annotations

from collections import deque

WINDOWS = 4  # of them a rate must be steady
WINDOW_S = 0.25
TOLERANCE = 0.05  # of their mean; more for rates so low that chance alone makes them differ more
SIGMAS = 2.0


class Warmup:
    """Told how many answers have come until when; says whether that is enough. Times in seconds, its clock any."""

    def __init__(self, at_least_s: float, at_most_s: float) -> None:
        self._at_least_s = at_least_s
        self._at_most_s = max(at_least_s, at_most_s)
        self._begun_s: float | None = None
        self._mark: tuple[float, int] = (0.0, 0)
        self._windows: deque[int] = deque(maxlen=WINDOWS)

    def over(self, now_s: float, answers: int) -> bool:
        """Whether the warm-up is over, after `answers` since its beginning, the first call."""
        if self._begun_s is None:
            self._begun_s, self._mark = now_s, (now_s, answers)
        if now_s - self._mark[0] >= WINDOW_S:
            rate = (answers - self._mark[1]) / (now_s - self._mark[0])
            self._windows.append(round(rate * WINDOW_S))
            self._mark = (now_s, answers)
        passed_s = now_s - self._begun_s
        return passed_s >= self._at_least_s and (passed_s >= self._at_most_s or self.steady)

    @property
    def steady(self) -> bool:
        """Whether the last windows differ from their mean by no more than they should."""
        if len(self._windows) < WINDOWS:
            return False
        mean = sum(self._windows) / WINDOWS
        allowed = max(TOLERANCE * mean, SIGMAS * mean**0.5)  # Poisson's deviation of a count
        return mean > 0 and all(abs(each - mean) <= allowed for each in self._windows)
