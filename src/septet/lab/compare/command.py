"""The verb `compare` of the command line."""

from __future__ import annotations

from pathlib import Path

import click

from septet.errors import Failed, UsageError
from septet.lab import results
from septet.lab.compare import comparison_text
from septet.lab.compare.comparison import BELIEVED, WORSE
from septet.lab.compare.comparison import compare as compared
from septet.lab.compare.differences import differences
from septet.lab.metrics import COMPARED
from septet.lab.results import Results

DEFAULT = [name for name, metric in COMPARED.items() if metric.compare_by_default]
FORMATS = {"table": comparison_text.text, "markdown": comparison_text.markdown, "json": comparison_text.as_json}
PATH = click.Path(path_type=Path)


@click.command(
    epilog="""\b
Examples:
  septet compare bench-before bench-after
  septet compare bench-before bench-after --metric CPU/request --tolerance 2
  septet compare main.json branch.json --format markdown >> "$GITHUB_STEP_SUMMARY"

Exit status: 0; 1 when something got worse; 2 when there was nothing to compare. A figure is worse when its interval
says so and it changed by more than the tolerance; so is a cell that failed or had errors in B alone. Cells that are
not valid on both sides, or ran only once, are shown and not judged.""",
)
@click.argument("a", type=PATH)
@click.argument("b", type=PATH)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    type=click.Choice(list(COMPARED), case_sensitive=False),
    help=f"Metric to compare; may be repeated.  [default: {', '.join(DEFAULT)}]",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 100),
    default=5.0,
    show_default=True,
    metavar="PERCENT",
    help="A smaller change counts as none.",
)
@click.option("--judge-noisy", is_flag=True, help="Also judge cells whose verdict is noisy.")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMATS)),
    default="table",
    show_default=True,
    help="Of the output.",
)
def compare(a: Path, b: Path, metrics: tuple[str, ...], tolerance: float, judge_noisy: bool, form: str) -> int:
    """Compare two results of `septet bench`, for each contender at each number of users.

    A and B are results.json, or the directories that hold them. Shows how many times as large each figure of B is as
    the one of A, with an interval from the repeats. Results over HTTP/2 are not compared with results over HTTP/1.1.
    """
    before, after = _read(a), _read(b)
    _check_protocols(before, after)
    believed = BELIEVED | {"noisy"} if judge_noisy else BELIEVED
    found = compared(before, after, tuple(dict.fromkeys(metrics or DEFAULT)), tolerance / 100, believed)
    if not found.rows:
        raise UsageError(f"{a} and {b} have no cell in common")
    click.echo(FORMATS[form](found, comparison_text.heading(before, after), differences(before, after)))
    worse = len(list(found.with_outcome(WORSE)))
    if worse:
        raise Failed(f"{'1 figure' if worse == 1 else f'{worse} figures'} got worse beyond noise")
    return 0


def _check_protocols(a: Results, b: Results) -> None:
    """Raise UsageError if only one of the results A and B was measured over HTTP/2, since such results cannot be
    compared with each other.
    """
    if bool(a["experiment"].get("streams")) != bool(b["experiment"].get("streams")):
        raise UsageError(
            f"A was measured over {results.spoken(a)} and B over {results.spoken(b)}, which cannot be compared: a user "
            "is a stream in the one and a connection in the other"
        )


def _read(path: Path) -> Results:
    try:
        return results.read(path / results.NAME if path.is_dir() else path)
    except Failed as failure:
        raise UsageError(str(failure)) from None  # status 1 means that something got worse
