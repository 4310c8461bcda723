"""Joins three records of each request, by the client's port and time: those of the user, the server and its threads.

The user records when the request was sent and answered; the server's span log when its head was complete, when the
application worked on it (turns), and when the answer was sent; the timeline what its thread did in those turns.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from septet.lab.threads.states import Interval, State
from septet.lab.trace.timeline import Lane

Span = dict[str, Any]
"""One line of the server's span log (see `septet.spans`), parsed from JSON."""

Visit = tuple[int, int, int, int, int]
"""(user, local port, sent, answered, status) of a request; times in ns of CLOCK_MONOTONIC, see `visitors`."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A time, from `start` to `end` in ns of CLOCK_MONOTONIC, in which the application worked on a request in the
    thread `tid` of the process `pid`.
    """

    pid: int
    tid: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Request:
    """One request. Times are in nanoseconds of CLOCK_MONOTONIC."""

    user: int
    asked: int
    """When the user began to send the request, or to connect for it."""
    answered: int
    """When the user had received the whole answer."""
    status: int
    """The status of the answer; 0: none."""
    began: int | None = None
    """When the server had received the request's head; None if the span log does not have the request."""
    ended: int | None = None
    """When the server had sent the answer; None if the span log does not have the request."""
    turns: tuple[Turn, ...] = ()


def read_spans(text: str) -> tuple[list[Span], list[Span]]:
    """Parse a span log (see `septet.spans`); returns its lines about requests, and those about turns, which are the
    times in which the application worked on a request.

    An incomplete last line is left out: the server may still be writing it.
    """
    requests: list[Span] = []
    turns: list[Span] = []
    for line in text.splitlines():
        try:
            span = json.loads(line)
        except ValueError:
            continue
        (turns if "turns" in span else requests).append(span)
    return requests, turns


def join(visits: Iterable[Visit], spans: list[Span], turns: list[Span]) -> list[Request]:
    """Join the lines of the span log about requests and about turns (times in which the application worked on a
    request) with the visits that users recorded. Returns the requests in the order in which they were sent.
    """
    spans_of = by_client(spans, "began", lambda client: client[1])
    turns_of = by_client(turns, "turns", lambda client: client[1])
    joined = []
    for user, port, asked, answered, status in sorted(visits, key=lambda visit: visit[2]):
        span = within(spans_of.get(port, ()), asked, answered)
        own = within(turns_of.get(port, ()), asked, answered)
        joined.append(
            Request(
                user,
                asked,
                answered,
                status,
                span["began"] if span else None,
                span["ended"] if span else None,
                tuple(Turn(own["process"], own["thread"], start, end) for start, end in own["turns"]) if own else (),
            )
        )
    return joined


Timed = list[tuple[int, Span]]


def by_client(spans: Iterable[Span], kind: str, key: Callable[[Any], Any]) -> dict[Any, Timed]:
    """Return the lines of a span log by client, in order of time, each with the instant at which it begins.

    `kind`: "began" for lines about requests, "turns" for those about turns (times in which the application worked on a
    request). `key` makes the key of a client from its [address, port]. Lines without a client, or without turns, are
    left out.
    """
    found: dict[Any, Timed] = defaultdict(list)
    for span in spans:
        if span["client"] and span[kind]:
            found[key(span["client"])].append((span["began"] if kind == "began" else span["turns"][0][0], span))
    for of_client in found.values():
        of_client.sort(key=lambda timed: timed[0])
    return found


def within(timed: Timed | tuple[()], start: int, end: int) -> Span | None:
    """Return the span that begins between `start` and `end`; None if there is none. There is at most one, as a client
    has one request at a time. `timed` has (begin, span) pairs in order of time.
    """
    place = bisect_right(timed, end, key=lambda each: each[0]) - 1
    return timed[place][1] if place >= 0 and timed[place][0] >= start else None


HELD_UP = frozenset({State.RUNNABLE, State.GIL})
"""States of a thread that has work and cannot go on: it waits for a CPU or the GIL."""

TurnsOf = Mapping[int, Sequence[Turn]]
"""The turns of each thread, in order, by tid. A turn is a time in which the application worked on a request in the
thread.
"""


def turns_of(requests: Iterable[Request]) -> TurnsOf:
    """Return the turns of all requests by thread. A turn is a time in which the application worked on a request."""
    found: dict[int, list[Turn]] = defaultdict(list)
    for turn in sorted((turn for request in requests for turn in request.turns), key=lambda turn: turn.start):
        found[turn.tid].append(turn)
    return found


def intervals(request: Request, lanes: dict[int, Lane], turns: TurnsOf = MappingProxyType({})) -> list[Interval]:
    """Return the states of a request from sending to answer, without gaps or overlaps. `lanes` has the states of each
    recorded thread by tid, `turns` the turns of all requests by tid: times in which the application worked on a
    request.

    In its turns a request has the state of its thread, if that was recorded. Before the server began with the request
    it was queued; between two turns it is suspended. The thread may have taken the request shortly before the first
    turn, and may still have it shortly after the last one: if the thread waits for a CPU or the GIL at these times,
    that is the state of the request.
    """
    line = _Line(request.asked, request.answered)
    first, last = (request.turns[0], request.turns[-1]) if request.turns else (None, None)
    began = request.asked if request.began is None else request.began
    if first is not None and first.tid in turns and first.tid in lanes:
        ends = (turn.end for turn in turns[first.tid] if turn.end <= first.start)
        since = max(request.asked, max(ends, default=request.asked))
        line.until(min(since, began), State.QUEUED)
        line.held_up(lanes[first.tid].between(line.at, began), State.QUEUED)
        line.until(began, State.QUEUED)
        line.held_up(lanes[first.tid].between(max(line.at, since), first.start), State.SUSPENDED)
    line.until(began, State.QUEUED)
    for turn in request.turns:
        line.until(turn.start, State.SUSPENDED)
        if turn.tid in lanes:
            line.take(lanes[turn.tid].between(line.at, min(turn.end, request.answered)))
        line.until(turn.end, State.APPLICATION)
    if last is not None and last.tid in turns and last.tid in lanes:
        after = min((turn.start for turn in turns[last.tid] if turn.start >= last.end), default=request.answered)
        line.held_up(lanes[last.tid].between(line.at, min(after, request.answered)), State.RETURNING)
    line.until(request.answered, State.QUEUED if request.began is None else State.RETURNING)
    return line.intervals


def from_turns(requests: Iterable[Request]) -> list[Lane]:
    """Return lanes (states over time) for threads that were not observed: their only state is APPLICATION, at the times
    (turns) in which the application worked on a request.
    """
    found: dict[int, Lane] = {}
    for turn in sorted((turn for request in requests for turn in request.turns), key=lambda turn: turn.start):
        lane = found.setdefault(turn.tid, Lane(turn.pid, turn.tid))
        start = max(turn.start, lane.intervals[-1].end) if lane.intervals else turn.start
        if turn.end > start:
            lane.intervals.append(Interval(start, turn.end, State.APPLICATION))
    return list(found.values())


class _Line:
    """Builds consecutive intervals from `start` to `end`. Later times are cut off at `end`, because the user may have
    the answer before the server logs the end of the request."""

    def __init__(self, start: int, end: int) -> None:
        self.at = start
        self._end = end
        self.intervals: list[Interval] = []

    def until(self, time: int, state: State) -> None:
        time = min(time, self._end)
        if time > self.at:
            self.intervals.append(Interval(self.at, time, state))
            self.at = time

    def held_up(self, intervals: list[Interval], otherwise: State) -> None:
        """Append those of a thread's `intervals` in which it waits for a CPU or the GIL; the rest of the time gets the
        state `otherwise`.
        """
        for each in intervals:
            self.until(each.start, otherwise)
            self.until(each.end, each.state if each.state in HELD_UP else otherwise)

    def take(self, intervals: list[Interval]) -> None:
        for each in intervals:
            self.until(each.start, State.APPLICATION)
            self.until(each.end, each.state)
