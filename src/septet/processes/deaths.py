"""Finds out why a worker has ended: who or what caused it, as far as that is known. It never guesses.

The exit status says how the worker ended. SIGKILL may come from our own time limit, from the kernel's out-of-memory
killer, or from another process. The kernel counts the processes that its out-of-memory killer ends (memory.events of
the control group, oom_kill in /proc/vmstat), so a count that has risen since it was last read shows that killer. A
worker that crashes, or that is ended by ABRT, first writes the stacks of its threads to standard error (faulthandler).
"""

import faulthandler
import logging
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from septet.cgroups import CGROUP, groups, read

log = logging.getLogger("septet")

KILL_AFTER_S = 2.0
"""Seconds for which a worker that does not respond, and was therefore sent the signal ABRT, may go on; if it
still runs then, it is sent KILL.
"""

CRASHES = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGSYS})

VMSTAT = Path("/proc/vmstat")


class Death(NamedTuple):
    text: str
    """How and why the worker ended; completes the sentence "worker 123 ended ..."."""
    reason: str
    """Why the worker ended, as the metrics name it: one of `metrics.lanes.REASONS`, such as "crash" or "out of
    memory".
    """


def log_crashes() -> None:
    """Have this process write the stacks of its threads to standard error when it crashes or is sent ABRT. Called in a
    worker.
    """
    with suppress(OSError, ValueError):
        if not faulthandler.is_enabled():  # else the application, or PYTHONFAULTHANDLER, has chosen where to write
            faulthandler.enable(2)


class Deaths:
    """Sends workers that do not respond the signal to end, and finds out how workers have ended. Used only by the
    supervisor.
    """

    def __init__(self, cgroup: Path = CGROUP, membership: Path = Path("/proc/self/cgroup")) -> None:
        self._events = [group / "memory.events" for group in groups("memory", cgroup, membership)]
        self._events += [group / "memory.oom_control" for group in groups("memory", cgroup, membership)]
        self._in_group, self._on_machine = self._counts()
        self._ended: dict[int, tuple[str, float]] = {}
        """The workers to which ABRT was sent, by pid. For each: the reason, and the time from which on it is sent KILL
        if it still runs, in seconds on the clock of `monotonic`.
        """

    def end(self, pid: int, why: str) -> None:
        """End a worker that does not respond: send ABRT to it. This is called again and again while the worker runs;
        the first call that comes KILL_AFTER_S seconds after ABRT sends KILL. `why` is the reason, for the log.
        """
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
        """Return how and why a process has ended. `status`: its wait status, as waitpid(2) gives it."""
        ours = self._ended.pop(pid, None)
        if ours is not None:
            return Death(f"by our {_name(status)}: --worker-timeout, {ours[0]}", "worker timeout")
        if not os.WIFSIGNALED(status):
            code = os.waitstatus_to_exitcode(status)
            hint = " (it was told to stop, and not by us)" if code == 0 else ""
            return Death(f"with status {code}{hint}", "exit")
        number = os.WTERMSIG(status)
        if number in CRASHES:
            return Death(
                f"by signal {_name(status)}: it crashed, and has written its stacks to standard error", "crash"
            )
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
        """Return how many processes the kernel's out-of-memory killer has killed in the control groups of this
        process, and how many on the whole machine. Each is None if the kernel does not tell it.
        """
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
    """Return in words how a process with this wait status has ended: "with status 1", "by signal SIGKILL"."""
    if os.WIFSIGNALED(status):
        return f"by signal {_signal(os.WTERMSIG(status))}"
    return f"with status {os.waitstatus_to_exitcode(status)}"


def replaced_has_ended(
    name: str, deaths: Deaths, pid: int, status: int, lost: int | None, note: Callable[[str], None]
) -> None:
    """Log that a process has ended which was told to finish its requests, because another has taken its place.

    name: what the log calls it, such as "worker 123". status: its wait status. lost: how many requests it had in
    flight; None: they were not counted. note: called with a sentence for the console's events if the process did not
    end as it was told to, or if requests were lost.
    """
    if status:
        text = f"ended {deaths.explain(pid, status).text}"
        log.error("SEP112 %s %s; %sanother had taken its place before", name, text, how_many_lost(lost))
    elif lost:
        text = "has ended"
        log.warning("%s has ended; %s", name, how_many_lost(lost).removesuffix("; "))
    else:
        log.info("%s has ended", name)
        return
    note(f"{name} {text}{'; ' + how_many_lost(lost).removesuffix('; ') if lost else ''}")


def how_many_lost(count: int | None) -> str:
    """Return a part of a sentence for the log that says how many requests a process had in flight when it ended,
    and so have got no answer. `count` is None if they were not counted; then the part is empty.
    """
    if count is None:
        return ""
    return "no request was lost; " if not count else f"{count} request{' was' if count == 1 else 's were'} lost; "


def _signal(number: int) -> str:
    named = number in signal.Signals.__members__.values()  # of the real-time signals only two have names
    return signal.Signals(number).name if named else str(number)
