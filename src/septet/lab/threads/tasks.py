"""Samples what threads are doing from /proc/PID/task/TID, in a few microseconds a thread (proc(5)).

Where the kernel records context switches, samples add what a blocked thread waits for; elsewhere samples are the only
source. The files of each thread are opened once and read again for each sample.
"""

from __future__ import annotations

import os
import random
import time
from contextlib import suppress
from dataclasses import dataclass

from septet.lab.proc import processes_of
from septet.lab.threads.reasons import Reasons
from septet.lab.threads.states import Call, Sample, State

_PROCESSES_EVERY_NS = 200_000_000
"""Nanoseconds between two searches for new processes of the server. They are not made more often, because each reads
all of /proc, which takes milliseconds.
"""
_THREADS_EVERY_NS = 10_000_000
_GLANCE_NS = 200_000
"""Nanoseconds. A sample that took longer was interrupted, so that the time at which the thread was in that state is not
certain; it is dropped.
"""
_NOT_IN_A_CALL = b"-1"
"""What /proc/PID/task/TID/syscall has for a thread that is blocked outside a system call, such as by a page fault."""


@dataclass(slots=True)
class _Task:
    """A thread: the descriptors of its files in /proc (-1 for one that may not be read), and the CPU times that it had
    when it was last sampled.
    """

    pid: int
    stat: int
    syscall: int
    schedstat: int
    ran: int = 0
    """Nanoseconds that the thread had run on a CPU in its life, as of the last sample in which it was running or could
    run.
    """
    waited: int = 0
    """How many nanoseconds the thread had waited for a CPU since it began, as read by the last sample that found the
    thread running or ready to run.
    """

    def close(self) -> None:
        for descriptor in (self.stat, self.syscall, self.schedstat):
            if descriptor >= 0:
                os.close(descriptor)


class Tasks:
    """Samples the threads of all processes of a server, which have the same session id in the kernel (see
    `septet.lab.server`). New threads and processes are found as they start.

    `most`: if there are more threads than this, `look` samples only so many of them, drawn by lot, and the first thread
    of the server's first process besides; None: every thread.
    """

    def __init__(self, session: int, reasons: Reasons, most: int | None = None) -> None:
        self._session = session
        self._most = most
        self._reasons = reasons
        self._tasks: dict[int, _Task] = {}
        self._pids: list[int] = []
        self._processes_at = self._threads_at = 0

    def close(self) -> None:
        for tid in list(self._tasks):
            self._tasks.pop(tid).close()

    def look(self) -> list[Sample]:
        """Return a sample of each living thread. A thread is left out if its state changed while it was read, or if
        reading it took so long that the time of the sample would be unknown.
        """
        self._look_round(time.monotonic_ns())
        samples = []
        for tid, task in list(self._tasks.items()):
            before = time.monotonic_ns()
            try:
                letter, words = _read(task)
            except OSError:  # ESRCH: it has ended
                self._tasks.pop(tid).close()
                continue
            after = time.monotonic_ns()
            state = self._state(task, letter, words)
            if state is not None and after - before < _GLANCE_NS:
                samples.append(Sample((before + after) // 2, task.pid, tid, state))
        return samples

    def waited_ns(self) -> dict[int, int]:
        """Return for how many nanoseconds each thread has waited for a CPU since it began, by tid, as the kernel counts
        them.
        """
        found = {}
        for tid, task in self._tasks.items():
            with suppress(OSError, IndexError):
                found[tid] = int(os.pread(task.schedstat, 64, 0).split()[1])
        return found

    def _look_round(self, now: int) -> None:
        if now - self._processes_at > _PROCESSES_EVERY_NS:
            self._processes_at = now
            self._pids = [process.pid for process in processes_of(self._session) if process.alive]
        if now - self._threads_at > _THREADS_EVERY_NS:
            self._threads_at = now
            alive = self._alive()
            if self._most is not None and len(alive) > self._most:
                alive = [each for each in alive if each[1] == self._session] + random.sample(alive, self._most)
                for tid in self._tasks.keys() - {tid for _, tid in alive}:
                    self._tasks.pop(tid).close()
            for pid, tid in alive:
                if tid not in self._tasks:
                    with suppress(OSError):
                        self._tasks[tid] = _open(pid, tid)

    def _alive(self) -> list[tuple[int, int]]:
        """Return (pid, tid) of each living thread."""
        found = []
        for pid in self._pids:
            with suppress(OSError):
                found += [(pid, int(tid)) for tid in os.listdir(f"/proc/{pid}/task")]
        return found

    def _state(self, task: _Task, letter: bytes, words: list[bytes]) -> State | None:
        if letter == b"R":
            return self._on_a_cpu(task)
        if words[:1] == [b"running"]:  # the two files disagree: the state changed between the reads
            return None
        if not words or words[0] == _NOT_IN_A_CALL:
            return State.OTHER
        call = Call(int(words[-1], 16), int(words[1], 16), int(words[2], 16))
        return self._reasons.now(task.pid, int(words[0]), call)

    def _on_a_cpu(self, task: _Task) -> State:
        """Return the state in which the thread was for longer since the last call for this thread: RUNNING, or RUNNABLE
        if it waited for a CPU.
        """
        try:
            ran, waited, _ = map(int, os.pread(task.schedstat, 64, 0).split())
        except (OSError, ValueError):  # a kernel without CONFIG_SCHED_INFO
            return State.RUNNING
        more_run, more_wait = ran - task.ran, waited - task.waited
        task.ran, task.waited = ran, waited
        return State.RUNNING if more_run >= more_wait else State.RUNNABLE


def _read(task: _Task) -> tuple[bytes, list[bytes]]:
    """Return the letter of the thread's state in proc(5), and the fields of its `syscall` file; [] for a running
    thread, or if the file may not be read."""
    text = os.pread(task.stat, 512, 0)
    letter = text[text.rindex(b")") + 2 :][:1]
    blocked = letter != b"R" and task.syscall >= 0
    return letter, os.pread(task.syscall, 256, 0).split() if blocked else []


def _open(pid: int, tid: int) -> _Task:
    """Open the files of a thread below /proc: `stat`, `syscall` and `schedstat`. Of the latter two, one that may not be
    read has the descriptor -1. Raises OSError when the thread has ended.
    """
    directory = f"/proc/{pid}/task/{tid}/"
    stat = os.open(directory + "stat", os.O_RDONLY | os.O_CLOEXEC)
    opened = []
    for name in ("syscall", "schedstat"):
        try:
            opened.append(os.open(directory + name, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            opened.append(-1)
    return _Task(pid, stat, *opened)
