"""Splits the time of requests into parts. Pure functions.

Three sources are joined for each request, by the client's address and port and by time: the load generator knows when
it began and was answered, the server's span log when its connection was accepted, its head complete, its application
called and its answer handed to the kernel. These instants divide the time between asking and answer without gaps or
overlaps, so the parts add up to what the user has waited.

Samples of the server's threads tell what the instants do not: for how much of that time the thread was kept from
running. While threads have a request, or are about to take it, some share of the samples finds them waiting for the GIL
or for a CPU. The same share of the part of the time in which the samples were taken is moved to the parts GIL and CPU.
That is an estimate over all requests; each single request is too short for it.

All figures are means, because means add up, which medians do not.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from septet.lab.load.visits import Visit
from septet.lab.threads.states import Sample, State
from septet.lab.trace.requests import Span, by_client, within
from septet.lab.where import parts
from septet.lab.where.parts import KEYS


@dataclass(frozen=True, slots=True)
class Request:
    """One request. Times are in nanoseconds of CLOCK_MONOTONIC."""

    asked: int
    first: int
    """When the user had read the first piece of the answer."""
    answered: int
    accepted: int | None = None
    """When the server had accepted the request's connection; None: the span log does not say."""
    began: int = 0
    ended: int = 0
    turns: tuple[tuple[int, int], ...] = ()
    """The times (start, end) in which the application worked on the request; empty: there was no application, as for
    static files.
    """
    tid: int = 0
    """The id of the thread in which the application worked on the request; 0: none did."""
    acceptor: int = 0
    """The id of the thread that accepted the connection, if that thread does nothing else; 0: the thread `tid` accepted
    it, or it is not known which.
    """
    cpu_ns: int = 0
    """CPU time that the thread `tid` used in the request's `turns`, in nanoseconds; 0: not known."""
    awaits: bool = False
    """True if the time between two `turns` belongs to the application, too: its coroutine awaits something. False if
    the server writes a piece of the answer in that time.
    """


class Piece(NamedTuple):
    """A part of a request's time, from `start` to `end`."""

    start: int
    end: int
    part: str
    tid: int = 0
    """The thread that works on the request during this piece of its time, or that takes the request up afterwards; 0:
    there is none, or it is not known.
    """


@dataclass(frozen=True, slots=True)
class Split:
    """The mean time of requests, in µs, as a whole and in parts."""

    requests: int
    latency_us: float
    parts_us: dict[str, float]
    samples: int
    """Number of samples that found a thread while it had one of the requests; one that concerns several requests counts
    for each.
    """


def join(
    visits: Iterable[Visit], spans: Sequence[Span], turns: Sequence[Span], main_accepts: bool = False
) -> list[Request]:
    """Join the records of users with the lines of the span log about the same request. Requests that the span log does
    not have are left out.

    `main_accepts`: the main thread of the server's process accepts all connections, and other threads serve them.
    """
    spans_of, turns_of = by_client(spans, "began", tuple), by_client(turns, "turns", tuple)
    joined = []
    for address, port, asked, first, answered in visits:
        span = within(spans_of.get((address, port), ()), asked, answered)
        own = within(turns_of.get((address, port), ()), asked, answered)
        if span is None:
            continue
        request = Request(asked, first, answered, span.get("accepted"), span["began"], span["ended"])
        if own is not None:
            request = replace(
                request,
                turns=tuple((start, end) for start, end in own["turns"]),
                tid=own["thread"],
                acceptor=own["process"] if main_accepts else 0,
                cpu_ns=own.get("cpu", 0),
                awaits=own.get("interface") == "asgi",
            )
        joined.append(request)
    return joined


def split(requests: Sequence[Request], samples: Iterable[Sample]) -> Split | None:
    """Return the mean time of these requests, as a whole and in parts; None if there are none."""
    if not requests:
        return None
    totals: dict[str, float] = dict.fromkeys(KEYS, 0.0)
    observed: dict[str, float] = dict.fromkeys(KEYS, 0.0)
    of_thread: dict[tuple[int, str], list[Piece]] = defaultdict(list)
    for request, before in _with_the_one_before(requests):
        for piece in pieces(request, before):
            totals[piece.part] += piece.end - piece.start
            if piece.tid:
                observed[piece.part] += piece.end - piece.start
                of_thread[piece.tid, piece.part].append(piece)
    seen = _seen(of_thread, samples)
    for part, states in seen.items():
        cpu_ns = sum(request.cpu_ns for request in requests) if part == parts.APPLICATION else 0
        for to, share in _kept_from_running(states, cpu_ns / observed[part]).items():
            totals[part] -= share * observed[part]
            totals[to] += share * observed[part]
    count = len(requests)
    return Split(
        count,
        sum(request.answered - request.asked for request in requests) / count / 1000,
        {key: totals[key] / count / 1000 for key in KEYS},
        sum(states.total() for states in seen.values()),
    )


def _kept_from_running(states: Counter[State], ran: float) -> dict[str, float]:
    """Return the share of the time for which threads waited for the GIL, and the share for which they waited for a CPU.
    `states`: how many samples found a thread in each state.

    `ran`: the share of the time for which the threads ran, from their CPU time; 0: it is not known. CPU time is exact,
    while samples do not always tell a thread that runs from one that waits for a CPU, and few of them, or late ones on
    a busy machine, find too many threads waiting for the GIL: that takes no more than the time for which none ran.
    """
    looks = states.total()
    could_run = (states[State.RUNNING] + states[State.RUNNABLE]) / looks
    for_gil = min(states[State.GIL] / looks, max(0.0, 1 - ran))
    waited = max(0.0, could_run - ran) if ran else states[State.RUNNABLE] / looks
    return {parts.GIL: for_gil, parts.CPU: waited}


def _with_the_one_before(requests: Sequence[Request]) -> Iterator[tuple[Request, int]]:
    """Yield each request with the time at which its thread was done with its previous request; 0 for the first one of a
    thread.
    """
    free: dict[int, int] = {}
    for request in sorted(requests, key=lambda each: each.turns[0][0] if each.turns else each.began):
        yield request, free.get(request.tid, 0)
        if request.turns:
            free[request.tid] = max(request.ended, request.turns[-1][1])


def pieces(request: Request, before: int = 0) -> list[Piece]:
    """Divide the time of a request into pieces, without gaps or overlaps, in order. `before`: when the request's thread
    was done with its previous request, in nanoseconds of CLOCK_MONOTONIC; 0: there was none.
    """
    found: list[Piece] = []
    at, tid = request.asked, request.tid

    def until(instant: int, part: str, tid: int = 0) -> None:
        nonlocal at
        instant = min(instant, request.answered)
        if instant > at:
            found.append(Piece(at, instant, part, tid))
            at = instant

    def until_taken(instant: int, part: str) -> None:
        """Add the time up to `instant`, in which nothing works on the request, as pieces of this `part`. From `before`
        on the request's thread is free, and may be about to take it.
        """
        until(min(instant, before), part)
        until(instant, part, tid)

    if request.accepted is None:
        until_taken(request.began, parts.OTHER)
    elif request.acceptor:
        until(request.accepted, parts.LISTEN, request.acceptor)
    else:
        until_taken(request.accepted, parts.LISTEN)
    until_taken(request.began, parts.BUFFER)
    if request.turns:
        until_taken(request.turns[0][0], parts.THREAD)
        until(request.turns[0][1], parts.APPLICATION, tid)
        for start, end in request.turns[1:]:
            until(start, parts.APPLICATION if request.awaits else parts.WRITING)
            until(end, parts.APPLICATION, tid)
    until(request.ended, parts.WRITING, tid)
    until(request.answered, parts.WRITING if request.first < request.answered else parts.OTHER)
    return found


def _seen(of_thread: Mapping[tuple[int, str], list[Piece]], samples: Iterable[Sample]) -> dict[str, Counter[State]]:
    """Count the states in which samples found the threads of requests, by the part of the request's time in which the
    sample was taken. `of_thread`: the pieces of time of all requests, by (thread, part). A sample counts once for each
    request that it concerns: several may wait for one thread to accept them.
    """
    parts_of: dict[int, list[tuple[str, list[int], list[int]]]] = defaultdict(list)
    for (tid, part), own in of_thread.items():
        parts_of[tid].append((part, sorted(piece.start for piece in own), sorted(piece.end for piece in own)))
    seen: dict[str, Counter[State]] = defaultdict(Counter)
    for sample in samples:
        for part, starts, ends in parts_of.get(sample.tid, ()):
            concerned = bisect_right(starts, sample.time) - bisect_right(ends, sample.time)
            if concerned:
                seen[part][sample.state] += concerned
    return seen
