"""How the thread of the event loop wakes a thread that serves a client and waits in poll(2); see
`_asgi_in_thread`.
"""

import os
import threading
from collections.abc import Callable
from threading import Lock

from septet import forked
from septet.pollers import READABLE, Poll

WITHOUT_EVENTFD_S = 0.02
"""Seconds after which a client's thread looks whether it has something to do, if it cannot be woken because no
descriptor was left for an eventfd.
"""


class Eventfd:
    """An eventfd(2) that is closed when nothing refers to it any more. So a thread that is about to write to it, and
    has a reference, cannot write to another file that has got its number meanwhile.
    """

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = -1
        """The descriptor; -1 before `open`."""

    def open(self) -> None:
        """Raises OSError if no descriptor is left."""
        self.number = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def close(self, close: Callable[[int], None] = os.close) -> None:  # `os` may be gone when a process ends
        """Close it now: for a child that was forked, in which frames of lost threads may refer to it."""
        number, self.number = self.number, -1
        if number >= 0:
            close(number)

    __del__ = close


class Waker:
    """Wakes one client's thread from poll(2), by an eventfd. `lock` guards the session that this thread shares
    with the loop's thread.

    The client's thread makes a Waker at its first request, and keeps it until the thread ends.
    """

    __slots__ = ("__weakref__", "_descriptor", "_is_waiting", "lock", "poller")

    def __init__(self) -> None:
        self.lock = Lock()
        self.poller = Poll()
        self._descriptor = -1
        self._is_waiting = False
        forked.register(self)

    def close_in_child(self) -> None:
        self.lock = Lock()  # a thread of the parent may hold the other one
        descriptor, self._descriptor = self._descriptor, -1  # so that `wake` does not write to a file of the child's
        if descriptor >= 0:
            os.close(descriptor)

    def wake(self) -> None:
        """Wake the client's thread if it waits, or is about to. Called by any other thread."""
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
            _open.add(self)
            self.poller.add(self._descriptor, READABLE)

    def prepare_to_wait(self) -> None:
        """Declare that this thread waits: from now on `wake` wakes it. To be called before `wait`, with the lock
        held."""
        self._is_waiting = True

    def wait(self, timeout_s: float | None) -> dict[int, int]:
        """Block until a descriptor of `poller` is ready, `wake` is called, or `timeout_s` seconds have passed; None: no
        time-out. Returns the events by descriptor. To be called without the lock."""
        if self._descriptor < 0:
            timeout_s = WITHOUT_EVENTFD_S if timeout_s is None else min(timeout_s, WITHOUT_EVENTFD_S)
        return dict(self.poller.wait(timeout_s))

    def stop_waiting(self, ready: dict[int, int]) -> None:
        """Declare that this thread waits no longer, and reset the eventfd if it is among `ready`, the events that
        `wait` has returned. To be called with the lock held."""
        self._is_waiting = False
        if self._descriptor >= 0 and self._descriptor in ready:
            os.eventfd_read(self._descriptor)

    def close(self) -> None:
        """Close the eventfd, because its thread ends. `wake` does nothing from then on."""
        with self.lock:
            self._is_waiting = False
            descriptor, self._descriptor = self._descriptor, -1
        _open.discard(self)
        if descriptor >= 0:
            os.close(descriptor)


_open: set[Waker] = set()
"""The wakers that have an eventfd. They are kept here for a child process that the application forks: it must
close its copies of their eventfds, but it has lost the thread-local variables that referred to the wakers of
other threads.
"""


class _PerThread(threading.local):
    waker: Waker | None = None


_per_thread = _PerThread()


def waker_of_this_thread() -> Waker:
    """Return this thread's waker, made at the first call. The thread must close it by `close_waker_of_this_thread`."""
    waker = _per_thread.waker
    if waker is None:
        waker = _per_thread.waker = Waker()
    waker.open()
    return waker


def close_waker_of_this_thread() -> None:
    """Close this thread's waker, if it has one. Called when the thread ends, or serves no more clients."""
    waker, _per_thread.waker = _per_thread.waker, None
    if waker is not None:
        waker.close()
