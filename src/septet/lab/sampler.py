"""What a server's processes use, read from /proc (proc(5)).

The server is started in a session of its own; its processes are those of that session, however they came to be. CPU
time counts processes that have ended too: they are in the `cutime` and `cstime` of whoever waited for them.

Context switches are not read here: /proc has them per living thread, and under the models that make a thread or a
process for each connection most have gone by the end. The runner takes them from wait4(2), for the whole life.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from septet.lab.load import listen_queue

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
LOOK_S = 0.05
LOOKS_PER_SAMPLE = 5
MEMORY_EVERY = 4  # samples; reading a process's PSS walks its page tables, so not each time
MEMORY_PROCESSES_MAX = 32  # of more, that many are read and the sum scaled: a thousand forks would be held up


@dataclass(frozen=True, slots=True)
class Process:
    """One process at one moment; times in seconds, of ended children included."""

    pid: int
    alive: bool  # not a zombie, which its parent has not waited for yet
    threads: int
    rss_bytes: int
    user_s: float
    system_s: float


@dataclass(slots=True)
class Usage:
    """What the server used in the measured window: sums of times, peaks of all else."""

    user_s: float = 0.0
    system_s: float = 0.0
    processes: int = 0
    threads: int = 0
    rss_bytes: int = 0
    pss_bytes: int | None = None  # proportional share: memory that processes share is counted once
    descriptors: int = 0
    queue_depth: int | None = None  # connections that waited for accept(2); None where the kernel does not tell
    queue_backlog: int | None = None  # how many may
    queue_overflows: int = 0  # SYNs and connections that found it full, on this machine (TcpExt ListenOverflows)
    gil_share: float | None = None  # see `septet.lab.threads.gil`
    samples: int = 0
    machine_busy_s: float = 0.0  # the CPU time of everything on this machine, so that foreign load can be told
    machine_steal_s: float = 0.0


def processes_of(session: int) -> list[Process]:
    """The processes of a session, by its id (which is the pid of its leader)."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                stat = Path("/proc", name, "stat").read_bytes()
            except OSError:
                continue  # has ended meanwhile
            fields = stat[stat.rindex(b")") + 2 :].split()  # the name before may hold anything
            if int(fields[3]) == session:
                found.append(_process(int(name), fields))
    return found


def _process(pid: int, fields: list[bytes]) -> Process:
    """From the fields of /proc/PID/stat, of which the first here is the third of proc(5)."""
    utime, stime, cutime, cstime = (int(text) / TICKS_PER_S for text in fields[11:15])
    return Process(
        pid, fields[0] not in b"ZX", int(fields[17]), int(fields[21]) * PAGE_BYTES, utime + cutime, stime + cstime
    )


def pss_bytes(processes: list[Process]) -> int | None:
    """The memory of the processes, shared pages counted once; None where it may not be read."""
    step = -(-len(processes) // MEMORY_PROCESSES_MAX) or 1
    shares = [share for process in processes[::step] if (share := _pss(process.pid)) is not None]
    return sum(shares) * len(processes) // len(shares) if shares else None


def _pss(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith(b"Pss:")), None)
    except OSError:
        return None


def descriptors_of(processes: list[Process]) -> int:
    """How many files, sockets included, the processes have open; of many processes, what a part of them suggests."""
    step = -(-len(processes) // MEMORY_PROCESSES_MAX) or 1
    counts = [count for process in processes[::step] if (count := _descriptors(process.pid)) is not None]
    return sum(counts) * len(processes) // len(counts) if counts else 0


def _descriptors(pid: int) -> int | None:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None


def listen_overflows() -> int:
    """How often a full queue turned a connection away since this machine (or network namespace) started; netstat -s."""
    try:
        names, values = (
            line.split() for line in Path("/proc/net/netstat").read_text().splitlines() if line.startswith("TcpExt:")
        )
    except (OSError, ValueError):
        return 0
    return int(dict(zip(names, values, strict=True)).get("ListenOverflows", 0))


def machine_times() -> tuple[float, float]:
    """(busy, stolen) CPU seconds of the whole machine since it started."""
    with open("/proc/stat") as file:
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, file.readline().split()[1:9])
    return (user + nice + system + irq + softirq) / TICKS_PER_S, steal / TICKS_PER_S


def nothing() -> None:
    pass


@dataclass(slots=True)
class Sampler:
    """Samples a session in a thread, between `start` and `stop`; `look` is called more often than that."""

    session: int
    port: int | None = None  # of its listener
    look: Callable[[], None] = nothing
    host: str = "127.0.0.1"  # of the listener
    usage: Usage = field(default_factory=Usage)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        busy_s, steal_s = machine_times()
        self.usage = Usage(machine_busy_s=-busy_s, machine_steal_s=-steal_s, queue_overflows=-listen_overflows())
        for process in self._sample():
            self.usage.user_s -= process.user_s
            self.usage.system_s -= process.system_s
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> Usage:
        """End the window: returns what was used in it."""
        processes = self._sample()
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        busy_s, steal_s = machine_times()
        self.usage.machine_busy_s += busy_s
        self.usage.machine_steal_s += steal_s
        self.usage.queue_overflows += listen_overflows()
        self.usage.user_s += sum(process.user_s for process in processes)
        self.usage.system_s += sum(process.system_s for process in processes)
        return self.usage

    def _run(self) -> None:
        looks = 0
        while not self._stopping.wait(LOOK_S):
            self.look()
            looks += 1
            if looks % LOOKS_PER_SAMPLE == 0:
                self._sample()

    def _sample(self) -> list[Process]:
        processes = processes_of(self.session)
        usage = self.usage
        usage.processes = max(usage.processes, len(processes))
        usage.threads = max(usage.threads, sum(process.threads for process in processes))
        usage.rss_bytes = max(usage.rss_bytes, sum(process.rss_bytes for process in processes))
        if usage.samples % MEMORY_EVERY == 1:
            usage.pss_bytes = max(usage.pss_bytes or 0, pss_bytes(processes) or 0) or None
            usage.descriptors = max(usage.descriptors, descriptors_of(processes))
        self._look_at_queue()
        usage.samples += 1
        return processes

    def _look_at_queue(self) -> None:
        if self.port is None:
            return
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        if (queue := listen_queue(family, self.host, self.port)) is not None:
            self.usage.queue_depth = max(self.usage.queue_depth or 0, queue.depth)
            self.usage.queue_backlog = queue.backlog
