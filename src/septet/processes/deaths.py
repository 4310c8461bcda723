"""Finds out why a worker has ended: who or what caused it, as far as that is known. It never guesses.

The exit status says how the worker ended. SIGKILL may come from our own time limit, from the kernel's out-of-memory
killer, or from another process. The kernel counts the processes that its out-of-memory killer ends (memory.events of
the control group, oom_kill in /proc/vmstat), so a count that has risen since it was last read shows that killer. A
worker that crashes, or that is ended by ABRT, first writes the stacks of its threads to a file (`crashes`).
"""

import logging
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from septet.cgroups import CGROUP, groups, read
from septet.processes import crashes

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
    stacks: str = ""
    """What is to be added to the record that says so: the stacks of its threads, if it has written them; else ""."""


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
        self._files: dict[int, int] = {}
        """For each process that runs: the descriptor of the file to which it writes its stacks when it crashes."""

    def watch(self, pid: int, file: int) -> None:
        """Keep the file of a process that was forked: a descriptor of `crashes.new_file`, or -1."""
        self._files[pid] = file

    def file_of(self, pid: int) -> int:
        """Return the descriptor of the file to which a process writes its stacks; -1 if it has none."""
        return self._files.get(pid, -1)

    def close_in_child(self) -> None:
        """Close the files of the other processes. Called in a child that was forked."""
        for file in self._files.values():
            if file >= 0:
                os.close(file)
        self._files.clear()

    def forget(self, name: str, pid: int, status: int) -> None:
        """Log the stacks of a process that has crashed, if it has written them and nothing else is to be said of its
        end. name: what the log calls it. status: its wait status, as waitpid(2) gives it.

        If it has ended otherwise, what it seems to have written is from one of its children (see `crashes.read`).
        """
        self._ended.pop(pid, None)
        stacks = self._stacks(pid)
        if stacks and os.WIFSIGNALED(status) and os.WTERMSIG(status) in CRASHES:
            log.error("%s has crashed%s", name, stacks)

    def _stacks(self, pid: int) -> str:
        file = self._files.pop(pid, -1)
        stacks = crashes.read(file) if file >= 0 else ""
        return f"; its stacks:\n{stacks}" if stacks else ""

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
        ours, stacks = self._ended.pop(pid, None), self._stacks(pid)
        if ours is not None:
            return Death(f"by our {_name(status)}: --worker-timeout, {ours[0]}", "worker timeout", stacks)
        if not os.WIFSIGNALED(status):
            code = os.waitstatus_to_exitcode(status)
            hint = " (it was told to stop, and not by us)" if code == 0 else ""
            return Death(f"with status {code}{hint}", "exit")
        number = os.WTERMSIG(status)
        if number in CRASHES:
            return Death(f"by signal {_name(status)}: it crashed", "crash", stacks)
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
    if not status:
        deaths.forget(name, pid, status)
    if status:
        death = deaths.explain(pid, status)
        text = f"ended {death.text}"
        log.error("SEP112 %s %s; %sanother had taken its place before%s", name, text, how_many_lost(lost), death.stacks)
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
