"""Shows the progress of `septet bench`: the table as it fills, or plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from septet.lab.experiment import Cell, Experiment, Run
from septet.lab.palette import style_of

BLOCKS = "▁▂▃▄▅▆▇█"


class Display(Protocol):
    """Receives the events of an experiment."""

    def begin(self, run: Run) -> None: ...

    def receive(self, event: str, details: dict[str, Any]) -> None:
        """Show an event of the load generator ("measuring", "progress", ...) in the run that is under way."""

    def end(self, run: Run, record: dict[str, Any]) -> None: ...

    def tell(self, state: str) -> None:
        """Show `state`, a sentence that says how many pairs of neighbours in the ranking are decided, and which are
        still open; see `ranking.state`.
        """


@contextmanager
def display(experiment: Experiment, runs: int | None) -> Iterator[Display]:
    """Context manager: gives a display on standard error, a table on a terminal and lines elsewhere. runs: number of
    runs to come; None: not known."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines(runs)
        return
    board = Board(experiment, runs)
    # The table is removed at the end, because the command then prints it to standard output.
    with Live(get_renderable=board.picture, console=console, refresh_per_second=8, transient=True):
        yield board


class Lines:
    """The display without a terminal: prints one line for each run when it ends."""

    def __init__(self, runs: int | None) -> None:
        self._of = "" if runs is None else f"/{runs}"
        self._done = 0

    def begin(self, run: Run) -> None:
        pass

    def receive(self, event: str, details: dict[str, Any]) -> None:
        pass

    def end(self, run: Run, record: dict[str, Any]) -> None:
        self._done += 1
        rate = _rate(record)
        outcome = f"failed: {record['reason']}" if rate is None else f"{rate:,.0f} requests/s"
        if rate is not None and record["reason"]:  # with a limit in time there are many short visits
            outcome += f" ({record['verdict']}: {record['reason']})" if self._of else f" ({record['verdict']})"
        where = f"[{self._done}{self._of}] {run.cell.label}, {run.cell.users:,} users"
        print(f"{where}: {outcome}", file=sys.stderr, flush=True)

    def tell(self, state: str) -> None:
        print(state, file=sys.stderr, flush=True)


class Board:
    """Shows, on a terminal: a table of the medians so far with a small curve for each contender, the run under way, and
    the remaining time."""

    def __init__(self, experiment: Experiment, runs: int | None) -> None:
        self._experiment = experiment
        self._labels = list(dict.fromkeys((cell.model, cell.label) for cell in experiment.cells()))
        self._rates: dict[tuple[str, int], list[float]] = {}
        self._texts: dict[tuple[str, int], str] = {}
        self._measuring_since: float | None = None
        self._present: Cell | None = None
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}" + " s" * (runs is None)),
            TimeRemainingColumn(),
        )
        self._state = ""
        self._begun = time.monotonic()
        self._in_time = runs is None
        self._task = self._progress.add_task("", total=experiment.for_s if runs is None else runs)

    def begin(self, run: Run) -> None:
        self._present, self._measuring_since = run.cell, None
        self._show("[dim]starting[/]")
        repeat = f", repeat {run.repeat}" if self._experiment.repeats > 1 or self._in_time else ""
        self._progress.update(self._task, description=f"{run.cell.label}, {run.cell.users:,} users{repeat}")

    def receive(self, event: str, details: dict[str, Any]) -> None:
        if event == "measuring":
            self._measuring_since = time.monotonic()
        elif event == "progress" and self._measuring_since is None:
            self._show("[dim]warm-up[/]")
        elif event == "progress" and self._measuring_since is not None:
            seconds = max(time.monotonic() - self._measuring_since, 0.01)
            self._show(f"[dim]{details['answers'] / seconds:,.0f}[/]")

    def end(self, run: Run, record: dict[str, Any]) -> None:
        rate = _rate(record)
        key = (run.cell.label, run.cell.users)
        if rate is not None:
            self._rates.setdefault(key, []).append(rate)
        colour = {"valid": "bold", "failed": "red"}.get(record["verdict"], "yellow")
        rates = self._rates.get(key)
        self._show(f"[{colour}]{format(median(rates), ',.0f') if rates else 'failed'}[/]")
        if not self._in_time:
            self._progress.advance(self._task)

    def tell(self, state: str) -> None:
        self._state = state

    def _show(self, text: str) -> None:
        if self._present is not None:
            self._texts[self._present.label, self._present.users] = text

    def picture(self) -> Group:
        table = Table("requests/s", box=None, padding=(0, 2), header_style="dim")
        for users in self._experiment.users:
            table.add_column(f"{users:,} users", justify="right")
        table.add_column("")
        top = max((median(rates) for rates in self._rates.values()), default=1.0)
        for model, label in self._labels:
            texts = [self._texts.get((label, users), "") for users in self._experiment.users]
            colour = style_of(model).middle
            table.add_row(f"[{colour}]{label}[/]", *texts, f"[{colour}]{self._curve(label, top)}[/]")
        if self._in_time:
            self._progress.update(self._task, completed=time.monotonic() - self._begun)
        return Group(table, self._progress, *([Text(self._state, style="dim")] if self._state else []))

    def _curve(self, label: str, top: float) -> str:
        """Return the median rates so far of the contender with this label, as a row of block characters, one for each
        number of users. The highest block stands for `top` requests/s.
        """
        points = [self._rates.get((label, users)) for users in self._experiment.users]
        return "".join(
            BLOCKS[min(len(BLOCKS) - 1, int(median(rates) / top * len(BLOCKS)))] if rates else " " for rates in points
        )


def _rate(record: dict[str, Any]) -> float | None:
    return None if record["verdict"] == "failed" else float(record["load"]["requests_per_s"])
