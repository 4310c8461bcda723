"""The verb `report` of the command line."""

from __future__ import annotations

from pathlib import Path

import click

from septet.errors import Failed, UsageError
from septet.lab import output, results
from septet.lab.arguments import COUNT, DIRECTORY


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

    RESULTS is a results.json or its directory. Writes report.html, the chart of requests per second, and all others
    below charts/. A trace below trace/, as `septet bench --trace` writes it, is shown in the page.
    """
    from septet.lab.report.save import save
    from septet.lab.summary import summaries

    path = source / results.NAME if source.is_dir() else source
    recorded = results.read(path)
    if not recorded["runs"]:
        raise Failed(f"{path} holds no runs")
    known = sorted({run["users"] for run in recorded["runs"]})
    if users is not None and users not in known:
        raise UsageError(f"--at: {users:,} is not among the numbers of users there: {', '.join(map(str, known))}")
    directory = path.parent if out is None else out
    output.make(directory)
    click.echo(output.DRAWING, err=True)
    try:
        drawn = save(recorded, summaries(recorded), directory, users, trace=path.parent)
    except OSError as error:
        raise output.unwritable(directory, error) from None
    click.echo("\n".join(map(str, drawn)))
    return 0
