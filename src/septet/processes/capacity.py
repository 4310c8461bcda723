"""How many CPUs, processes and threads this process may use: a mistyped number of workers must be refused, and not
bring down the machine.

CPUs are those that the affinity mask allows, and no more than the control group is given: in a container, servers that
count the CPUs of the machine start hundreds of workers in a group of two CPUs.

Processes and threads: at most half of those that may still be started, because other programs need some. As to
memory, they may need all that is available, but no more: what is computed here is what they take when they are idle.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from resource import RLIM_INFINITY, RLIMIT_NPROC, getrlimit
from typing import NamedTuple

from septet.cgroups import CGROUP, cpu_quota, groups, memory_limits, number, read

PROC = Path("/proc")

WORKER_BYTES = 3 << 20
"""Bytes of memory that an idle worker does not share with other processes. Measured with an application of three lines:
2.1 to 2.9 MB (Private_Dirty in proc(5))."""
THREAD_BYTES = 40 << 10
"""Bytes of memory of an idle thread, the kernel's stack of 16 KiB included."""
INTERPRETER_BYTES = 18 << 20
"""Bytes of memory of an idle interpreter with an application of three lines, its thread included."""


class Bound(NamedTuple):
    """A limit that the system sets: `most` is its value, which is either a number of processes and threads or a
    number of bytes; `source` says in words, for the user, where it comes from.
    """

    most: int
    source: str


def usable_cpus() -> int:
    """Return the number of CPUs that this process may use, by its affinity mask and its control group; at least 1. A
    quota is rounded up."""
    bound = len(os.sched_getaffinity(0))
    quota = cpu_quota()
    return bound if quota is None else max(1, min(bound, math.ceil(quota)))


def default_threads() -> int:
    """Return the number of threads without `--threads`: eight for each CPU, because the thread of a web application
    mostly waits, for its database or for its client."""
    return 8 * usable_cpus()


def default_interpreters() -> int:
    """Return the number of interpreters of a process without `--threads`: two for each CPU and one more. Each
    serves one client at a time, and may have to wait for that client. (The model preforked has as many workers.)
    """
    return 2 * usable_cpus() + 1


def why_over_capacity(
    processes: int, threads: int, cgroup: Path = CGROUP, proc: Path = PROC, thread_bytes: int = THREAD_BYTES
) -> str | None:
    """Return why this machine cannot run `processes` processes, each with `threads` threads in addition to its
    main thread. The text is the end of a sentence for the user; None: the machine can. `thread_bytes` is the memory
    that each thread takes; `cgroup` and `proc` are the directories to read, which tests replace.
    """
    tasks = processes * (1 + threads)
    bound = min(_tasks(cgroup, proc), default=None)
    if bound and tasks > bound.most // 2:
        return f"{tasks:,} processes and threads are more than half of the {bound.most:,} that {bound.source} leaves"
    needed = processes * (WORKER_BYTES + threads * thread_bytes)
    bound = min(_memory(cgroup, proc), default=None)
    if bound and needed > bound.most:
        return f"idle they take {needed >> 20:,} MB, and {bound.source} is {bound.most >> 20:,} MB"
    return None


def _tasks(cgroup: Path, proc: Path) -> Iterator[Bound]:
    running = number(read(proc / "loadavg").partition("/")[2]) or 0
    for name in ("kernel/pid_max", "kernel/threads-max"):
        if most := number(read(proc / "sys" / name)):
            yield Bound(most - running, name.replace("/", "."))
    most = getrlimit(RLIMIT_NPROC)[0]
    if most != RLIM_INFINITY and os.getuid() != 0:  # how many processes the user has already is not known
        yield Bound(most, "ulimit -u")
    for group in groups("pids", cgroup, proc / "self/cgroup"):
        if most := number(read(group / "pids.max")):
            yield Bound(most - (number(read(group / "pids.current")) or 0), "pids.max of the control group")


def _memory(cgroup: Path, proc: Path) -> Iterator[Bound]:
    available = read(proc / "meminfo").partition("MemAvailable:")[2]
    if kilobytes := number(available):
        yield Bound(kilobytes << 10, "the memory that is available")
    for most, name in memory_limits(cgroup, proc / "self/cgroup"):  # the group's use is not subtracted: it may be cache
        yield Bound(most, f"{name} of the control group")
