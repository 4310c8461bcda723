"""Which paths have made the leader of `_leaders.Leaders`, the thread that runs the loop, wait for the application, so
that their next requests go to other threads.
"""

from threading import Lock

REMEMBERED_PATHS = 1024
"""Most paths that are remembered as slow; the one that was remembered longest ago is forgotten first."""

REMEMBERED_PATH_BYTES = 256
"""Bytes. A path that is longer is never remembered as slow."""

QUICK_ANSWERS = 32
"""After this many quick answers in a row a path no longer counts as slow: the thread that runs the loop calls the
application for it again.
"""

QUICK_S = 0.001
"""Seconds. An answer that takes less counts as quick; see QUICK_ANSWERS."""


class SlowPaths(dict[bytes, int]):
    """A dictionary of the paths whose answers made the thread that runs the loop wait. The value is the number of
    quick answers in a row after which the path is forgotten. Any thread may call its methods, or look whether a
    path is in it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = Lock()
        """Held while a path is added, or an answer is counted. Looking whether a path is there needs no lock."""

    def remember(self, path: bytes) -> None:
        """Remember that an answer for this path has made the thread that runs the loop wait. The path counts as slow
        until QUICK_ANSWERS quick answers in a row.
        """
        if len(path) <= REMEMBERED_PATH_BYTES:
            with self._lock:
                self.pop(path, None)
                self[path] = QUICK_ANSWERS
                if len(self) > REMEMBERED_PATHS:
                    del self[next(iter(self))]

    def answered(self, path: bytes, seconds: float) -> None:
        """Note that an answer for `path`, in a thread that does not run the loop, took this many seconds. If it was
        quick (less than QUICK_S), one fewer quick answer is needed until the path no longer counts as slow; if it was
        not, QUICK_ANSWERS are needed again.
        """
        if seconds >= QUICK_S:
            self.remember(path)
            return
        with self._lock:
            left = self.get(path, 0)
            if left > 1:
                self[path] = left - 1
            else:
                self.pop(path, None)
