"""Why a worker has ended: who or what has caused it, as far as that is known. Never a guess.

The exit status says how. Behind SIGKILL there may be our own limit, the kernel's out-of-memory killer, or somebody with
the command kill; the kernel counts what its killer does (memory.events of the control group, oom_kill in /proc/vmstat),
so a count that has risen since the last look tells. A worker that crashes, or is ended by ABRT, writes the stacks of
its threads to standard error first (faulthandler).
"""

import faulthandler
import logging
import os
import signal
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from septet.cgroups import CGROUP, groups, read

log = logging.getLogger("septet")

KILL_AFTER_S = 2.0
"""Seconds between ABRT and KILL."""

CRASHES = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGSYS})

VMSTAT = Path("/proc/vmstat")


class Death(NamedTuple):
    text: str
    """How and why, to follow "worker 123 ended"."""
    reason: str
    """One of `metrics.lanes.REASONS`."""


def log_crashes() -> None:
    """In a worker: have it write the stacks of its threads to standard error when it crashes or is sent ABRT."""
    with suppress(OSError, ValueError):
        if not faulthandler.is_enabled():  # else the application, or PYTHONFAULTHANDLER, has chosen where to write
            faulthandler.enable(2)


class Deaths:
    """For the supervisor."""

    def __init__(self, cgroup: Path = CGROUP, membership: Path = Path("/proc/self/cgroup")) -> None:
        self._events = [group / "memory.events" for group in groups("memory", cgroup, membership)]
        self._events += [group / "memory.oom_control" for group in groups("memory", cgroup, membership)]
        self._in_group, self._on_machine = self._counts()
        self._ended: dict[int, tuple[str, float]] = {}
        """Why we have ended a worker, and when it is killed, by pid."""

    def end(self, pid: int, why: str) -> None:
        """End this process: ABRT, and KILL if it is still there a while later."""
        if pid not in self._ended:
            log.error("SEP111 worker %d is ended by --worker-timeout: %s; its stacks follow", pid, why)
            self._ended[pid] = why, monotonic() + KILL_AFTER_S
            number = signal.SIGABRT
        elif monotonic() < self._ended[pid][1]:
            return
        else:
            number = signal.SIGKILL
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            os.kill(pid, signal.SIGCONT)  # a process that is stopped would take the signal when it goes on

    def explain(self, pid: int, status: int) -> Death:
        """status: as from waitpid(2)."""
        ours = self._ended.pop(pid, None)
        if ours is not None:
            return Death(f"by our {_name(status)}: --worker-timeout, {ours[0]}", "worker timeout")
        if not os.WIFSIGNALED(status):
            code = os.waitstatus_to_exitcode(status)
            hint = " (it was told to stop, and not by us)" if code == 0 else ""
            return Death(f"with status {code}{hint}", "exit")
        number = os.WTERMSIG(status)
        if number in CRASHES:
            return Death(f"by signal {_name(status)}: it crashed; its stacks are above", "crash")
        if number == signal.SIGKILL:
            return self._killed()
        return Death(f"by signal {_name(status)}, which we did not send", "signal")

    def _killed(self) -> Death:
        before, (group, machine) = (self._in_group, self._on_machine), self._counts()
        self._in_group, self._on_machine = group, machine
        if group is not None and before[0] is not None and group > before[0]:
            text = "by SIGKILL of the kernel's out-of-memory killer: a memory limit of the control group is reached"
            return Death(text, "out of memory")
        if machine is not None and before[1] is not None and machine > before[1]:
            text = "by signal SIGKILL; meanwhile the kernel's out-of-memory killer has killed a process of this machine"
            return Death(text, "out of memory")
        return Death("by signal SIGKILL (not from us, nor from the kernel's out-of-memory killer)", "signal")

    def _counts(self) -> tuple[int | None, int | None]:
        """What the out-of-memory killer has killed in our control groups, and on the machine; None: not known."""
        found = [count for path in self._events if (count := _value(read(path), "oom_kill")) is not None]
        return (max(found) if found else None), _value(read(VMSTAT), "oom_kill")


def _value(text: str, key: str) -> int | None:
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == key and value.isdecimal():
            return int(value)
    return None


def _name(status: int) -> str:
    return _signal(os.WTERMSIG(status)) if os.WIFSIGNALED(status) else how_it_ended(status)


def how_it_ended(status: int) -> str:
    """How a process with this wait status has ended, in words."""
    if os.WIFSIGNALED(status):
        return f"by signal {_signal(os.WTERMSIG(status))}"
    return f"with status {os.waitstatus_to_exitcode(status)}"


def _signal(number: int) -> str:
    named = number in signal.Signals.__members__.values()  # of the real-time signals only two have names
    return signal.Signals(number).name if named else str(number)
