"""`septet top`: the console in a terminal, with the library rich (extra `metrics`)."""

from collections import deque
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from septet.console import words

BLOCKS = "▁▂▃▄▅▆▇█"
POINTS = 60


def sparkline(values: "deque[float]", least: float) -> str:
    highest = max(least, *values)
    return "".join(BLOCKS[min(len(BLOCKS) - 1, int(value / highest * len(BLOCKS)))] for value in values)


def level(share: float | None) -> str:
    """Return the style in which a busy share is shown."""
    return "" if share is None or share < 0.7 else "yellow" if share < 0.9 else "red"


class Top:
    """A display of the status that is drawn again and again, on the terminal's alternate screen if it has one."""

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
        """Return the whole screen."""
        parts: list[Any] = [Text(words.headline(status), style="bold"), self._figures(status), _processes(status)]
        if failed := words.problem(status):
            parts.insert(1, Text(failed, style="bold red"))
        if status["slowest"]:
            parts += [Text("slowest of the last five minutes", style="bold"), Text("\n".join(words.slow(status)))]
        if status["events"]:
            parts += [Text("events", style="bold"), *map(Text, words.events(status, 4))]
        return Group(*parts)

    def _figures(self, status: dict[str, Any]) -> Table:
        table = Table.grid(padding=(0, 2))
        charts = {"requests": (self._rates, 10.0), "saturation": (self._shares, 100.0)}
        for name, value in words.figures(status):
            values, least = charts.get(name, (None, 0.0))
            chart = sparkline(values, least) if values else ""
            style = level(status["saturation"]) if name == "saturation" else ""
            table.add_row(Text(name, style="dim"), Text(value, style=style), Text(chart, style="cyan"))
        return table


def _processes(status: dict[str, Any]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for index, column in enumerate(words.COLUMNS):
        table.add_column(column, justify="left" if index < 2 else "right", no_wrap=True)
    shares = [each["saturation"] for each in status["processes"]]
    for index, row in enumerate(words.rows(status)):
        share = shares[index] if index < len(shares) else None
        table.add_row(row[0], Text(row[1], style=level(share)), *row[2:])
    return table
