"""Chooses the rows of a picture: threads and users, their order and their names. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from septet.lab.threads.states import Interval, State
from septet.lab.trace.requests import Request, TurnsOf, from_turns, intervals, turns_of
from septet.lab.trace.timeline import Lane
from septet.lab.trace.tracing import Trace

ROWS_MAX = 24
_ACTIVE = (State.RUNNING, State.APPLICATION)
USERS_MAX = 12


@dataclass(frozen=True, slots=True)
class PictureRow:
    """A row of a picture; `user` is True for the requests of a user, False for threads."""

    name: str
    intervals: tuple[Interval, ...]
    user: bool = False


def rows(trace: Trace) -> tuple[list[PictureRow], list[str]]:
    """Return the rows, those of threads first, and a sentence for each kind of row that is left out."""
    start, end = trace.recording.start, trace.recording.end
    watched = trace.recording.lanes or tuple(from_turns(trace.requests))
    threads, notes = thread_rows(watched, trace.first_pid, start, end)
    users = sorted({request.user for request in trace.requests})
    if len(users) > USERS_MAX:
        notes.append(f"{len(users) - USERS_MAX} more users are not drawn")
    lanes = {lane.tid: lane for lane in trace.recording.lanes}
    turns = turns_of(trace.requests)
    drawn = [
        PictureRow(f"user {user}", _of_user(user, trace.requests, lanes, turns, start, end), user=True)
        for user in users[:USERS_MAX]
    ]
    return threads + drawn, notes


def _of_user(
    user: int, requests: Iterable[Request], lanes: dict[int, Lane], turns: TurnsOf, start: int, end: int
) -> tuple[Interval, ...]:
    line = Lane(0, 0, [each for one in requests if one.user == user for each in intervals(one, lanes, turns)])
    return tuple(line.between(start, end))


def thread_rows(lanes: Sequence[Lane], first_pid: int, start: int, end: int) -> tuple[list[PictureRow], list[str]]:
    """Return a row for each thread that ran, in order of processes (the server's first one first) and with the first
    thread of each process first; and sentences about threads that are left out.

    Threads that live shorter than the recording, such as one for each connection, share rows: each takes the first row
    that is free when it begins, so that there are as many rows as threads at a time.
    """
    ran = [lane for lane in lanes if lane.total(*_ACTIVE) or (lane.intervals and lane.tid == lane.pid == first_pid)]
    notes = _left_out(len([lane for lane in lanes if lane.intervals]) - len(ran), "never ran")
    lasting = [lane for lane in ran if _lasts(lane, start, end)]
    passing = sorted((lane for lane in ran if not _lasts(lane, start, end)), key=lambda lane: lane.intervals[0].start)
    lasting.sort(key=lambda lane: (lane.pid != first_pid, lane.pid, lane.tid != lane.pid, lane.tid))
    found = [
        PictureRow(name, tuple(lane.intervals)) for name, lane in zip(names(lasting, first_pid), lasting, strict=True)
    ]
    what = "processes" if any(lane.tid == lane.pid for lane in passing) else "threads"
    packed = pack(passing)
    found += [PictureRow(f"{what}, row {n}", row) for n, row in enumerate(packed, 1)]
    return found[:ROWS_MAX], notes + _left_out(len(found) - ROWS_MAX, "are not drawn")


def _lasts(lane: Lane, start: int, end: int) -> bool:
    """True if the thread lived from `start` to `end`, except for a tenth of the time at each end. That much is allowed,
    because a lane made of the turns of requests alone does not reach the ends.
    """
    margin = (end - start) // 10
    return lane.intervals[0].start <= start + margin and lane.intervals[-1].end >= end - margin


def _left_out(number: int, what: str) -> list[str]:
    return [f"{number} more thread{'s'[: number > 1]} {what}"] if number > 0 else []


def names(lanes: Sequence[Lane], first_pid: int) -> list[str]:
    """Return a name for each thread (lane): the name of its process, if there are several, and its number in the
    process.
    """
    threads = Counter(lane.pid for lane in lanes)
    children = [pid for pid in threads if pid != first_pid]
    processes = {pid: f"process {number}" for number, pid in enumerate(children, 1)} | {first_pid: "parent"}
    seen: Counter[int] = Counter()
    found = []
    for lane in lanes:
        seen[lane.pid] += lane.tid != lane.pid
        thread = "main thread" if lane.tid == lane.pid else f"thread {seen[lane.pid]}"
        if len(threads) == 1:
            found.append(thread)
        else:
            found.append(processes[lane.pid] + (f", {thread}" if threads[lane.pid] > 1 else ""))
    return found


def pack(lanes: Iterable[Lane]) -> list[tuple[Interval, ...]]:
    """Put the intervals of threads that did not live at the same time into common rows, as few as possible. `lanes` has
    the states of each thread over time, in the order in which the threads began.
    """
    packed: list[list[Interval]] = []
    for lane in lanes:
        row = next((row for row in packed if row[-1].end <= lane.intervals[0].start), None)
        if row is None:
            row = []
            packed.append(row)
        row += lane.intervals
    return [tuple(row) for row in packed]


def cut(rows: Iterable[PictureRow], start: int, end: int) -> list[PictureRow]:
    """Return the part of the rows from `start` to `end`, without rows that are empty then."""
    shorter = (
        PictureRow(row.name, tuple(Lane(0, 0, list(row.intervals)).between(start, end)), row.user) for row in rows
    )
    return [row for row in shorter if row.intervals]


def busiest(requests: Sequence[Request], start: int, end: int, length: int) -> tuple[int, int]:
    """Return (start, end) of the window of `length` ns between `start` and `end` in which the most requests were both
    sent and answered; all times are in ns. If there are several such windows, the first is returned. If the whole time
    is no longer than `length`, the whole time is returned.

    The window begins when a request is sent, or earlier by at most a fiftieth of `length`, so that this request is not
    at the very edge. It does not begin so much earlier that it would no longer contain the end of its last request.
    """
    if end - start <= length:
        return start, end
    candidates = [request.asked for request in requests if start <= request.asked <= end - length] or [start]

    def whole(since: int) -> list[Request]:
        return [each for each in requests if since <= each.asked and each.answered <= since + length]

    best = max(candidates, key=lambda since: len(whole(since)))
    unused = best + length - max((each.answered for each in whole(best)), default=best)
    best = max(start, best - min(length // 50, unused))  # the margin keeps the first request away from the edge
    return best, best + length
