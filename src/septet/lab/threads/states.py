"""The states of threads and requests, and intervals in which they last.

Two states come from the scheduler (running, runnable); most others say what a blocked thread waits for.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """A state of a thread or request, in the order of the pictures' legends. The value is used in files, `label` in
    pictures.
    """

    RUNNING = "running"
    RUNNABLE = "runnable"
    GIL = "gil"
    LOCK = "lock"
    BACKEND = "backend"
    DISK = "disk"
    SLEEP = "sleep"
    CHILD = "child"
    CLIENT = "client"
    ACCEPT = "accept"
    EVENTS = "events"
    RING = "io_uring"
    OTHER = "other"
    UNKNOWN = "unknown"
    APPLICATION = "application"
    # States of requests while no thread works on them:
    QUEUED = "queued"
    SUSPENDED = "suspended"
    RETURNING = "returning"

    @property
    def label(self) -> str:
        return LABELS[self]


LABELS = {
    State.RUNNING: "runs on a CPU",
    State.RUNNABLE: "could run, waits for a CPU",
    State.GIL: "waits for the GIL",
    State.LOCK: "waits for a lock or a queue",
    State.BACKEND: "waits for the database",
    State.DISK: "waits for the disk",
    State.SLEEP: "sleeps",
    State.CHILD: "waits for a child process or a signal",
    State.CLIENT: "waits for its client",
    State.ACCEPT: "waits for a new client",
    State.EVENTS: "waits for any event (poll, epoll)",
    State.RING: "waits for any event (io_uring)",
    State.OTHER: "blocked, reason not seen",
    State.UNKNOWN: "not known: not recorded, or lost",
    State.APPLICATION: "in the application, running or not",
    State.QUEUED: "in line: asked, not begun",
    State.SUSPENDED: "suspended: awaits an answer or its turn",
    State.RETURNING: "answered, on its way to the user",
}

IDLE = frozenset({State.CLIENT, State.ACCEPT, State.EVENTS, State.RING})
"""States of an idle thread: it waits for its client, for a new one or for any event, because it has no request to work
on.
"""

NEGLIGIBLE = IDLE | {State.RETURNING}
"""States that are left out of pictures that show only how the time is shared among states: those of idle threads, and
of requests that are answered and on their way to the user.
"""


class Call(NamedTuple):
    """The system call in which a thread was blocked: `address` is that of the next instruction, and `first` and
    `second` are the call's first two arguments.
    """

    address: int
    first: int
    second: int


class Interval(NamedTuple):
    """An interval in which a thread or request was in one state: from `start` to `end`, in nanoseconds of
    CLOCK_MONOTONIC.

    `call` is the system call in which a blocked thread gave up its CPU, if the kernel has recorded that; else None.
    """

    start: int
    end: int
    state: State
    call: Call | None = None


class Sample(NamedTuple):
    """The state of a thread at `time`, in nanoseconds of CLOCK_MONOTONIC.

    If the kernel does not count for how long threads run and wait (schedstat in proc(5)), RUNNABLE threads appear as
    RUNNING.
    """

    time: int
    pid: int
    tid: int
    state: State
