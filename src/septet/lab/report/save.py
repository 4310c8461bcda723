"""Writes the report: report.html, the picture of the requests per second beside it, and all other pictures in the
directory charts/.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from septet.lab import profiles
from septet.lab.caveats import caveats
from septet.lab.pairs import Standings
from septet.lab.ranking import rankings
from septet.lab.report import bars, distribution, drawing, glance, over_users, where
from septet.lab.report.about import captions, heading
from septet.lab.report.drawing import WIDE, Frame, Picture, Section
from septet.lab.report.findings import focus
from septet.lab.report.glance import Page
from septet.lab.report.page import page, read_traces, specifications
from septet.lab.results import Results
from septet.lab.summary import Summary

PAGE = "report.html"
CHARTS = "charts"
FIRST = "requests-per-second"
"""The name of the picture that is written beside report.html if the report is about one measured page. All other
pictures are written to the directory `charts`.
"""


def save(
    results: Results,
    cells: Sequence[Summary],
    directory: Path,
    users: int | None = None,
    trace: Path | None = None,
) -> list[Path]:
    """Draw all pictures and report.html into `directory`. Returns the paths that are shown to the user: first
    report.html, then the first picture and the directory of the others.

    `cells` are the summaries of the results, of at least one run. `users` is the number of users at which servers or
    process models are shown side by side (None: that of `findings.focus`). `trace` is the directory whose trace/ is
    shown, too, if it exists (None: `directory`).
    """
    return save_pages([Page(results, cells)], directory, users, trace)


def save_pages(
    pages: Sequence[Page], directory: Path, users: int | None = None, trace: Path | None = None
) -> list[Path]:
    """Draw the results of one or more pages, measured one after the other, into one report in `directory`. Returns the
    paths that are shown to the user: first report.html, then the first picture and the directory of the others.

    `users` is the number of users at which servers or process models are shown side by side (None: that of
    `findings.focus`). `trace` is the directory whose trace/ is shown, too, if it exists (None: `directory`).
    """
    own = [(each, section) for each in pages for section in sections_of(each, users, len(pages) > 1)]
    found = [glance.section(pages), *(section for _, section in own)]
    first = FIRST if len(pages) == 1 else glance.NAME
    (directory / CHARTS).mkdir(exist_ok=True)
    drawn = specifications(found)
    for about, section in [(pages, found[0]), *(([each], section) for each, section in own)]:
        lines = captions((each.results, each.cells) for each in about)
        notes = [note for each in about for note in caveats(each.results, each.cells, "hollow")]
        for picture in section.pictures:
            # Caveats are about figures of the runs, and not about ranks or where the time goes.
            apart = picture.name == glance.NAME or picture.name.endswith(where.NAME)
            frame = Frame(_title(picture), lines, [section.remark] if apart else notes)
            svg = drawing.svg(drawing.framed(drawn[picture.name][WIDE.name], frame))
            _save(picture, svg, directory if picture.name == first else directory / CHARTS, picture.name == first)
    path = directory / PAGE
    path.write_text(page(pages, found, drawn, read_traces(trace or directory), users))
    return [path, *(directory / f"{first}.{kind}" for kind in ("svg", "png")), directory / CHARTS]


def sections(results: Results, cells: Sequence[Summary], users: int | None = None) -> list[Section]:
    """Return the sections of the report about one measured page of the application, in their order there. `users` is
    the number of users at which servers or process models are shown side by side (None: that of `findings.focus`).
    """
    over = over_users.sections(cells, results)
    at = focus(cells) if users is None else users
    spread = distribution.section(cells, at)
    time = where.section(results, cells)
    first = [*over[:1], bars.section(_ranked(results, cells, at), at), *([time] if time else [])]
    return [*first, *over[1:], *([spread] if spread else [])]


def sections_of(page: Page, users: int | None, several: bool) -> list[Section]:
    """Return the sections of the report about one measured page of the application. If there are `several` pages, the
    page's short name is put before the titles of its sections and the names of its pictures, so that these differ.
    `users` is the number of users at which servers or process models are shown side by side.
    """
    found = sections(page.results, page.cells, users)
    if not several:
        return found
    preset = profiles.profile(page.results["experiment"]["profile"])
    return [
        replace(
            section,
            title=f"{preset.short}: {section.title}",
            about=heading(page.title, page.results),
            pictures=[replace(each, name=f"{preset.short.lower()}-{each.name}") for each in section.pictures],
        )
        for section in found
    ]


def _ranked(results: Results, cells: Sequence[Summary], users: int) -> list[Summary]:
    """Return the summaries of the contenders (servers or process models) at this number of users. They are ordered as
    comparisons in pairs rank their requests per second, the fastest first; those that are not ranked follow.
    """
    order = rankings(results, cells).get(users, Standings(())).order
    here = [cell for cell in cells if cell.users == users]
    return sorted(here, key=lambda cell: order.index(cell.label) if cell.label in order else len(order))


def _save(picture: Picture, svg: str, directory: Path, first: bool) -> None:
    (directory / f"{picture.name}.svg").write_text(svg)
    (directory / f"{picture.name}.csv").write_text(drawing.as_csv(picture.data))
    (directory / f"{picture.name}.png").write_bytes(drawing.png(svg, 2 if first else 1.5))


def _title(picture: Picture) -> str:
    return "Requests per second under each process model" if picture.name == FIRST else picture.title
