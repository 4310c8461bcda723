"""Computes the share of the time that threads spent in each state, and the table of it. Pure functions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from septet.lab.threads.states import IDLE, Interval, State
from septet.lab.trace.rows import PictureRow, rows
from septet.lab.trace.tracing import Trace

Shares = dict[State, float]


def shares(intervals: Iterable[Interval], start: int, end: int) -> Shares:
    """Return the share (0 to 1) of the time from `start` to `end` in each state. The shares add up to less than 1 if no
    state is known for a part of the time.
    """
    found: Shares = defaultdict(float)
    for each in intervals:
        overlap = min(each.end, end) - max(each.start, start)
        if overlap > 0:
            found[each.state] += overlap / (end - start)
    return dict(found)


def columns(intervals: Iterable[Interval], start: int, end: int, number: int) -> Iterator[tuple[int, int, Shares]]:
    """Divide the time from `start` to `end` into `number` equal parts; yields (start, end, shares of each state) of
    each part. Neighbours with equal shares are joined.

    The intervals must be in order and not overlap.
    """
    edges = [start + (end - start) * place // number for place in range(number + 1)]
    parts: list[Shares] = [defaultdict(float) for _ in range(number)]
    for each in intervals:
        place = max(0, (each.start - start) * number // (end - start))
        while place < number and edges[place] < each.end:
            overlap = min(each.end, edges[place + 1]) - max(each.start, edges[place])
            if overlap > 0:
                parts[place][each.state] += overlap / (edges[place + 1] - edges[place])
            place += 1
    since = 0
    for place in range(1, number + 1):
        if place == number or parts[place] != parts[since]:
            yield edges[since], edges[place], dict(parts[since])
            since = place


_IDLE = "idle"
_HEADS = {
    State.RUNNING: "running",
    State.RUNNABLE: "waits for CPU",
    State.GIL: "GIL",
    State.LOCK: "lock",
    State.BACKEND: "database",
    State.DISK: "disk",
    State.SLEEP: "sleep",
    State.CHILD: "child",
    State.OTHER: "other",
    State.UNKNOWN: "unknown",
    State.APPLICATION: "in the application",
}


def table(traces: Sequence[Trace]) -> list[list[str]]:
    """Return the table as text: the headings, then for each model a row for each thread, or for short-lived threads
    that share a row of the picture, with the percentage of the recording that was spent in each state.
    """
    lines = [(trace, row, _shares(trace, row)) for trace in traces for row in rows(trace)[0] if not row.user]
    present = [state for state in _HEADS if any(_percent(found.get(state, 0.0)) for _, _, found in lines)]
    heads = ["model", "thread", *(_HEADS[state] for state in present), _IDLE]
    return [heads] + [
        [trace.model, row.name]
        + [_percent(found.get(state, 0.0)) for state in present]
        + [_percent(sum(found.get(state, 0.0) for state in IDLE))]
        for trace, row, found in lines
    ]


def _shares(trace: Trace, row: PictureRow) -> Shares:
    return shares(row.intervals, trace.recording.start, trace.recording.end)


def _percent(share: float) -> str:
    """Return a share as text in percent; "" below 0.05 %."""
    return f"{share * 100:.1f} %" if share >= 0.0005 else ""


def text(lines: Sequence[Sequence[str]]) -> str:
    """Return the table as text with aligned columns, names to the left and figures to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
