"""Writes the report: the page, the picture of the rates beside it, and every other picture below charts/."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from septet.lab.caveats import caveats
from septet.lab.pairs import Standings
from septet.lab.ranking import rankings
from septet.lab.report import bars, distribution, drawing, over_users
from septet.lab.report.drawing import WIDE, Frame, Picture, Section
from septet.lab.report.findings import focus
from septet.lab.report.page import caption, page, read_traces, specifications
from septet.lab.results import Results
from septet.lab.summary import Summary

PAGE = "report.html"
CHARTS = "charts"
FIRST = "requests-per-second"
"""The name of the picture that is saved beside the page, and not below charts/."""


def save(
    results: Results,
    cells: Sequence[Summary],
    directory: Path,
    users: int | None = None,
    trace: Path | None = None,
) -> list[Path]:
    """Draw all pictures and the page into `directory`; returns the paths that a user may open, the page first.

    `cells` are the summaries of the results, of at least one run. `users` is the number at which contenders are shown
    side by side (None: `findings.focus`), `trace` the directory that may hold a trace/ (None: `directory`).
    """
    found = sections(results, cells, users)
    (directory / CHARTS).mkdir(exist_ok=True)
    drawn = specifications(found)
    notes = caveats(results, cells, "hollow")
    for section in found:
        for picture in section.pictures:
            frame = Frame(_title(picture), caption(results), notes)
            svg = drawing.svg(drawing.framed(drawn[picture.name][WIDE.name], frame))
            _save(picture, svg, directory if picture.name == FIRST else directory / CHARTS)
    path = directory / PAGE
    path.write_text(page(results, cells, found, drawn, read_traces(trace or directory)))
    return [path, *(directory / f"{FIRST}.{kind}" for kind in ("svg", "png")), directory / CHARTS]


def sections(results: Results, cells: Sequence[Summary], users: int | None = None) -> list[Section]:
    """Return the sections of the report, in the order of the page."""
    over = over_users.sections(cells, results)
    at = focus(cells) if users is None else users
    spread = distribution.section(cells, at)
    return [*over[:1], bars.section(_ranked(results, cells, at), at), *over[1:], *([spread] if spread else [])]


def _ranked(results: Results, cells: Sequence[Summary], users: int) -> list[Summary]:
    """Return the cells at this number of users, the fastest first by comparison in pairs; those that are not ranked
    follow."""
    order = rankings(results, cells).get(users, Standings(())).order
    here = [cell for cell in cells if cell.users == users]
    return sorted(here, key=lambda cell: order.index(cell.label) if cell.label in order else len(order))


def _save(picture: Picture, svg: str, directory: Path) -> None:
    (directory / f"{picture.name}.svg").write_text(svg)
    (directory / f"{picture.name}.png").write_bytes(drawing.png(svg, 2 if picture.name == FIRST else 1.5))


def _title(picture: Picture) -> str:
    return "Requests per second under each process model" if picture.name == FIRST else picture.title
