"""How long a client may take over bytes that are due: its patience is used up by waiting and won back by progress.

A deadline for progress alone is kept for ever by a byte now and then (slow POST, slow read), and one for the whole cuts
off a large file on a slow line. So each second of waiting costs a second, and each `rate` bytes give one back, up to
the time that there was at first. Apache (mod_reqtimeout, MinRate) and Kestrel (MinRequestBodyDataRate) do the same.

There is no clock here: whoever carries the session looks now and then, and the time between two looks is the client's.
"""

LOOK_S = 1.0
"""Of the time between two looks no more is counted: a longer one shows that the carrier was busy, not that the client
was slow. Who waits for one client alone says with `waited` how long that was."""


class Pace:
    """Of one client in one phase. `timeout` in seconds; with `rate` 0 any progress gives all of it back."""

    __slots__ = ("_left", "_looked", "_moved", "_rate", "timeout")

    def __init__(self, timeout: float, rate: int) -> None:
        self.timeout = timeout
        self._rate = rate
        self._left = timeout
        self._looked: float | None = None
        self._moved: int | None = None

    def deadline(self, now: float, moved: int) -> float:
        """When its time is up, unless it makes progress; `moved` counts bytes from any beginning."""
        if self._looked is not None:
            self._left -= min(now - self._looked, LOOK_S)
        self._looked = now
        self._win_back(moved)
        return now + self._left

    def waited(self, now: float, moved: int) -> None:
        """A wait for this client alone, which began with the last look, is over."""
        if self._looked is not None:
            self._left -= now - self._looked
            self._looked = None
        self._win_back(moved)

    def _win_back(self, moved: int) -> None:
        before, self._moved = self._moved, moved
        if before is not None and moved > before:
            self._left = min(self.timeout, self._left + (moved - before) / self._rate) if self._rate else self.timeout
