"""What a person sees while `septet bench` runs: the table filling up, or plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from septet.lab.experiment import Cell, Experiment
from septet.lab.palette import style_of
from septet.lab.results import requests_per_s


class Display(Protocol):
    """Told what goes on."""

    def begin(self, cell: Cell) -> None: ...

    def hear(self, event: str, details: dict[str, Any]) -> None:
        """An event of the load generator in the present cell."""

    def end(self, cell: Cell, record: dict[str, Any]) -> None: ...


@contextmanager
def display(experiment: Experiment) -> Iterator[Display]:
    """The display that suits standard error."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines(len(experiment.cells()))
        return
    board = Board(experiment)
    # It vanishes at the end: the command prints the same table then, to standard output.
    with Live(get_renderable=board.picture, console=console, refresh_per_second=8, transient=True):
        yield board


class Lines:
    """One line for each cell, when it is done."""

    def __init__(self, cells: int) -> None:
        self._cells = cells
        self._done = 0

    def begin(self, cell: Cell) -> None:
        pass

    def hear(self, event: str, details: dict[str, Any]) -> None:
        pass

    def end(self, cell: Cell, record: dict[str, Any]) -> None:
        self._done += 1
        rate = requests_per_s(record)
        outcome = f"failed: {record['reason']}" if rate is None else f"{rate:,.0f} requests/s"
        if rate is not None and record["reason"]:
            outcome += f" ({record['reason']})"
        print(
            f"[{self._done}/{self._cells}] {cell.model}, {cell.users:,} users: {outcome}", file=sys.stderr, flush=True
        )


class Board:
    """The table of results so far, the present cell in it, and the time that remains."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._texts: dict[Cell, str] = {}
        self._measuring_since: float | None = None
        self._present: Cell | None = None
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeRemainingColumn(),
        )
        self._task = self._progress.add_task("", total=len(experiment.cells()))

    def begin(self, cell: Cell) -> None:
        self._present, self._measuring_since = cell, None
        self._texts[cell] = "[dim]starting[/]"
        self._progress.update(self._task, description=f"{cell.model}, {cell.users:,} users")

    def hear(self, event: str, details: dict[str, Any]) -> None:
        if self._present is None:
            return
        if event == "measuring":
            self._measuring_since = time.monotonic()
        elif event == "progress" and self._measuring_since is None:
            self._texts[self._present] = "[dim]warm-up[/]"
        elif event == "progress" and self._measuring_since is not None:
            seconds = max(time.monotonic() - self._measuring_since, 0.01)
            self._texts[self._present] = f"[dim]{details['answers'] / seconds:,.0f}[/]"

    def end(self, cell: Cell, record: dict[str, Any]) -> None:
        rate = requests_per_s(record)
        colour = {"valid": "bold", "failed": "red"}.get(record["verdict"], "yellow")
        self._texts[cell] = f"[{colour}]{'failed' if rate is None else format(rate, ',.0f')}[/]"
        self._progress.advance(self._task)

    def picture(self) -> Group:
        table = Table("requests/s", box=None, padding=(0, 2), header_style="dim")
        for users in self._experiment.users:
            table.add_column(f"{users:,} users", justify="right")
        for model in self._experiment.models:
            texts = [self._texts.get(Cell(model, users), "") for users in self._experiment.users]
            table.add_row(f"[{style_of(model).colour}]{model}[/]", *texts)
        return Group(table, self._progress)
