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
"""The low bits of the clock id by which the CPU time of a process is read (include/linux/posix-timers.h in the kernel's
source).
"""
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
PROCESSES_READ_MAX = 32
"""Most processes that are read for a sum, such as of their memory. If there are more, some are read and the sum is
scaled, because reading delays a process.
"""


@dataclass(frozen=True, slots=True)
class Process:
    """What the kernel says of one process at one moment. Times are in seconds; those of ended children are included."""

    pid: int
    alive: bool
    """False for a zombie, for which its parent has not waited yet."""
    threads: int
    rss_bytes: int
    user_s: float
    system_s: float
    cpu_s: float
    """User and system time, exact to the nanosecond, except for ended children, which are counted in ticks."""
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
    """CPU seconds of a process and all threads that it ever had; None when it has ended.

    Read from its CPU-time clock, whose id is computed from the pid as in clock_getcpuclockid(3). /proc/PID/schedstat
    would not do: it has living threads only.
    """
    try:
        return time.clock_gettime_ns(~pid << 3 | CPUCLOCK_SCHED) / 1e9
    except OSError:
        return None


def pss_bytes(processes: list[Process]) -> int | None:
    """Return the memory of the processes in bytes, shared pages counted once (PSS); None where it may not be read."""
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
    """(busy, stolen) CPU seconds of the whole machine since it started, or of these CPUs."""
    with open("/proc/stat") as file:
        lines = [line.split() for line in file if line.startswith("cpu")]
    chosen = lines[:1] if cpus is None else [line for line in lines[1:] if int(line[0][3:]) in cpus]
    busy = stolen = 0
    for line in chosen:
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, line[1:9])
        busy += user + nice + system + irq + softirq
        stolen += steal
    return busy / TICKS_PER_S, stolen / TICKS_PER_S
