"""Records the threads of a server for some time, in the best way that this machine permits.

    switches   every context switch, from the kernel (see `perf`); what threads wait for, from its records or from
               samples every millisecond
    samples    samples every two milliseconds (see `septet.lab.threads.tasks`): shorter states are missed
    spans      threads are not observed; only the span log of the server says what it did for each request

The pictures say which way was used. Recording runs in the calling thread, on the CPUs of the server and the users, and
takes a tenth of a CPU: never record during a benchmark.
"""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass

from septet.errors import Failed
from septet.lab.threads.reasons import Reasons
from septet.lab.threads.states import Call, Sample, State
from septet.lab.threads.tasks import Tasks
from septet.lab.trace.perf import Switches
from septet.lab.trace.timeline import Lane, Record, SwitchedOut, explain, from_samples, lanes

WAYS = ("switches", "samples", "spans")
_LOOK_EVERY_S = {"switches": 0.001, "samples": 0.002}
_DRAIN_EVERY_NS = 10_000_000
"""Nanoseconds between two reads of the kernel's records. At 50 ms, buffers of 1 MiB lost 12 % of 230,000 switches a
second.
"""


@dataclass(frozen=True, slots=True)
class Recording:
    """The threads of a server from `start` to `end`, in ns of CLOCK_MONOTONIC. `way` is one of WAYS."""

    way: str
    start: int
    end: int
    lanes: tuple[Lane, ...]
    lost: int
    """Number of records of context switches that were lost because the kernel had no space for them."""
    records: int
    waited_ns: dict[int, int]
    """Nanoseconds for which each thread that lived during the whole recording waited for a CPU, by tid, as the kernel
    counts them.
    """
    obstacle: str = ""
    """Why context switches could not be recorded; "" if they were, or were not asked for."""


class Recorder:
    """Records a server; a context manager. Make it when the server has just been started, to miss no thread.

    Args:
        session: the id of the server's session, which is the pid of its first process.
        ports: the TCP ports at which it listens.
        way: one of WAYS, or "auto" for the best that works. Raises Failed for "switches" where they are not permitted.
    """

    def __init__(self, session: int, ports: frozenset[int], way: str = "auto") -> None:
        self._stack = ExitStack()
        self._reasons = Reasons(ports)
        self._tasks = Tasks(session, self._reasons)
        self._stack.callback(self._tasks.close)
        self._switches: Switches | None = None
        self._obstacle = ""
        self.way = "samples" if way == "auto" else way
        if way in ("auto", "switches"):
            self._follow(session, way)

    def _follow(self, session: int, way: str) -> None:
        try:
            self._switches = Switches(session)
        except OSError as error:
            self._obstacle = f"perf_event_open: {error.strerror or error}; see kernel.perf_event_paranoid"
            if way == "switches":
                raise Failed(f"switches cannot be recorded here: {self._obstacle}") from None
        else:
            self.way = "switches"
            self._stack.callback(self._switches.close)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def record(self, seconds: float) -> Recording:
        """Record for so many seconds. Raises Failed when no thread of the server can be seen."""
        if self.way == "spans":
            start = time.monotonic_ns()
            time.sleep(seconds)
            return Recording(self.way, start, start + int(seconds * 1e9), (), 0, 0, {}, self._obstacle)
        return _Watch(self._switches, self._tasks, self._reasons).run(seconds, self.way, self._obstacle)


class _Watch:
    """Makes one recording of a server's threads, from samples and, if there are `switches`, from the
    kernel's records.
    """

    def __init__(self, switches: Switches | None, tasks: Tasks, reasons: Reasons) -> None:
        self._switches = switches
        self._tasks = tasks
        self._reasons = reasons
        self._samples: list[Sample] = []
        self._records: list[Record] = []
        self._told: dict[tuple[int, Call], State] = {}
        """What threads waited for, by process and system call, as `_drain` found it."""

    def run(self, seconds: float, way: str, obstacle: str) -> Recording:
        self._tasks.look()  # the first look opens files, and shows what threads wait for before the first switch
        before = self._tasks.waited_ns()
        if self._switches:
            self._switches.begin()
        start = time.monotonic_ns()
        self._watch(start + int(seconds * 1e9), _LOOK_EVERY_S[way])
        end = start + int(seconds * 1e9)  # this thread may have been late
        after = self._tasks.waited_ns()
        if self._switches:
            self._switches.end()
            self._drain()
        waited = {tid: after[tid] - since for tid, since in before.items() if tid in after}
        found = self._lanes(start, end)
        if not found:
            raise Failed("no thread of the server could be seen: are its files in /proc another user's?")
        lost = self._switches.lost if self._switches else 0
        return Recording(way, start, end, found, lost, len(self._records), waited, obstacle)

    def _watch(self, until: int, every_s: float) -> None:
        drained = time.monotonic_ns()
        while (now := time.monotonic_ns()) < until:
            self._samples += self._tasks.look()
            if self._switches and now - drained > _DRAIN_EVERY_NS:
                drained = now
                self._drain()
            time.sleep(every_s)

    def _drain(self) -> None:
        """Collect the kernel's records, and find what threads wait for while their calls' arguments are still valid."""
        assert self._switches is not None
        records = self._switches.drain()
        self._records += records
        for record in records:
            if type(record) is SwitchedOut and record.call is not None and not record.preempted:
                key = record.pid, record.call
                state = self._reasons.afterwards(*key)
                if state is not None:
                    self._told[key] = state

    def _lanes(self, start: int, end: int) -> tuple[Lane, ...]:
        samples: dict[int, list[Sample]] = defaultdict(list)
        for sample in self._samples:
            samples[sample.tid].append(sample)
        switched = lanes(self._records, start, end) if self._switches else {}
        found = {tid: explain(lane, samples[tid], self._why) for tid, lane in switched.items()}
        for tid, seen in samples.items():  # a thread without a switch has waited, or run, all the time
            if tid not in found and seen:
                found[tid] = from_samples(seen, start, end)
        return tuple(found[tid] for tid in sorted(found))

    def _why(self, pid: int, call: Call) -> State | None:
        return self._told.get((pid, call)) or self._reasons.afterwards(pid, call)
