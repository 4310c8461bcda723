"""A thread of the server, whose start cannot wait for ever.

`threading.Thread.start` waits until the new thread says that it has begun. For want of memory the thread may end before
it says so, even before any code of Python runs in it, and who has started it waits for ever: for a server that is the
thread which accepts clients, or the one which runs the loop.

Here who starts a thread looks from time to time whether the thread is there still. The interpreter holds the function
with which the thread begins, and lets go of it when the thread has ended; if nobody else holds it, a weak reference
tells. In all else it is a `threading.Thread`: `threading.current_thread()`, names, joining and forking are Python's.
"""

import threading
from _thread import allocate_lock
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import ref

LOOK_S = 0.05
"""Seconds between two looks at a thread that has not begun yet. Most begin within 0.1 ms."""


class ServerThread(threading.Thread):
    """A daemon thread in which `target` is called with `args`."""

    def __init__(self, target: Callable[..., object], name: str | None = None, args: tuple[Any, ...] = ()) -> None:
        super().__init__(target=target, name=name, args=args, daemon=True)
        self._started = _Beginning()

    def start(self) -> None:
        """Start the thread. Returns when `run` has begun there. Raises RuntimeError if the system gives no thread, or
        if the thread has ended before that; MemoryError if there is none here.
        """
        try:
            super().start()
        except _EndedBefore:
            threading._limbo.pop(self, None)  # type: ignore[attr-defined]  # the threads that are about to begin
            raise

    @property
    def _bootstrap(self) -> Callable[[], None]:
        """What `start` has the interpreter call in the new thread."""
        begin: Any = partial(threading.Thread._bootstrap, self)  # type: ignore[attr-defined]
        self._started.pending = ref(begin)
        return begin  # type: ignore[no-any-return]

    def run(self) -> None:
        self._started.began()
        super().run()


class _EndedBefore(RuntimeError):
    """Raised by `start` if the new thread has ended before it has begun to run."""


class _Beginning:
    """Takes the place of the event by which a `threading.Thread` says that it has begun. `set` is called for that too
    early: afterwards the thread may still fail before it calls `run`.
    """

    __slots__ = ("_has_begun", "_lock", "pending")

    def __init__(self) -> None:
        self.pending: Callable[[], object] = _nothing
        """Returns None if the thread has ended, or was never there."""
        self._has_begun = False
        self._lock = allocate_lock()
        self._lock.acquire()

    def is_set(self) -> bool:
        return self._has_begun

    def set(self) -> None:
        pass

    def began(self) -> None:
        """Called in the new thread, by `run`. It takes no memory."""
        self._has_begun = True
        self._lock.release()

    def wait(self) -> None:
        """Called by `start`. Raises RuntimeError if the thread has ended before it has begun."""
        while not self._lock.acquire(timeout=LOOK_S):
            if self.pending() is None and not self._has_begun:
                raise _EndedBefore("out of memory for a new thread")

    def _at_fork_reinit(self) -> None:
        """Called in a forked child: the lock is only for a thread that has just called `start`."""


def _nothing() -> None:
    """What `_Beginning.pending` is before the start."""
