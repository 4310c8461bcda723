"""The shares of time as a table: a line for each row of the pictures, for the terminal and below the pictures."""

from __future__ import annotations

from collections.abc import Sequence

from septet.lab.threads.states import IDLE, State
from septet.lab.trace.rows import Row, rows
from septet.lab.trace.shares import Shares, shares
from septet.lab.trace.tracing import Trace

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
    """A line of heads, then one for each thread, or row of threads, of each model: percents of the recording."""
    lines = [(trace, row, _shares(trace, row)) for trace in traces for row in rows(trace)[0] if not row.user]
    present = [state for state in _HEADS if any(_percent(found.get(state, 0.0)) for _, _, found in lines)]
    heads = ["model", "thread", *(_HEADS[state] for state in present), _IDLE]
    return [heads] + [
        [trace.model, row.name]
        + [_percent(found.get(state, 0.0)) for state in present]
        + [_percent(sum(found.get(state, 0.0) for state in IDLE))]
        for trace, row, found in lines
    ]


def _shares(trace: Trace, row: Row) -> Shares:
    return shares(row.intervals, trace.recording.start, trace.recording.end)


def _percent(share: float) -> str:
    """Nothing for less than half a thousandth."""
    return f"{share * 100:.1f} %" if share >= 0.0005 else ""


def text(lines: Sequence[Sequence[str]]) -> str:
    """The table with its columns in line, names to the left and figures to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
