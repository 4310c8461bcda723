"""Reads the resource usage of a server's processes, and of the machine, from /proc (proc(5)).

A server is started in a session of its own; its processes are all those of that session. The CPU time of a process
that has ended is in the `cutime` and `cstime` of the process that waited for it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
CPUCLOCK_SCHED = 2
"""The lowest bits of the id of a clock that gives the CPU time of a process; the pid is in the other bits
(include/linux/posix-timers.h in the kernel's source).
"""
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
PROCESSES_READ_MAX = 32
"""Most processes that are read for a sum, such as that of their memory. If there are more, so many at most are read,
and the sum is scaled up, because the kernel delays a process whose figures are read.
"""


@dataclass(frozen=True, slots=True)
class Process:
    """What the kernel says of one process at one moment. Times are in seconds, and include those of its children that
    have ended and that it has waited for.
    """

    pid: int
    alive: bool
    """False if the process has ended, and is left as a zombie because its parent has not waited for it yet."""
    threads: int
    rss_bytes: int
    user_s: float
    system_s: float
    cpu_s: float
    """CPU seconds of the process in user and kernel mode. Its own are exact to the nanosecond; those of its ended
    children are counted in clock ticks.
    """
    cpu_grain_s: float
    """Seconds by which `cpu_s` may be too small, because ended children are counted in clock ticks."""


def processes_of(session: int) -> list[Process]:
    """Return the processes of a session, by its id (which is the pid of its leader)."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                stat = Path("/proc", name, "stat").read_bytes()
            except OSError:
                continue  # it has ended meanwhile
            fields = stat[stat.rindex(b")") + 2 :].split()  # after the name, which may hold any character
            if int(fields[3]) == session:
                found.append(_process(int(name), fields))
    return found


def _process(pid: int, fields: list[bytes]) -> Process:
    """Make a Process from the fields of /proc/PID/stat, beginning with field 3 of proc(5), the state."""
    utime, stime, cutime, cstime = (int(text) / TICKS_PER_S for text in fields[11:15])
    exact_s = _cpu_clock_s(pid)
    coarse_s = cutime + cstime + (utime + stime if exact_s is None else 0.0)
    # Each of the two numbers of a pair is cut off at a whole tick.
    grain_s = 2 / TICKS_PER_S * ((exact_s is None) + (cutime + cstime > 0))
    return Process(
        pid,
        fields[0] not in b"ZX",
        int(fields[17]),
        int(fields[21]) * PAGE_BYTES,
        utime + cutime,
        stime + cstime,
        (exact_s or 0.0) + coarse_s,
        grain_s,
    )


def _cpu_clock_s(pid: int) -> float | None:
    """Return the CPU seconds of a process and of all threads that it ever had; None if the process has ended.

    They are read from the CPU-time clock of the process, whose id is computed from the pid as in
    clock_getcpuclockid(3). /proc/PID/schedstat would not do, because it counts living threads only.
    """
    try:
        return time.clock_gettime_ns(~pid << 3 | CPUCLOCK_SCHED) / 1e9
    except OSError:
        return None


def pss_bytes(processes: list[Process]) -> int | None:
    """Return the memory that these processes use, in bytes, with shared pages counted once (PSS). It is estimated for
    more than PROCESSES_READ_MAX processes. None if the kernel does not let us read it.
    """
    step = -(-len(processes) // PROCESSES_READ_MAX) or 1
    shares = [share for process in processes[::step] if (share := _pss(process.pid)) is not None]
    return sum(shares) * len(processes) // len(shares) if shares else None


def _pss(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith(b"Pss:")), None)
    except OSError:
        return None


def descriptors_of(processes: list[Process]) -> int:
    """Return the number of file descriptors that the processes have open; estimated for more than PROCESSES_READ_MAX
    processes."""
    step = -(-len(processes) // PROCESSES_READ_MAX) or 1
    counts = [count for process in processes[::step] if (count := _descriptors(process.pid)) is not None]
    return sum(counts) * len(processes) // len(counts) if counts else 0


def _descriptors(pid: int) -> int | None:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None


def listen_overflows() -> int:
    """Return how often a full listen queue refused a connection since this network namespace was made (`netstat
    -s`)."""
    try:
        names, values = (
            line.split() for line in Path("/proc/net/netstat").read_text().splitlines() if line.startswith("TcpExt:")
        )
    except (OSError, ValueError):
        return 0
    return int(dict(zip(names, values, strict=True)).get("ListenOverflows", 0))


def machine_times(cpus: Container[int] | None = None) -> tuple[float, float]:
    """Return (busy, stolen) CPU seconds since the machine started, of these CPUs, or of all if `cpus` is None. Stolen
    is the time that the hypervisor gave to others.
    """
    with open("/proc/stat") as file:
        lines = [line.split() for line in file if line.startswith("cpu")]
    chosen = lines[:1] if cpus is None else [line for line in lines[1:] if int(line[0][3:]) in cpus]
    busy = stolen = 0
    for line in chosen:
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, line[1:9])
        busy += user + nice + system + irq + softirq
        stolen += steal
    return busy / TICKS_PER_S, stolen / TICKS_PER_S
