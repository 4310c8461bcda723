"""What a recorder writes down: five kinds of record, whichever of the ways it has.

Times are nanoseconds of CLOCK_MONOTONIC, `pid` is the process (the kernel's thread group) and `tid` the thread.
"""

from __future__ import annotations

from typing import NamedTuple

from septet.lab.threads.states import Call


class SwitchedIn(NamedTuple):
    """The thread got a CPU."""

    time: int
    pid: int
    tid: int


class SwitchedOut(NamedTuple):
    """It lost the CPU: `preempted` while it could have gone on, else because it waits. `call` is where, if known."""

    time: int
    pid: int
    tid: int
    preempted: bool
    call: Call | None


class Born(NamedTuple):
    """A thread began: the first of a process if `tid` is `pid`."""

    time: int
    pid: int
    tid: int


class Died(NamedTuple):
    time: int
    pid: int
    tid: int


Record = SwitchedIn | SwitchedOut | Born | Died
