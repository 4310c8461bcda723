"""The state of one thread of `_leaders.Leaders`: what it has to do, and whether it is counted as busy or as
idle.

An exception that another thread raises in this one (PyThreadState_SetAsyncExc) may come at any call. So the
state is changed only between two calls, never half before and half after one, and the thread can go on from it.
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
"""What `Member.call` adds to `Member.lead_offer` to offer the loop to another thread. It is a constant, so
that adding it needs no call: an exception that another thread raises in this one comes only at a call, so none
can come between the offer and the `try` block that withdraws it.
"""


class Answering(Protocol):
    """A connection whose request is complete, as the threads that run the application see it."""

    def answer(self, application: SyncApplication, call: Callable[..., Any]) -> None:
        """Run the application for the request. Each of the application's functions is called as `call(function,
        *arguments)`, so that the caller can do something before and after it, such as offer the loop to another thread.
        """

    def abandon(self) -> None:
        """Close the connection, if it is still open, without an answer to its request."""

    def await_room(self, timeout_s: float | None) -> None:
        """Block until the loop has sent some of the queued output, or `timeout_s` seconds have passed; None: no
        time-out."""

    def make_room(self, timeout_s: float | None) -> None:
        """Block until the socket takes more output, and send it in this thread. Waits at most `timeout_s` seconds;
        None: no time-out.
        """


Item = tuple[Any, SyncApplication, Request]
"""A connection whose request is complete (`Answering`), the application that is to answer, and the request."""

Due = deque[Item]
"""Requests that wait for a WSGI application, in the order in which they were complete."""


class CallWatcher(Protocol):
    """The part of `_watcher.Watcher` that a leader, the thread that runs the loop, uses. Before the leader calls
    the application it calls `wake` if `sleeps` is true, so that the watcher sees how long the call lasts.
    """

    sleeps: bool

    def wake(self) -> None: ...


class Member:
    """State of one thread of `_leaders.Leaders`. Only that thread changes it, with one exception: another thread
    may remove the element of `lead_offer`, by which it takes over the loop.
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
        """The request that this thread answers while it runs the loop, as the leader; None: it answers none. (It is
        noted here because the connection may have gone on to its next request before the application's `close`
        returns.)
        """
        self.serial = 0
        """Grows by one with every answer that this thread begins as the leader, the thread that runs the loop. By it
        the watcher, and a `Promotion`, can tell whether the thread is still making the answer that the watcher saw it
        make.
        """
        self._clock = time.pthread_getcpuclockid(get_ident())
        try:
            self._schedstat = os.open(f"/proc/self/task/{get_native_id()}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # the kernel keeps no such figures (CONFIG_SCHED_INFO), or no descriptor is left
            self._schedstat = -1

    def has_no_work(self) -> bool:
        """True if the thread has nothing to do, so that it may end: it does not run the loop, is not counted as busy,
        and has no job.
        """
        return not (self.leads or self.counted_busy) and self.item is None and self.promotion is None

    def close(self) -> None:
        """Close the descriptor from which `wanted_cpu_s` reads. Called when the thread ends, and in a child process
        that the application has forked, for its copy.
        """
        if self._schedstat >= 0:
            os.close(self._schedstat)
            self._schedstat = -1

    def wanted_cpu_s(self) -> float:
        """Return for how many seconds since its start this thread has run, or could have run but had to wait for a
        CPU. May be called by any thread.

        The wait for a CPU is included, because on a busy machine a thread that computes may get no CPU for many
        milliseconds, and would seem to wait for something else.
        """
        if self._schedstat < 0:
            return time.clock_gettime(self._clock)
        ran_ns, ready_ns, _ = os.pread(self._schedstat, 100, 0).split()  # proc_pid_schedstat(5)
        return (int(ran_ns) + int(ready_ns)) / 1e9

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function of the application and return its result. If this thread runs the loop (`leads`), another
        thread may take over the loop during the call; `leads` is False afterwards if one has.
        """
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
    """The order for another thread to run the loop in place of `leader`, the thread that runs it and that a call
    of the application keeps from it. The order is void if, when it is to be carried out, `leader` makes another
    answer than the watcher saw, or is in no call of the application.
    """

    leader: Member
    serial: int
    """The value of `leader.serial` when the watcher saw that a call of the application lasts too long. If the
    value has changed since, `leader` makes another answer by now, and the order to take over the loop from it is
    void.
    """
    waits: bool
    """True if the call of the application that lasts too long has used hardly any CPU time: it waits, and does not
    compute. Then its path is remembered as slow.
    """


Job = tuple[Promotion | None, Item | None]
"""What a follower, a thread that does not run the loop, is given to do: either the order to run the loop, or a
request to answer. The other element of the tuple is None.
"""


class ThreadStart:
    """Keeps how far the start of a thread has come, so that it can be repaired if an exception interrupts it.
    counted: the thread is included in `Leaders._threads`. began: the thread runs. void: the thread must end at
    once, because its job was taken back.
    """

    counted = began = void = False
