"""Makes the timeline of each thread from records of the kernel and samples, by a state machine. Pure functions.

A recorder yields four kinds of records, and samples (`septet.lab.threads.states`). Times are nanoseconds of
CLOCK_MONOTONIC, `pid` is the process (the thread group of the kernel) and `tid` the thread.

A thread's lane is a sequence of intervals without gaps. A record ends one interval and sets the state of the next. The
state before the first record follows from it: a thread that is switched out was running. Where two records contradict
each other, one between them was lost, and the time between is UNKNOWN.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from operator import attrgetter
from typing import NamedTuple

from septet.lab.threads.states import Call, Interval, Sample, State


class SwitchedIn(NamedTuple):
    """The thread got a CPU."""

    time: int
    pid: int
    tid: int


class SwitchedOut(NamedTuple):
    """The thread lost its CPU. If `preempted`, it could have gone on; else it waits, in the system call `call` (None:
    not known).
    """

    time: int
    pid: int
    tid: int
    preempted: bool
    call: Call | None


class Born(NamedTuple):
    """A thread was started; it is the first of its process if `tid` equals `pid`."""

    time: int
    pid: int
    tid: int


class Died(NamedTuple):
    time: int
    pid: int
    tid: int


Record = SwitchedIn | SwitchedOut | Born | Died


Why = Callable[[int, Call], State | None]
"""A function that returns, for (pid, system call), what a thread that is blocked in the call waits for; None if that is
not known.
"""


@dataclass(slots=True)
class Lane:
    """The states of one thread over time, as intervals without gaps."""

    pid: int
    tid: int
    intervals: list[Interval] = field(default_factory=list)

    def total(self, *states: State) -> int:
        """Return the nanoseconds that were spent in these states, all together."""
        return sum(each.end - each.start for each in self.intervals if each.state in states)

    def between(self, start: int, end: int) -> list[Interval]:
        """Return the intervals from `start` to `end`, cut off at these instants."""
        first = max(0, bisect_left(self.intervals, start, key=attrgetter("start")) - 1)
        found = []
        for each in self.intervals[first:]:
            if each.start >= end:
                break
            if each.end > start:
                found.append(each._replace(start=max(start, each.start), end=min(end, each.end)))
        return found


class _Machine:
    """The state machine of one thread. It gives a blocked thread the state OTHER, which `explain` replaces."""

    def __init__(self, pid: int, tid: int, since: int) -> None:
        self.lane = Lane(pid, tid)
        self._since = since
        self._state: State | None = None  # not known before the first record
        self._call: Call | None = None
        self._dead = False

    def take(self, record: Record) -> None:
        if self._dead:
            return
        match record:
            case Born(time=time):
                self._since = time
                self._state = State.RUNNABLE
            case Died(time=time):  # its last switch is not recorded
                self._close(time, State.RUNNING)
                self._dead = True
            case SwitchedIn(time=time):
                before = self._state or State.OTHER
                self._close(time, State.UNKNOWN if before is State.RUNNING else before)
                self._state, self._call = State.RUNNING, None
            case SwitchedOut(time=time, preempted=preempted, call=call):
                self._close(time, State.RUNNING if self._state in (None, State.RUNNING) else State.UNKNOWN)
                self._state = State.RUNNABLE if preempted else State.OTHER
                self._call = None if preempted else call

    def finish(self, end: int) -> Lane:
        if not self._dead:
            self._close(end, self._state or State.OTHER)
        return self.lane

    def _close(self, time: int, state: State) -> None:
        if time > self._since:
            self.lane.intervals.append(Interval(self._since, time, state, self._call))
        self._since = time


def lanes(records: Iterable[Record], start: int, end: int) -> dict[int, Lane]:
    """Return the lane (states over time) of each thread from `start` to `end`, by tid. The records may come in any
    order.
    """
    machines: dict[int, _Machine] = {}
    for record in sorted(records, key=attrgetter("time")):
        if record.time > end:
            break
        machine = machines.get(record.tid)
        if machine is None or isinstance(record, Born):
            machine = machines[record.tid] = _Machine(record.pid, record.tid, start)
        if record.time >= start:
            machine.take(record)
    return {tid: machine.finish(end) for tid, machine in machines.items()}


def explain(lane: Lane, samples: list[Sample], why: Why) -> Lane:
    """Return the lane (states over time) with each state OTHER replaced by what the thread waited for: as `why` finds
    it from the system call, else as the samples within the interval say.

    `samples` are those of this thread, in order of time. A sample that finds the thread ready to run, before the kernel
    has given it a CPU, shows that it has been woken: from then on it is RUNNABLE.
    """
    times = [sample.time for sample in samples]
    explained = []
    for each in lane.intervals:
        if each.state is not State.OTHER:
            explained.append(each)
            continue
        seen = samples[bisect_left(times, each.start) : bisect_left(times, each.end)]
        explained += _explained(each, seen, why(lane.pid, each.call) if each.call else None)
    return Lane(lane.pid, lane.tid, explained)


def _explained(interval: Interval, seen: list[Sample], told: State | None) -> list[Interval]:
    awake = (State.RUNNING, State.RUNNABLE)
    state = told or next((sample.state for sample in seen if sample.state not in awake), State.OTHER)
    woken = next((sample.time for sample in seen if sample.state in awake), None)
    if woken is None:
        return [interval._replace(state=state)]
    if woken == interval.start:
        return [interval._replace(state=State.RUNNABLE)]
    return [interval._replace(end=woken, state=state), interval._replace(start=woken, state=State.RUNNABLE)]


def from_samples(samples: list[Sample], start: int, end: int) -> Lane:
    """Make the lane (states over time) of a thread from samples alone: each sample stands for the time up to the middle
    between it and its neighbours.

    `samples` are those of one thread, in order, and not empty. States shorter than the time between samples are missed.
    """
    first = samples[0]
    middles = [(left.time + right.time) // 2 for left, right in pairwise(samples)]
    lane = Lane(first.pid, first.tid)
    for sample, since, until in zip(samples, [start, *middles], [*middles, end], strict=True):
        since, until = max(since, start), min(until, end)
        if until <= since:
            continue
        last = lane.intervals[-1] if lane.intervals else None
        if last is not None and last.state is sample.state:
            lane.intervals[-1] = last._replace(end=until)
        else:
            lane.intervals.append(Interval(since, until, sample.state))
    return lane
