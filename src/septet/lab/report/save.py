"""From results to files: the seed's picture, the page, and every picture by itself."""

from __future__ import annotations

from pathlib import Path

from septet.lab.caveats import remarks
from septet.lab.report import bars, distribution, drawing, over_users
from septet.lab.report import page as pages
from septet.lab.report.drawing import WIDE, Frame, Picture, Section
from septet.lab.report.findings import focus
from septet.lab.report.metrics import RATE
from septet.lab.report.page import caption, page, specifications
from septet.lab.results import Results
from septet.lab.summary import summaries

PAGE = "report.html"
CHARTS = "charts"


def save(results: Results, directory: Path, users: int | None = None, trace: Path | None = None) -> list[Path]:
    """Draw everything into `directory`; returns the paths of what to open, the page first.

    `users` is the number at which contenders are laid side by side (default: where there is most to see), `trace` the
    directory that may hold a trace (default: `directory`). There must be at least one run.
    """
    found = sections(results, users)
    (directory / CHARTS).mkdir(exist_ok=True)
    drawn = specifications(found)
    notes = remarks(results, "hollow")
    for section in found:
        for picture in section.pictures:
            frame = Frame(_title(picture), caption(results), notes)
            svg = drawing.svg(drawing.framed(drawn[picture.name][WIDE.name], frame))
            _save(picture, svg, directory if picture.name == RATE.name else directory / CHARTS)
    path = directory / PAGE
    path.write_text(page(results, found, drawn, pages.read_traces(trace or directory)))
    return [path, *(directory / f"{RATE.name}.{kind}" for kind in ("svg", "png")), directory / CHARTS]


def sections(results: Results, users: int | None = None) -> list[Section]:
    """What is drawn, in the order of the page."""
    cells = summaries(results)
    over = over_users.sections(cells, results)
    at = focus(cells) if users is None else users
    spread = distribution.section(cells, at)
    return [*over[:1], bars.section(cells, at), *over[1:], *([spread] if spread else [])]


def _save(picture: Picture, svg: str, directory: Path) -> None:
    (directory / f"{picture.name}.svg").write_text(svg)
    (directory / f"{picture.name}.png").write_bytes(drawing.png(svg, 2 if picture.name == RATE.name else 1.5))


def _title(picture: Picture) -> str:
    return "Requests per second under each process model" if picture.name == RATE.name else picture.title
