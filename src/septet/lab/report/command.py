"""The verb `report` of the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from septet.errors import Failed, UsageError
from septet.lab import output, profiles, results
from septet.lab.arguments import COUNT, DIRECTORY

if TYPE_CHECKING:
    from septet.lab.report.glance import Page


@click.command(
    epilog="""\b
Examples:
  septet report bench-2026-11-23-081500
  septet report results.json --at 1000 --out elsewhere""",
)
@click.argument("source", metavar="RESULTS", type=click.Path(exists=True, path_type=Path))
@click.option("--at", "users", type=COUNT, help="Number of users for the side-by-side view.")
@click.option("--out", type=DIRECTORY, help="Directory.  [default: that of RESULTS]")
def report(source: Path, users: int | None, out: Path | None) -> int:
    """Draw the results of bench again, finished or not.

    RESULTS is a results.json, the directory that holds it, or the directory of a bench that measured two pages. Writes
    report.html, the first chart, and all others below charts/. A trace below trace/, as `septet bench --trace` writes
    it, is shown in the page.
    """
    from septet.lab.report.save import save_pages

    pages, place = pages_of(source)
    known = sorted({run["users"] for page in pages for run in page.results["runs"]})
    if users is not None and len(pages) > 1:
        raise UsageError("--at: two pages have numbers of users of their own; name the directory of one of them")
    if users is not None and users not in known:
        raise UsageError(f"--at: {users:,} is not among the numbers of users there: {', '.join(map(str, known))}")
    directory = place if out is None else out
    output.make(directory)
    click.echo(output.DRAWING, err=True)
    try:
        drawn = save_pages(pages, directory, users, trace=place)
    except OSError as error:
        raise output.unwritable(directory, error) from None
    click.echo("\n".join(map(str, drawn)))
    return 0


def pages_of(source: Path) -> tuple[list[Page], Path]:
    """Return the pages of the application that were measured (one, or the two of `--profile two-pages`), with their
    results from `source`, a results.json or its directory. The path is that of the directory that may have a trace.

    Raises Failed if there are no results.
    """
    from septet.lab.report.glance import Page
    from septet.lab.summary import summaries

    path = source / results.NAME if source.is_dir() else source
    paths = [path]
    if source.is_dir() and not path.exists():
        found = [source / name / results.NAME for name in reversed(profiles.PAGES)]
        paths = [each for each in found if each.exists()] or paths
    pages = []
    for each in paths:
        recorded = results.read(each)
        if not recorded["runs"]:
            raise Failed(f"{each} holds no runs")
        title = profiles.title(recorded["experiment"]["profile"]) if len(paths) > 1 else ""
        pages.append(Page(recorded, summaries(recorded), title))
    return pages, path.parent
