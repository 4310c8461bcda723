"""How the event loop's thread wakes a client's thread from poll(2); see `_asgi_in_thread`."""

import os
import threading
from threading import Lock

from septet import forked
from septet.pollers import READABLE, Poll

WITHOUT_EVENTFD_S = 0.02
"""How often a client's thread looks at its exchange if no descriptor was left for an eventfd."""


class Waker:
    """Wakes one client's thread from poll(2), by an eventfd. `lock` guards the session that it shares with the loop's
    thread.

    Made by the client's thread, which keeps it until it ends.
    """

    __slots__ = ("__weakref__", "_descriptor", "_is_waiting", "lock", "poller")

    def __init__(self) -> None:
        self.lock = Lock()
        self.poller = Poll()
        self._descriptor = -1
        self._is_waiting = False
        forked.register(self)

    def close_in_child(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def wake(self) -> None:
        """Wake the client's thread if it waits. For the loop's thread."""
        with self.lock:
            if self._is_waiting:
                self._is_waiting = False
                if self._descriptor >= 0:
                    os.eventfd_write(self._descriptor, 1)

    # For the client's thread

    def open(self) -> None:
        """Make the eventfd, if there is none yet. If that fails, `wait` returns every WITHOUT_EVENTFD_S instead."""
        if self._descriptor < 0:
            try:
                self._descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            except OSError:
                return
            self.poller.add(self._descriptor, READABLE)

    def prepare_to_wait(self) -> None:
        """From now on `wake` wakes this thread. To be called with the lock, before `wait`."""
        self._is_waiting = True

    def wait(self, timeout_s: float | None) -> dict[int, int]:
        """Wait; gives the events by descriptor. To be called without the lock."""
        if self._descriptor < 0:
            timeout_s = WITHOUT_EVENTFD_S if timeout_s is None else min(timeout_s, WITHOUT_EVENTFD_S)
        return dict(self.poller.wait(timeout_s))

    def stop_waiting(self, ready: dict[int, int]) -> None:
        """Take note of the events. To be called with the lock, after `wait`."""
        self._is_waiting = False
        if self._descriptor >= 0 and self._descriptor in ready:
            os.eventfd_read(self._descriptor)

    def close(self) -> None:
        """The thread ends, and `wake` does nothing any more."""
        with self.lock:
            self._is_waiting = False
            descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class _PerThread(threading.local):
    waker: Waker | None = None


_per_thread = _PerThread()


def waker_of_this_thread() -> Waker:
    """Made at the first call in a thread; to be closed by `close_waker_of_this_thread`."""
    waker = _per_thread.waker
    if waker is None:
        waker = _per_thread.waker = Waker()
    waker.open()
    return waker


def close_waker_of_this_thread() -> None:
    """For a thread that ends, or serves no more clients."""
    waker, _per_thread.waker = _per_thread.waker, None
    if waker is not None:
        waker.close()
