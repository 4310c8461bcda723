"""What a person sees while `septet advise` works: every step with its reason, and every trial under it.

On a terminal a line at the bottom tells what is being tried and how much of the time has gone; elsewhere there are
plain lines. Both go to standard error, for the answer is what standard output is for.
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
from septet.lab.advise.workload_profile import Nature
from septet.lab.palette import style_of

MARKS = {
    Outcome.HELD: ("held", "green"),
    Outcome.BROKEN: ("not held", "red"),
    Outcome.LIMITED: ("client-limited", "yellow"),
    Outcome.DISTURBED: ("disturbed", "yellow"),
}


@contextmanager
def display(budget_s: float) -> Iterator[Told]:
    """The display that suits standard error."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        yield Told(console)
        return
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, refresh_per_second=2) as progress:
        yield Told(console, progress, budget_s)


class Told:
    """A `course.Listener`."""

    def __init__(self, console: Console, progress: Progress | None = None, budget_s: float = 0.0) -> None:
        self._console = console
        self._progress = progress
        self._task = progress.add_task("", total=budget_s) if progress is not None else None
        self._begun = time.monotonic()

    def say(self, text: str) -> None:
        """A line of its own."""
        self._console.print(escape(text))

    def nature(self, found: Nature) -> None:
        self.say(found.told())

    def step(self, step: Step) -> None:
        colour = style_of(step.candidate.model).colour
        title = {Look.GAUGE: "", Look.KNEE: ": its knee", Look.CHECK: ": checked"}[step.look]
        self._console.print(f"[bold {colour}]{escape(step.candidate.label)}[/]{title} - {escape(step.reason)}")
        self._show(step.candidate.label)

    def gauged(self, finding: Finding) -> None:
        gauge = finding.gauge
        assert gauge is not None, "it was gauged just now"
        cpu = f"{gauge.cpu_s * 1e6:,.0f} µs of CPU a request"
        self._console.print(f"  saturated: {gauge.answered_per_s:,.0f}/s, {cpu}{_doubt(gauge.verdict)}")

    def tried(self, rate: float, how: Outcome, why: str) -> None:
        word, colour = MARKS[how]
        self._console.print(f"  {rate:>9,.0f}/s  [{colour}]{word}[/]: {escape(why)}")
        self._show(None)

    def found(self, finding: Finding) -> None:
        bracket, edge = finding.bracket, finding.edge
        assert bracket is not None, "its knee was found just now"
        if bracket.refuted:
            self._console.print("  not so: a fresh server held neither that nor less, so it is not counted")
            return
        if not bracket.low:
            self._console.print("  holds the target at no rate that was tried")
            return
        high = "" if bracket.high is None else f", not {bracket.high:,.0f}"
        least = "at least " if bracket.at_least else ""
        p99 = f" with p99 {milliseconds(edge.p99_s)}" if edge is not None else ""
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
