"""Which paths have made the leader of `_leaders.Leaders` wait, so that their next requests go to followers."""

from threading import Lock

REMEMBERED_PATHS = 1024
"""Most paths that are remembered; the one that was remembered longest ago is forgotten first."""

REMEMBERED_PATH_BYTES = 256
"""Bytes. Longer paths are not remembered."""

QUICK_ANSWERS = 32
"""After this many quick answers in a row a path is forgotten, and the leader runs it again."""

QUICK_S = 0.001
"""Seconds. An answer that takes less is quick."""


class SlowPaths(dict[bytes, int]):
    """Paths whose answers made the leader wait; for each, the number of quick answers in a row that are still needed
    until it is forgotten. Any thread may change it, and look whether a path is in it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = Lock()
        """Held while a path is added or counted. Looking whether one is there needs no lock."""

    def remember(self, path: bytes) -> None:
        """Remember a path whose answer has made the leader wait, until QUICK_ANSWERS quick ones in a row."""
        if len(path) <= REMEMBERED_PATH_BYTES:
            with self._lock:
                self.pop(path, None)
                self[path] = QUICK_ANSWERS
                if len(self) > REMEMBERED_PATHS:
                    del self[next(iter(self))]

    def answered(self, path: bytes, seconds: float) -> None:
        """Take note that a follower has answered a request for `path` in `seconds`: remember it again, or count a quick
        answer."""
        if seconds >= QUICK_S:
            self.remember(path)
            return
        with self._lock:
            left = self.get(path, 0)
            if left > 1:
                self[path] = left - 1
            else:
                self.pop(path, None)
