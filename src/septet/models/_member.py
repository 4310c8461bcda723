"""A thread among `_leaders.Leaders`: what it is to do, and what it counts for.

An exception that another thread raises in this one (PyThreadState_SetAsyncExc) may come at any call. So all of this
changes in stretches without a call, and the thread goes on from what stands here.
"""

import os
import time
from collections import deque
from collections.abc import Callable
from threading import get_ident, get_native_id
from typing import Any, NamedTuple, Protocol

from septet.exchange import Request
from septet.models._answer import SyncApplication

OFFERED = (None,)
"""A lead_offer on the table. Added without a call, so that no exception of another thread comes between that and `try`."""


class Answering(Protocol):
    """A connection whose request is complete."""

    def answer(self, application: SyncApplication, call: Callable[..., Any]) -> None:
        """Run the application, calling its functions by `call`."""

    def abandon(self) -> None:
        """Cut it, if it is there still: its request is not answered any more."""

    def await_room(self, timeout_s: float | None) -> None:
        """Wait until the loop has sent something of what was given for the client."""

    def make_room(self, timeout_s: float | None) -> None:
        """Wait until something can be sent, and send it."""


Item = tuple[Any, SyncApplication, Request]
"""An `Answering`, the application for it, and its request."""

Due = deque[Item]


class Watcher(Protocol):
    """Who looks how long the calls of a leader last."""

    watcher_sleeps: bool

    def wake_watcher(self) -> None: ...


class Member:
    """One of the threads, which alone writes here; but any may take its lead_offer."""

    __slots__ = (
        "_clock",
        "_leaders",
        "_schedstat",
        "counted_busy",
        "counted_idle",
        "item",
        "lead_offer",
        "leads",
        "promotion",
        "request",
        "serial",
    )

    def __init__(self, leaders: "Watcher") -> None:
        self._leaders = leaders
        self.lead_offer: list[None] = []
        """Not empty while this thread leads and is in a call of the application."""
        self.leads = False
        self.counted_busy = False
        """It is counted among those that answer beside the leader."""
        self.counted_idle = False
        """It is counted among the followers that wait for a job."""
        self.item: Item | None = None
        """What it answers."""
        self.promotion: Promotion | None = None
        self.request: Request | None = None
        """Which is answered while leading. (The connection may have come to its next one before `close` returns.)"""
        self.serial = 0
        """Grows with every answer that is made while leading."""
        self._clock = time.pthread_getcpuclockid(get_ident())
        try:
            self._schedstat = os.open(f"/proc/self/task/{get_native_id()}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # the kernel keeps no such figures (CONFIG_SCHED_INFO), or no descriptor is left
            self._schedstat = -1

    def has_no_work(self) -> bool:
        """There is nothing that it has to do, or to count for."""
        return not (self.leads or self.counted_busy) and self.item is None and self.promotion is None

    def close(self) -> None:
        """In a child of the application's, or when the thread ends."""
        if self._schedstat >= 0:
            os.close(self._schedstat)
            self._schedstat = -1

    def wanted_cpu_s(self) -> float:
        """Seconds that this thread has run or was ready to run, though others had the processor; for any thread.

        On a busy machine a thread that computes may get nothing for many milliseconds, and seems to wait.
        """
        if self._schedstat < 0:
            return time.clock_gettime(self._clock)
        ran_ns, ready_ns, _ = os.pread(self._schedstat, 100, 0).split()  # proc_pid_schedstat(5)
        return (int(ran_ns) + int(ready_ns)) / 1e9

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function of the application. The lead may be lost meanwhile: `leads` tells afterwards."""
        if not self.leads:
            return function(*arguments)
        self.lead_offer += OFFERED
        try:
            if self._leaders.watcher_sleeps:
                self._leaders.wake_watcher()
            return function(*arguments)
        finally:
            try:
                del self.lead_offer[0]
            except IndexError:  # one of two threads gets it, and it was not this one
                self.leads = False


class Promotion(NamedTuple):
    """Take the lead_offer of a leader, if it is still in the call in which it was seen, and lead instead."""

    leader: Member
    serial: int
    waits: bool


Job = tuple[Promotion | None, Item | None]
"""One or the other."""


class ThreadStart:
    """Of a thread: whether it counts is settled between itself and who starts it, whatever comes in between."""

    counted = began = void = False
