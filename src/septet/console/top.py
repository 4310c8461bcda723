"""`septet top`: the console in a terminal, with the library rich (extra `metrics`)."""

import os
import select
import sys
import termios
import textwrap
import time
import tty
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from septet.console import words

BLOCKS = "▁▂▃▄▅▆▇█"
POINTS = 60

WIDE = 112
"""Width of a terminal, in characters, from which there is room for all columns of the table of processes."""
SHOWN_NARROW = ("process", "busy", "in flight", "answered", "CPU", "memory")
"""The columns that the table of processes has in a terminal narrower than WIDE characters."""
EVENT_LINES = 4
"""Least lines that are kept for events, such as the end of a worker, where processes and slow requests would take all.
"""
RUNNING_LINES = 4
"""Least lines that are kept for requests that have been in flight for long."""
AFTER_TIME = 10
"""The column, from 0, at which the text of an event begins, after its time."""
MOST_LINES = 3
"""Most lines of one event, or of the failure of the last reload."""


def sparkline(values: "deque[float]", least: float) -> str:
    highest = max(least, *values)
    return "".join(BLOCKS[min(len(BLOCKS) - 1, int(value / highest * len(BLOCKS)))] for value in values)


def level(share: float | None) -> str:
    """Return the colour, as a style of rich, for the share from 0 to 1 to which a process is busy: "" (no colour) below
    0.7 and for None, "yellow" below 0.9, and "red" from there on.
    """
    return "" if share is None or share < 0.7 else "yellow" if share < 0.9 else "red"


@contextmanager
def keys() -> Iterator[None]:
    """Context manager: give keys to the program as they are pressed, and not only at the end of a line."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def quits_within(seconds: float) -> bool:
    """Wait for this time, or until `q` is pressed. Returns True if it was pressed. To be called inside of `keys`."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if not sys.stdin.isatty():
            time.sleep(left)
        elif select.select([sys.stdin], [], [], left)[0]:
            pressed = os.read(sys.stdin.fileno(), 64)
            if not pressed or b"q" in pressed.lower():
                return True
    return False


class Top:
    """Draws the server's status again and again, on the terminal's alternate screen if it has one."""

    def __init__(self, status: dict[str, Any]) -> None:
        self._console = Console()
        self._rates: deque[float] = deque(maxlen=POINTS)
        self._shares: deque[float] = deque(maxlen=POINTS)
        self._status = status
        self._live = Live(console=self._console, screen=self._console.is_terminal, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.__enter__()
        self.show(self._status)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._live.__exit__(kind, error, at)

    def show(self, status: dict[str, Any] | str) -> None:
        """Draw a status. If `status` is a text that says why there is none, the last status stays below it."""
        if isinstance(status, str):
            self._live.update(Group(Text(status, style="bold red"), self.picture(self._status)), refresh=True)
            return
        self._status = status
        self._rates.append(status["requests"]["per_s"])
        self._shares.append(status["saturation"] * 100)
        self._live.update(self.picture(status), refresh=True)

    def picture(self, status: dict[str, Any]) -> Group:
        """Return the whole screen. If not all lines below the table of processes fit, slow requests are left out first,
        events next, and requests in flight last. Where there is more room, more of them are shown.
        """
        width = self._console.width
        lines = [_line(words.headline(status), "bold")]
        if failed := words.problem(status):
            lines += [_line(line, "bold red") for line in _wrapped(failed, width, 2)]
        figures = self._figures(status)
        events = [_wrapped(text, width, AFTER_TIME) for text in words.events(status)]
        slow = list(words.slow(status))
        late = list(words.running(status))
        fixed = len(lines) + figures.row_count + 2  # the head of the table, and the last line
        wanted = min(EVENT_LINES, sum(map(len, events)))
        others = (wanted + 1 if events else 0) + (min(RUNNING_LINES, len(late)) + 1 if late else 0)
        processes = _processes(status, width, max(3, self._console.height - fixed - others))
        room = self._console.height - fixed - processes.row_count
        parts: list[Any] = [*lines, figures, processes]
        if late and room > 1:
            rest = room - 1 - sum(len(each) + 1 for each in (slow, events[-EVENT_LINES:]) if each)
            shown = late[: min(room - 1, max(RUNNING_LINES, rest))]
            room -= len(shown) + 1
            more = f" (and {len(late) - len(shown)} more)" if len(late) > len(shown) else ""
            parts += [_line(f"in flight for {words.LONG_S:g} s and longer{more}", "bold"), *map(_line, shown)]
        if events and room > 1:
            rest = room - 1 - (len(slow) + 1 if slow else 0)
            shown = _newest(events, min(room - 1, max(EVENT_LINES, rest)), width)
            room -= len(shown) + 1
            parts += [_line("events", "bold"), *map(_line, shown)]
        if slow and room > 1:
            parts += [_line("slowest of the last five minutes", "bold"), *map(_line, slow[: room - 1])]
        return Group(*parts, _line("q or Ctrl-C ends this display", "dim"))

    def _figures(self, status: dict[str, Any]) -> Table:
        table = Table.grid(padding=(0, 2))
        charts = {"requests": (self._rates, 10.0), "saturation": (self._shares, 100.0)}
        rows = list(words.figures(status))
        taken = max(len(name) for name, _ in rows) + max(len(value) for _, value in rows) + 6
        points = max(0, self._console.width - taken)
        for name, value in rows:
            values, least = charts.get(name, (None, 0.0))
            chart = sparkline(values, least)[-points:] if values and points else ""
            style = level(status["saturation"]) if name == "saturation" else ""
            table.add_row(Text(name, style="dim"), _line(value, style), _line(chart, "cyan"))
        return table


def _wrapped(text: str, width: int, indent: int) -> list[str]:
    """Return the lines of a text; all but the first are indented by `indent` spaces. If there are more than MOST_LINES,
    those in the middle are left out: the end of a message says most.
    """
    lines = textwrap.wrap(text, max(20, width), subsequent_indent=" " * indent, break_on_hyphens=False)
    return lines if len(lines) <= MOST_LINES else [_cut(lines[0], width), *lines[1 - MOST_LINES :]]


def _cut(line: str, width: int) -> str:
    return f"{line[: width - 2].rstrip()} …"


def _newest(events: list[list[str]], most: int, width: int) -> list[str]:
    """Return the lines of the newest events that fit into `most` lines, the newest event last. An event that fits only
    in part has its first line alone.
    """
    shown: list[str] = []
    for event in reversed(events):
        left = most - len(shown)
        if left > 0:
            shown = (event if len(event) <= left else [_cut(event[0], width)]) + shown
    return shown


def _line(text: str, style: str = "") -> Text:
    """Return a line of the screen, which is cut at the right edge."""
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _processes(status: dict[str, Any], width: int, most: int) -> Table:
    """Return the table of processes for a terminal of this width, with at most `most` rows."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    shown = [index for index, name in enumerate(words.COLUMNS) if width >= WIDE or name in SHOWN_NARROW]
    for index in shown:
        table.add_column(words.COLUMNS[index], justify="left" if index < 2 else "right", no_wrap=True)
    shares = [each["saturation"] for each in status["processes"]]
    rows = list(words.rows(status))
    left_out = len(rows) - most + 1 if len(rows) > most else 0
    for index, row in enumerate(rows[: len(rows) - left_out]):
        share = shares[index] if index < len(shares) else None
        cells: list[Any] = [row[0], Text(row[1], style=level(share)), *row[2:]]
        table.add_row(*(cells[column] for column in shown))
    if left_out:
        table.add_row(f"and {left_out} more")
    return table
