"""How fast the server's CPUs are: fixed work, timed some fifty times a second while a server is measured.

The speed of a machine changes under a benchmark: its clock, other programs in the caches and on sibling threads,
neighbours under the same hypervisor. All of that changes the CPU time of a request, though the server is what it was.
The probe sees the same change on work that is always the same, so figures can be evened (see `septet.lab.evening`).

It is a process of its own, started from this file, which needs the standard library alone. In ours it would hold the
GIL while it waits for a busy CPU, and delay the samples and the events of the load. It times CPU time, not time: how
long it waits for a CPU says how many others want it, and nothing about its speed. The work is done twice, and the
second time counts: the first brings it back into the caches, which a server that fills them would make slow.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any, NamedTuple

EVERY_S = 0.02
ROUNDS = 400
"""Of the loop: about 50 µs on a server of 2020, twice; with all it takes 0.9 % of a CPU."""
FREQUENCY_EVERY = 25
"""Ticks after which the frequency is read again."""
SAMPLE = struct.Struct("=QIIIHxx")
"""The fields of a Sample."""
KEPT = 1 << 14
"""Samples, which are five minutes: longer than a run."""
SAMPLES_MIN = 5
"""Fewer have no median that means something."""


class Sample(NamedTuple):
    """The work once, done twice."""

    at_ns: int
    """The monotonic clock."""
    cold_ns: int
    """CPU time of the first time, in which the caches are as the server and others left them."""
    work_ns: int
    """CPU time of the second time."""
    frequency_khz: int
    """0: not known."""
    cpu: int


def work() -> int:
    """Fixed work of the kinds that a Python server does: bytecode, small objects, a dict, text."""
    words = {}
    for number in range(ROUNDS):
        words[str(number)] = number * 7 & 15
    return len(" ".join(words).split())


class Probe:
    """The samples of a running probe."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._kept: deque[Sample] = deque(maxlen=KEPT)
        self._unread = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    def usage(self, begun_ns: int, ended_ns: int) -> dict[str, Any]:
        """The figures of a window, by the names of their metrics; `probe_us` is None with too few samples."""
        self._drain()
        seen = [sample for sample in self._kept if begun_ns <= sample.at_ns <= ended_ns]
        clocks = [sample.frequency_khz / 1000 for sample in seen if sample.frequency_khz]
        enough = len(seen) >= SAMPLES_MIN
        return {
            "probe_us": median(sample.work_ns for sample in seen) / 1000 if enough else None,
            "probe_cold_us": median(sample.cold_ns for sample in seen) / 1000 if enough else None,
            "probe_samples": len(seen),
            "cpu_mhz": median(clocks) if clocks else None,
        }

    def _drain(self) -> None:
        assert self._process.stdout is not None, "it was started with a pipe"
        while True:
            try:
                data = os.read(self._process.stdout.fileno(), 1 << 16)
            except BlockingIOError:
                return
            if not data:
                return
            data = self._unread + data
            whole = len(data) - len(data) % SAMPLE.size
            self._kept.extend(Sample(*each) for each in SAMPLE.iter_unpack(data[:whole]))
            self._unread = data[whole:]


@contextmanager
def probing(cpus: Sequence[int]) -> Iterator[Probe]:
    """A probe that visits these CPUs in turn (none: all that we may use), for as long as the context lasts."""
    chosen = cpus or sorted(os.sched_getaffinity(0))
    words = [sys.executable, "-I", "-S", __file__, ",".join(map(str, chosen))]
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True, bufsize=0
    ) as process:
        assert process.stdout is not None, "it was started with a pipe"
        os.set_blocking(process.stdout.fileno(), False)
        try:
            yield Probe(process)
        finally:
            process.kill()


def main(cpus: Sequence[int]) -> None:
    """Sample until nothing reads the pipe any more; what a full pipe does not take is lost."""
    os.set_blocking(1, False)
    clocks = [_frequency_khz(cpu) for cpu in cpus]
    tick = 0
    while True:
        place = tick % len(cpus)
        os.sched_setaffinity(0, (cpus[place],))
        if tick % (FREQUENCY_EVERY * len(cpus)) == place:
            clocks[place] = _frequency_khz(cpus[place])
        begun_ns = time.thread_time_ns()
        work()
        between_ns = time.thread_time_ns()
        work()
        ended_ns = time.thread_time_ns()
        try:
            os.write(
                1,
                SAMPLE.pack(
                    time.monotonic_ns(), between_ns - begun_ns, ended_ns - between_ns, clocks[place], cpus[place]
                ),
            )
        except BlockingIOError:
            pass
        except OSError:
            return
        tick += 1
        time.sleep(EVERY_S)


def _frequency_khz(cpu: int) -> int:
    """As cpufreq tells it; 0 where it does not, as in most virtual machines."""
    try:
        with open(f"/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0


if __name__ == "__main__":
    main([int(cpu) for cpu in sys.argv[1].split(",")])
