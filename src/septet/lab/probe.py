"""Measures how fast the server's CPUs are: a fixed piece of work is timed some 190 times a second during a run.

The speed of a machine changes during a benchmark: its clock, other programs in the caches and on sibling threads, other
virtual machines. These change the CPU time of a request, though the server is the same. The probe sees the same change
on work that never changes, so figures can be corrected (see `septet.lab.evening`).

It is a process of its own, started from this file, which needs only the standard library. Inside the measuring process
it would hold the GIL while it waits for a busy CPU, and delay samples and the load. It measures CPU time and not
elapsed time: how long it waits for a CPU depends on other programs, and not on the CPU's speed. The work is done twice
and the second time counts: the first brings it back into the caches, from which a busy server removes it.

A CPU whose sibling thread others use changes its speed within milliseconds. So little work many times shows the mean
speed in a window of 0.2 s better than more work a few times: the rate of a server followed the probe with a correlation
of 0.81 (200 rounds every 10 ms), 0.91 (100 every 5 ms) and 0.92 (50 every 4 ms; two virtual CPUs, 2026-12-01).
"""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import takewhile
from statistics import harmonic_mean, median
from typing import Any, NamedTuple

EVERY_S = 0.005
ROUNDS = 50
"""Iterations of the loop in `work`, which take about 10 µs. The work is done twice for each sample; with the overhead
of a sample the probe uses 1.5 % of a CPU (two virtual CPUs, 2026-12-01).
"""
TOLD_ROUNDS = 400
"""Times are told for this many iterations, whatever ROUNDS is, so that results of several versions can be compared."""
FREQUENCY_EVERY = 50
"""The frequency of a CPU is read once in this many samples on that CPU."""
SAMPLE = struct.Struct("=QIIIHxx")
"""The layout of a `Sample` in the pipe from the probe's process, for `struct`."""
KEPT = 1 << 16
"""Number of samples that are kept, the latest ones: those of five minutes, which is longer than a run of the load
generator.
"""
PIPE_BYTES = 1 << 20
"""Size of the pipe from the probe's process, if the system permits it: the samples of three minutes. It is read at the
end of a run of the load generator, and samples that find it full are lost.
"""
SAMPLES_MIN = 5
"""With fewer samples than this in a window, `Probe.usage` gives None for the time of the work (`probe_us`)."""


class Sample(NamedTuple):
    """One measurement: a fixed piece of work (`work`), done twice in a row on one CPU."""

    at_ns: int
    """When the work was done, in nanoseconds of the monotonic clock."""
    cold_ns: int
    """CPU time of the first execution in nanoseconds, with the caches as the server and others left them."""
    work_ns: int
    """CPU time of the second execution in nanoseconds, which finds its data in the caches."""
    frequency_khz: int
    """The CPU's frequency in kHz; 0 if it is not known."""
    cpu: int


def work() -> int:
    """Do a fixed amount of work of the kinds that a Python server does: bytecode, small objects, a dict, text."""
    words = {}
    for number in range(ROUNDS):
        words[str(number)] = number * 7 & 15
    return len(" ".join(words).split())


class Probe:
    """Receives the samples of a running probe, a process that times a fixed piece of work again and again."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._kept: deque[Sample] = deque(maxlen=KEPT)
        self._unread = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    def usage(self, begun_ns: int, ended_ns: int) -> dict[str, Any]:
        """Return averages over the samples between two instants, in ns of the monotonic clock, by the names of metrics:
        times in µs, the frequency in MHz, and the number of samples. Times are None if there are fewer than SAMPLES_MIN
        samples, the frequency if it is not known.

        Times are harmonic means, the inverse of the mean speed: while a CPU is slow for a part of the run, its server
        answers fewer requests for that part only. A median would not see a part that is shorter than half of the run.
        """
        self._drain()
        later = takewhile(lambda sample: sample.at_ns >= begun_ns, reversed(self._kept))
        seen = [sample for sample in later if sample.at_ns <= ended_ns]
        clocks = [sample.frequency_khz / 1000 for sample in seen if sample.frequency_khz]
        enough = len(seen) >= SAMPLES_MIN
        return {
            "probe_us": _mean_us([sample.work_ns for sample in seen]) if enough else None,
            "probe_cold_us": _mean_us([sample.cold_ns for sample in seen]) if enough else None,
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


def _mean_us(times_ns: Sequence[int]) -> float:
    return harmonic_mean(times_ns) / 1000 * TOLD_ROUNDS / ROUNDS


@contextmanager
def probing(cpus: Sequence[int]) -> Iterator[Probe]:
    """Context manager: start the probe, a process that times a fixed piece of work again and again, on each of `cpus`
    in turn. If `cpus` is empty, it uses all CPUs that this process may use. On leaving, the probe is killed.
    """
    chosen = cpus or sorted(os.sched_getaffinity(0))
    words = [sys.executable, "-I", "-S", __file__, ",".join(map(str, chosen))]
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True, bufsize=0
    ) as process:
        assert process.stdout is not None, "it was started with a pipe"
        os.set_blocking(process.stdout.fileno(), False)
        with suppress(OSError):
            fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        try:
            yield Probe(process)
        finally:
            process.kill()


def main(cpus: Sequence[int]) -> None:
    """What the probe's process does: it times a fixed piece of work on each of `cpus` in turn, and writes samples to
    standard output until they are no longer read. Samples that do not fit into the pipe are dropped.
    """
    os.set_blocking(1, False)
    clocks = [_frequency_khz(cpu) for cpu in cpus]
    tick = 0
    while True:
        place = tick % len(cpus)
        if len(cpus) > 1 or not tick:
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
    """Return the present frequency of a CPU in kHz, as the kernel's cpufreq gives it; 0 if the kernel does not give it,
    as in most virtual machines.
    """
    try:
        with open(f"/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0


if __name__ == "__main__":
    main([int(cpu) for cpu in sys.argv[1].split(",")])
