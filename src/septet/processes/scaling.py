"""How many workers there are to be, if `--workers` is a range: it follows how busy they are.

Once a second the supervisor takes the saturation: the mean of the busy shares of its workers (`metrics.reader`), or 1
if clients wait in the queue of a listener. Two things keep the number from swinging:

- Windows. One more needs GROW_S seconds whose mean is above HIGH; one fewer needs SHRINK_S seconds. A change empties
  both windows, so what is judged next is how the new number does.
- A gap. A worker is given up only if the others would be at LOW with its load, which is far below HIGH.

It grows by as many as bring the saturation to AIM, but at most to the double, and shrinks by one at a time: too few
workers make clients wait, too many cost memory.

This module decides, with the time as an argument; `processes.supervisor` forks and drains.
"""

import logging
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Any

from septet.metrics.proc import listen_queue
from septet.metrics.reader import Reader
from septet.metrics.table import Table

log = logging.getLogger("septet")

HIGH, AIM, LOW = 0.8, 0.6, 0.5
GROW_S = 5.0
SHRINK_S = 30.0
HOLD_S = 300.0
"""Seconds for which the number stays as it is after an order (TTIN, TTOU)."""
FULL_S = 60.0
"""Seconds at the highest number, and above HIGH, after which the log says so."""

_CHANGE = "SEP131 %d workers are wanted: %d were busy for %.0f %% of %g s"


class Scaling:
    """Decides between `least` and `most`. `now` is on the clock of `monotonic`."""

    def __init__(self, least: int, most: int) -> None:
        self.least = least
        self.most = most
        self._samples: deque[tuple[float, float]] = deque()
        """(when, saturation), the newest last."""
        self._held_until = 0.0
        self._full_since: float | None = None
        self._full_told = False

    def ordered(self, count: int, now: float) -> int:
        """An operator wants so many. Gives how many there are to be, for HOLD_S at least."""
        self._samples.clear()
        self._held_until = now + HOLD_S
        return max(self.least, min(count, self.most))

    def wanted(self, count: int, saturation: float, now: float) -> int:
        """Take a sample, while `count` workers serve. Gives how many there are to be, and logs why if that changes."""
        self._samples.append((now, saturation))
        while now - self._samples[0][0] > SHRINK_S:
            self._samples.popleft()
        self._watch_limit(count, now)
        if now < self._held_until:
            return count
        wanted = self._grown(count, now) or self._shrunk(count, now) or count
        if wanted != count:
            self._samples.clear()
        return wanted

    def _grown(self, count: int, now: float) -> int:
        """0: no more than there are."""
        mean = self._mean(GROW_S, now)
        if mean is None or mean < HIGH or count >= self.most:
            return 0
        wanted = min(self.most, 2 * count, max(count + 1, math.ceil(count * mean / AIM)))
        log.info(_CHANGE, wanted, count, mean * 100, GROW_S)
        return wanted

    def _shrunk(self, count: int, now: float) -> int:
        """0: no fewer than there are."""
        mean = self._mean(SHRINK_S, now)
        if mean is None or count <= self.least or mean * count > LOW * (count - 1):
            return 0
        log.info(_CHANGE, count - 1, count, mean * 100, SHRINK_S)
        return count - 1

    def _mean(self, window_s: float, now: float) -> float | None:
        """None: there are samples of a part of the window only."""
        if not self._samples or now - self._samples[0][0] < window_s * 0.9:
            return None
        found = [saturation for at, saturation in self._samples if now - at <= window_s]
        return sum(found) / len(found)

    def _watch_limit(self, count: int, now: float) -> None:
        mean = self._mean(GROW_S, now)
        if count < self.most or mean is None or mean < HIGH:
            self._full_since, self._full_told = None, False
        elif self._full_since is None:
            self._full_since = now
        elif now - self._full_since >= FULL_S and not self._full_told:
            self._full_told = True
            log.warning("SEP132 all %d workers have been busy for %g s, and --workers allows no more", count, FULL_S)


class WorkerScaling:
    """What a supervisor of workers does about their number, once a second. For its main thread."""

    def __init__(self, least: int, most: int, table: Table, listeners: Iterable[Any]) -> None:
        self._table = table
        self._scaling = Scaling(least, most)
        self._reader = Reader(table, lambda: "")
        self._listeners = [listener.sock for listener in listeners]
        self.ordered: Callable[[int, float], int] = self._scaling.ordered

    def first(self, workers: Sequence[int]) -> int:
        """How many to begin with: as many as serve already, in the generation before. workers: their pids."""
        return max(self._scaling.least, min(len(workers), self._scaling.most))

    def wanted(self, serving: Sequence[int]) -> int:
        """serving: pids of the workers, all of which are ready."""
        now = monotonic()
        self._reader.tick(now)
        shares = [self._reader.shares(pid).saturation for pid in serving if self._reader.has_share(pid)]
        if not shares:
            return len(serving)
        waiting = any(queue.depth for sock in self._listeners if (queue := listen_queue(sock)))
        saturation = 1.0 if waiting else sum(shares) / len(shares)
        return self._scaling.wanted(len(serving), saturation, now)
