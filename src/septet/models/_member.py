"""One thread of `_leaders.Leaders`: what it has to do, and in which counts it is included.

An exception that another thread raises in this one (PyThreadState_SetAsyncExc) may come at any call. So the state below
changes in stretches without a call, and the thread can go on from it.
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
"""A constant that `Member.call` adds to `Member.lead_offer`. Adding it needs no call, so no exception of another
thread, which would come at a call, can come between that and the `try` that withdraws the offer.
"""


class Answering(Protocol):
    """A connection whose request is complete, as the threads that run the application see it."""

    def answer(self, application: SyncApplication, call: Callable[..., Any]) -> None:
        """Run the application for the request; `call(function, *arguments)` calls each of its functions."""

    def abandon(self) -> None:
        """Cut the connection, if it is still open: its request will not be answered."""

    def await_room(self, timeout_s: float | None) -> None:
        """Block until the loop has sent some of the queued output, or `timeout_s` seconds have passed; None: no
        time-out."""

    def make_room(self, timeout_s: float | None) -> None:
        """Block until the socket takes more output, and send it in this thread; at most `timeout_s` seconds."""


Item = tuple[Any, SyncApplication, Request]
"""A connection whose request is complete (`Answering`), the application that is to answer, and the request."""

Due = deque[Item]
"""Requests that wait for a WSGI application, in the order in which they were complete."""


class CallWatcher(Protocol):
    """The part of `_watcher.Watcher` that a leader uses: before a leader calls the application, it wakes the watcher if
    that sleeps.
    """

    sleeps: bool

    def wake(self) -> None: ...


class Member:
    """State of one thread of `_leaders.Leaders`. Only that thread changes it, except for `lead_offer`, from which a
    follower may take the element.
    """

    __slots__ = (
        "_clock",
        "_schedstat",
        "_watcher",
        "counted_busy",
        "counted_idle",
        "item",
        "lead_offer",
        "leads",
        "promotion",
        "request",
        "serial",
    )

    def __init__(self, watcher: CallWatcher) -> None:
        self._watcher = watcher
        self.lead_offer: list[None] = []
        """Has one element while this thread runs the loop and is in a call of the application: another thread that
        removes the element runs the loop from then on.
        """
        self.leads = False
        """True if the thread is the leader: it runs the loop."""
        self.counted_busy = False
        """True if the thread is counted among those that answer a request while another thread runs the loop."""
        self.counted_idle = False
        """True if the thread is counted among the followers, threads that do not run the loop, that wait for a job."""
        self.item: Item | None = None
        """The request that this thread answers, with its connection and application; None: it answers none."""
        self.promotion: Promotion | None = None
        """The order for this thread to run the loop in place of a leader, until the order is carried out; None: there
        is none.
        """
        self.request: Request | None = None
        """The request that this thread answers while it runs the loop, as the leader. (The connection may be at its
        next request before the application's `close` returns.)
        """
        self.serial = 0
        """Grows by one with every answer that this thread makes as the leader. So the watcher, and a `Promotion`, can
        tell whether the thread still makes the answer that was seen.
        """
        self._clock = time.pthread_getcpuclockid(get_ident())
        try:
            self._schedstat = os.open(f"/proc/self/task/{get_native_id()}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # the kernel keeps no such figures (CONFIG_SCHED_INFO), or no descriptor is left
            self._schedstat = -1

    def has_no_work(self) -> bool:
        """True if the thread has nothing to do and is in no count, so that it may end."""
        return not (self.leads or self.counted_busy) and self.item is None and self.promotion is None

    def close(self) -> None:
        """Close the descriptor from which `wanted_cpu_s` reads: the thread ends, or this process is a child that the
        application has forked.
        """
        if self._schedstat >= 0:
            os.close(self._schedstat)
            self._schedstat = -1

    def wanted_cpu_s(self) -> float:
        """Return the seconds, since its start, for which this thread has run, or was ready to run while others had the
        CPU. May be called by any thread.

        The time it was ready counts, because on a busy machine a thread that computes may get no CPU for many
        milliseconds, and would seem to wait.
        """
        if self._schedstat < 0:
            return time.clock_gettime(self._clock)
        ran_ns, ready_ns, _ = os.pread(self._schedstat, 100, 0).split()  # proc_pid_schedstat(5)
        return (int(ran_ns) + int(ready_ns)) / 1e9

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function of the application and return its result. If this thread leads, a follower may take the lead
        meanwhile: afterwards `leads` says whether one has."""
        if not self.leads:
            return function(*arguments)
        self.lead_offer += OFFERED
        try:
            if self._watcher.sleeps:
                self._watcher.wake()
            return function(*arguments)
        finally:
            try:
                del self.lead_offer[0]
            except IndexError:  # a follower has removed it, and leads now
                self.leads = False


class Promotion(NamedTuple):
    """The order for a follower to run the loop in the place of `leader`, if `leader` is still in the call of the
    application in which the watcher saw it.
    """

    leader: Member
    serial: int
    """`leader.serial` when the watcher saw it: if it has changed, the order is void."""
    waits: bool
    """True if the call in which the leader was seen has used hardly any CPU time: it waits, and does not compute."""


Job = tuple[Promotion | None, Item | None]
"""What a follower, a thread that does not run the loop, is given to do: an order to run it, or a request to answer. The
other one is None.
"""


class ThreadStart:
    """The start of a thread, so that an exception that interrupts it can be repaired. counted: the thread is in
    `Leaders._threads`. began: the thread runs. void: it must end at once, because its job was taken back."""

    counted = began = void = False
