"""How the event loop's thread wakes a client's thread from poll(2); see `_asgi_in_thread`."""

import os
import threading
from threading import Lock

from septet import forked
from septet.pollers import READABLE, Poll

WITHOUT_EVENTFD_S = 0.02
"""How often a thread looks for what the application has done while there is no descriptor to be rung on."""


class Waker:
    """Wakes a client's thread from poll(2), and has the lock under which it shares its session with the loop's thread.

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
        """Wake the thread if it sleeps. For the loop's thread."""
        with self.lock:
            if self._is_waiting:
                self._is_waiting = False
                if self._descriptor >= 0:
                    os.eventfd_write(self._descriptor, 1)

    # For the client's thread

    def open(self) -> None:
        """Make the eventfd, if there is none yet. Where none is to be had, `wait` returns now and then instead."""
        if self._descriptor < 0:
            try:
                self._descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            except OSError:
                return
            self.poller.add(self._descriptor, READABLE)

    def prepare_to_wait(self) -> None:
        """From now on `wake` is heard. With the lock, before `wait`."""
        self._is_waiting = True

    def wait(self, timeout_s: float | None) -> dict[int, int]:
        """What is ready of what the poller watches. Without the lock."""
        if self._descriptor < 0:
            timeout_s = WITHOUT_EVENTFD_S if timeout_s is None else min(timeout_s, WITHOUT_EVENTFD_S)
        return dict(self.poller.wait(timeout_s))

    def stop_waiting(self, ready: dict[int, int]) -> None:
        """The thread is awake. With the lock, after `wait`."""
        self._is_waiting = False
        if self._descriptor >= 0 and self._descriptor in ready:
            os.eventfd_read(self._descriptor)

    def close(self) -> None:
        """The thread ends, and is not rung for any more."""
        with self.lock:
            self._is_waiting = False
            descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class _PerThread(threading.local):
    waker: Waker | None = None


_per_thread = _PerThread()


def waker_of_this_thread() -> Waker:
    """Made when first asked for; see `close_waker_of_this_thread`."""
    waker = _per_thread.waker
    if waker is None:
        waker = _per_thread.waker = Waker()
    waker.open()
    return waker


def close_waker_of_this_thread() -> None:
    """For a thread that ends, or serves no more."""
    waker, _per_thread.waker = _per_thread.waker, None
    if waker is not None:
        waker.close()
