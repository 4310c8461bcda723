"""Shows the progress of `septet advise`: every step with its reason, and every trial under it.

On a terminal a line at the bottom shows what is being tried and how much of the time is used; without a terminal there
are plain lines. Both go to standard error, because standard output is for the advice.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from septet.lab.advise.candidates import Finding, Look, Step
from septet.lab.advise.capacity_search import Outcome
from septet.lab.advise.trial import milliseconds
from septet.lab.advise.workload_profile import WorkloadProfile
from septet.lab.palette import style_of

MARKS = {
    Outcome.HELD: ("held", "green"),
    Outcome.BROKEN: ("not held", "red"),
    Outcome.LIMITED: ("client-limited", "yellow"),
    Outcome.DISTURBED: ("disturbed", "yellow"),
}


@contextmanager
def display(budget_s: float) -> Iterator[ProgressDisplay]:
    """Context manager: gives a display on standard error, with a progress line if that is a terminal. budget_s: seconds
    that the search may take."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        yield ProgressDisplay(console)
        return
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, refresh_per_second=2) as progress:
        yield ProgressDisplay(console, progress, budget_s)


class ProgressDisplay:
    """Prints the events of a search (`search_run.SearchObserver`)."""

    def __init__(self, console: Console, progress: Progress | None = None, budget_s: float = 0.0) -> None:
        self._console = console
        self._progress = progress
        self._task = progress.add_task("", total=budget_s) if progress is not None else None
        self._begun = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(escape(text))

    def profile(self, found: WorkloadProfile) -> None:
        self.say(found.describe())

    def step(self, step: Step) -> None:
        colour = style_of(step.candidate.model).colour
        title = {Look.SATURATION: "", Look.CAPACITY: ": capacity", Look.CHECK: ": check"}[step.look]
        self._console.print(f"[bold {colour}]{escape(step.candidate.label)}[/]{title} - {escape(step.reason)}")
        self._show(step.candidate.label)

    def saturated(self, finding: Finding) -> None:
        saturation = finding.saturation
        assert saturation is not None, "it was saturated just now"
        cpu = f"{saturation.cpu_s * 1e6:,.0f} µs of CPU a request"
        self._console.print(f"  saturated: {saturation.answered_per_s:,.0f}/s, {cpu}{_doubt(saturation.verdict)}")

    def tried(self, rate: float, how: Outcome, why: str) -> None:
        word, colour = MARKS[how]
        self._console.print(f"  {rate:>9,.0f}/s  [{colour}]{word}[/]: {escape(why)}")
        self._show(None)

    def found(self, finding: Finding) -> None:
        bracket, highest_held = finding.bracket, finding.highest_held
        assert bracket is not None, "its capacity was found just now"
        if bracket.refuted:
            self._console.print("  refuted: a fresh server held neither that rate nor a lower one: not counted")
            return
        if not bracket.low:
            self._console.print("  holds the target at no rate that was tried")
            return
        high = "" if bracket.high is None or bracket.is_lower_bound else f", not {bracket.high:,.0f}"
        least = "at least " if bracket.is_lower_bound else ""
        p99 = f" with p99 {milliseconds(highest_held.p99_s)}" if highest_held is not None else ""
        self._console.print(f"  holds {least}{bracket.low:,.0f}/s{p99}{high}")

    def dropped(self, finding: Finding, why: str) -> None:
        self._console.print(f"  does not work: {escape(why)}")

    def _show(self, label: str | None) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=time.monotonic() - self._begun)
            if label is not None:
                self._progress.update(self._task, description=escape(label))


def _doubt(verdict: str) -> str:
    return "" if verdict == "valid" else f" ({verdict})"
