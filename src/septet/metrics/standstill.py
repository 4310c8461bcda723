"""Finds processes that stand still: that have not shown for a while, by a beat in their row of the table of metrics,
that they are not stuck. Their supervisor looks once a second.

In a process with an event loop a timer of the loop makes the beats, so it stands still when its loop is blocked. In the
others a thread makes them: such a process stands still when no thread of it can run Python, or when it was stopped.
"""

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from time import monotonic_ns

from septet.metrics.activity import Activity
from septet.metrics.lanes import BEAT_NS, KIND, KINDS, PID
from septet.metrics.table import Table

log = logging.getLogger("septet")

STILL_S = 2.0
"""Seconds without a beat after which a process is said to stand still. Beats come every quarter of a second
(`monitor.BEAT_S`), and on a busy machine some of them are late.
"""
ABSENCE_S = 3.0
"""Seconds between two looks after which the second one decides nothing: the supervisor itself did not run, because the
machine was busy or the whole container was stopped, so the others may not have run either.
"""


def stands_still_s(lanes: memoryview, now_ns: int) -> float | None:
    """Return for how many seconds a process has stood still; None if it does not, or if it makes no beats. `lanes`: its
    row of the metrics table. `now_ns`: `time.monotonic_ns`.
    """
    age_s = (now_ns - lanes[BEAT_NS]) / 1e9
    return age_s if lanes[BEAT_NS] and age_s >= STILL_S else None


@dataclass(slots=True)
class _Seen:
    """What was known of a process when it was last seen to have made a beat since the look before."""

    beat_ns: int
    before: Activity | None
    """What it had done by then."""
    told: bool = False
    """True if the log says that the process stands still."""
    still_s: float = 0.0
    """For how many seconds the process had stood still at the last look."""

    def activity(self, pid: int) -> str:
        """Return what the process `pid` has done since, as `Activity.since` does."""
        return self.before.since(pid) if self.before is not None else ""


class StandstillWatch:
    """Finds those processes of one kind that stand still, and logs it once for each time. For their supervisor."""

    def __init__(self, table: Table, kind: int, tell: Callable[[str], object]) -> None:
        """`kind`: an index in `lanes.KINDS`. `tell`: called with a sentence about each event, for the console."""
        self._table = table
        self._kind = kind
        self._tell = tell
        self._seen: dict[int, _Seen] = {}
        self._looked_ns = 0

    def look(self, pids: Collection[int], timeout_s: float) -> list[tuple[int, str]]:
        """Look at the processes with these pids. Returns (pid, text) for those that have stood still for `timeout_s`
        seconds, if that is not 0; the text says what each did meanwhile.
        """
        now_ns = monotonic_ns()
        absent = now_ns - self._looked_ns > ABSENCE_S * 1e9
        self._looked_ns = now_ns
        found = []
        beats = {
            row.lanes[PID]: row.lanes[BEAT_NS]
            for row in self._table.snapshot().rows
            if row.lanes[KIND] == self._kind and row.lanes[BEAT_NS] and row.lanes[PID] in pids
        }
        self._seen = {pid: seen for pid, seen in self._seen.items() if pid in beats}
        for pid, beat_ns in beats.items():
            seen = self._seen.get(pid)
            if absent or seen is None or seen.beat_ns != beat_ns:
                self._goes_on(pid, seen)
                self._seen[pid] = _Seen(beat_ns, Activity.of(pid))
                continue
            seen.still_s = (now_ns - beat_ns) / 1e9
            if seen.still_s >= STILL_S and not seen.told:
                seen.told = True
                self._log(pid, seen)
            if timeout_s and seen.still_s >= timeout_s:
                found.append((pid, f"it has stood still for {seen.still_s:.1f} s{seen.activity(pid)}"))
        return found

    def _log(self, pid: int, seen: _Seen) -> None:
        text = f"{KINDS[self._kind]} {pid} stands still"
        activity = seen.activity(pid)
        log.warning("SEP105 %s for %.1f s%s", text, seen.still_s, activity)
        self._tell(f"{text} for {seen.still_s:.1f} s{activity}")

    def _goes_on(self, pid: int, seen: _Seen | None) -> None:
        if seen is not None and seen.told:
            text = f"{KINDS[self._kind]} {pid} goes on: it has stood still for about {seen.still_s:.0f} s"
            log.info("%s", text)
            self._tell(text)
