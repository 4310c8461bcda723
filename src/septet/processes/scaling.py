"""Decides how many workers there should be if `--workers` is a range: their number follows how busy they are.

Once a second the supervisor takes the saturation: the mean of the busy shares of its workers (`metrics.reader`), or 1
if clients wait in the queue of a listener. Two rules keep the number from swinging:

- Windows. A worker is added after GROW_S seconds whose mean is above HIGH, and removed after SHRINK_S seconds. A change
  empties both windows, so the next decision is about the new number.
- A gap. A worker is removed only if the others would be at LOW with its load, which is far below HIGH.

Workers are added until the saturation would be AIM, but at most their number is doubled; they are removed one at a
time. Too few workers make clients wait; too many cost memory.

Connections that clients keep stay with the worker that has accepted them, so a new worker does not take them from the
others. A worker that is busy while another is not is therefore replaced by a fresh one. Its last answers say
`Connection: close`, and its clients connect again, to any worker.

This module decides, with the time as an argument; `processes.supervisor` starts and stops workers.
"""

import logging
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Any

from septet.metrics.proc import listen_queue
from septet.metrics.table import Table

log = logging.getLogger("septet")

HIGH, AIM, LOW = 0.8, 0.6, 0.5
GROW_S = 5.0
SHRINK_S = 30.0
HOLD_S = 300.0
"""Seconds for which the number of workers is not changed after an operator's order (TTIN, TTOU)."""
FULL_S = 60.0
"""Seconds. If the largest allowed number of workers has been busier than HIGH for this time, that is logged."""


def workers_are_wanted(count: int) -> str:
    return f"{count} worker{' is' if count == 1 else 's are'} wanted"


class Scaling:
    """Decides how many workers there should be, from `least` to `most`, by how busy they are. `now`, in its methods:
    the time on the clock of `time.monotonic`.
    """

    def __init__(self, least: int, most: int) -> None:
        self.least = least
        self.most = most
        self._samples: deque[tuple[float, float]] = deque()
        """(time, saturation) of each sample, the newest last; the time on the clock of `time.monotonic`. Saturation is
        the mean share of the time for which the workers were busy, from 0 to 1.
        """
        self._held_until = 0.0
        self._full_since: float | None = None
        self._full_told = False
        self.reason = ""
        """Why the number of workers that is wanted has last changed, for the log and the console."""

    def ordered(self, count: int, now: float) -> int:
        """Take an operator's order (signal TTIN or TTOU) that `count` workers should run. Returns that number, or the
        nearest one that `--workers` allows; it is not changed for HOLD_S seconds, however busy the workers are.
        """
        self._samples.clear()
        self._held_until = now + HOLD_S
        return max(self.least, min(count, self.most))

    def wanted(self, count: int, saturation: float, now: float) -> int:
        """Take a sample: `count` workers serve, and are busy for the share `saturation` (0 to 1) of the time. Returns
        the number of workers that should serve; if it is not `count`, the reason is logged.
        """
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
        """Return how many workers are needed if `count` are too few, because they were busy for the last GROW_S
        seconds; 0 if no more are needed or allowed.
        """
        mean = self._mean(GROW_S, now)
        if mean is None or mean < HIGH or count >= self.most:
            return 0
        wanted = min(self.most, 2 * count, max(count + 1, math.ceil(count * mean / AIM)))
        self._change(wanted, count, mean, GROW_S)
        return wanted

    def _shrunk(self, count: int, now: float) -> int:
        """Return how many workers suffice if `count` are too many, because they had little to do for the last SHRINK_S
        seconds; 0 if none can be removed.
        """
        mean = self._mean(SHRINK_S, now)
        if mean is None or count <= self.least or mean * count > LOW * (count - 1):
            return 0
        self._change(count - 1, count, mean, SHRINK_S)
        return count - 1

    def _change(self, wanted: int, count: int, mean: float, window_s: float) -> None:
        """Log that `wanted` workers are needed in place of `count`, which were busy for the share `mean` of a window of
        `window_s` seconds."""
        was = "the one was" if count == 1 else f"the {count} were"
        self.reason = f"{workers_are_wanted(wanted)}: {was} busy for {mean * 100:.0f} % of {window_s:g} s"
        log.info("SEP131 %s", self.reason)

    def _mean(self, window_s: float, now: float) -> float | None:
        """Return the mean saturation of the last `window_s` seconds; None if the samples do not go back that
        far yet.
        """
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


class Balance:
    """Finds workers to be replaced because they are busier than others by the connections that their clients keep open.
    `now`, in its methods: the time on the clock of `time.monotonic`.
    """

    def __init__(self) -> None:
        self._since: float | None = None
        """Since when one worker has been busy while another one has not, on the clock of `time.monotonic`; None: at
        present there are no such two.
        """
        self._balanced_since: float | None = None
        self._wait_s = GROW_S

    def reset(self) -> None:
        """Forget since when the load has been uneven, because the number of workers has changed."""
        self._since, self._wait_s = None, GROW_S

    def overloaded(self, shares: dict[int, float], now: float) -> int:
        """Return the pid of the worker to replace; 0 if there is none. `shares`: the share of the time for which each
        worker is busy, by pid.

        A worker is returned when the load has been uneven for GROW_S seconds. If replacing it does not help, because a
        single client keeps a worker busy, the time until the next one is returned doubles each time, up to HOLD_S.
        """
        busiest = max(shares, key=lambda pid: shares[pid])
        if shares[busiest] < HIGH or min(shares.values()) > shares[busiest] / 2:
            self._since = None
            self._balanced_since = self._balanced_since or now
            if now - self._balanced_since > self._wait_s:
                self._wait_s = GROW_S
            return 0
        self._balanced_since = None
        self._since = self._since or now
        if now - self._since < self._wait_s:
            return 0
        self._since, self._wait_s = None, min(HOLD_S, 2 * self._wait_s)
        return busiest


class WorkerScaling:
    """Finds out how busy the workers are, and decides how many there should be, for the supervisor that starts and
    stops them; the supervisor asks it once a second. For the supervisor's main thread.
    """

    def __init__(self, least: int, most: int, table: Table, listeners: Iterable[Any]) -> None:
        self._table = table
        self._scaling = Scaling(least, most)
        self._balance = Balance()
        self.overloaded = 0
        """Process id of a worker that is to be replaced because it is busy and others are not; 0: there is none."""
        from septet.metrics.reader import Reader  # here, since few servers have a number of workers that changes

        self._reader = Reader(table, lambda: "")
        self._listeners = [listener.sock for listener in listeners]
        self.ordered: Callable[[int, float], int] = self._scaling.ordered

    @property
    def reason(self) -> str:
        """Why the number of workers that is wanted has last changed, for the console."""
        return self._scaling.reason

    def first(self, workers: Sequence[int]) -> int:
        """Return the number of workers to begin with: as many as serve in the previous generation, within the range
        that `--workers` allows. `workers`: the pids of the previous generation's workers.
        """
        return max(self._scaling.least, min(len(workers), self._scaling.most))

    def wanted(self, serving: Sequence[int]) -> int:
        """Return the number of workers that is wanted now. `serving`: pids of the workers, all ready."""
        now = monotonic()
        self._reader.tick(now)
        known = {pid: self._reader.shares(pid) for pid in serving if self._reader.has_share(pid)}
        moving = {pid: each.saturation for pid, each in known.items() if not each.stands_still}  # else it is no load
        self.overloaded = self._balance.overloaded(moving, now) if moving else 0
        shares = [each.saturation for each in known.values()]
        if not shares:
            return len(serving)
        waiting = any(queue.depth for sock in self._listeners if (queue := listen_queue(sock)))
        saturation = 1.0 if waiting else sum(shares) / len(shares)
        wanted = self._scaling.wanted(len(serving), saturation, now)
        if wanted != len(serving):
            self._balance.reset()
        return wanted
