"""The parts that all pictures share: two widths, fonts, title and notes, SVG and PNG without a browser, dark colours.

A picture exists wide and narrow, because letters that are made for a desk cannot be read when they are shrunk to the
width of a phone. It is drawn for light paper; for dark mode a style sheet exchanges the colours, in files and on the
page alike, whether vl-convert or a browser has drawn the SVG.
"""

from __future__ import annotations

import csv
import io
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import vl_convert

from septet.lab.palette import OTHERS, PARTS, STYLES

INK, PALE, GRID = "#222222", "#666666", "#e4e4e4"
DARK = {INK: "#e8e8e8", PALE: "#a9a9a9", GRID: "#3a3a3a", "white": "#1e1e1e"}
FONT = "Roboto, Helvetica, Arial, sans-serif"
CAPTION_CHARACTERS = 130
SHADE_CLASS = "septet-chart"
HOTSPOT = "septet-hotspot"
"""The description of the invisible marks over points that show tooltips. `still` looks for it to remove these marks
from pictures that are not shown in a browser.
"""

Part = Any  # a chart or a channel: altair's own types change between its versions
Row = dict[str, Any]
Specification = dict[str, Any]
"""A picture, as data of Vega-Lite."""


@dataclass(frozen=True, slots=True)
class Form:
    """The size of a picture and of its letters, in pixels."""

    name: str
    width: int
    height: int
    letters: int
    """Size of the letters, in pixels."""
    character: float
    """The mean width of a character in names and numbers, in pixels."""
    columns: int
    """Number of small pictures side by side."""
    cross: int
    """The size in pixels of the cross that marks a point where all runs failed."""


WIDE = Form("wide", 860, 430, 13, 7.2, 2, 15)
NARROW = Form("narrow", 296, 330, 11, 6.1, 1, 9)


@dataclass(frozen=True, slots=True)
class Frame:
    """The text around a picture that is saved as a file. In report.html the page itself has that text."""

    title: str
    caption: Sequence[str]
    notes: Sequence[str]


class Paper:
    """Holds the data of all charts of a picture, by name. If the charts held them, altair would check and copy them
    again and again.
    """

    def __init__(self) -> None:
        self.datasets: dict[str, list[Row]] = {}

    def chart(self, rows: Sequence[Row]) -> Part:
        name = f"data-{len(self.datasets)}"
        self.datasets[name] = list(rows)
        return alt.Chart(alt.NamedData(name))


def layered(layers: Sequence[Part], width: float, height: float, **properties: Any) -> Specification:
    """Lay charts of altair over each other, to a part of a picture.

    From here on parts are data: altair's own charts of charts would copy all that is in them each time they are joined.
    They are not checked against the schema of Vega-Lite either, which takes a third of the time: tests do that.
    """
    drawn = [layer.to_dict(validate=False, context={"top_level": False}) for layer in layers]
    return {"layer": drawn, "width": width, "height": height, **properties}


def panel_title(text: Sequence[str], subtitle: Sequence[str], form: Form) -> Specification:
    """Return the title of one part of a picture, in lines, with the paler subtitle below it."""
    return {
        "text": list(text),
        "subtitle": list(subtitle),
        "subtitleColor": PALE,
        "subtitleFontSize": form.letters,
        "subtitlePadding": 3,
        "anchor": "start",
        "frame": "bounds",
        "fontSize": form.letters + 1,
        "fontWeight": 600,
        "color": INK,
        "offset": 8,
    }


def side_by_side(panels: Sequence[Specification], spacing: int) -> Specification:
    """Put parts of a picture side by side, `spacing` pixels apart. Each has scales of its own."""
    return {"hconcat": list(panels), "spacing": spacing}


def finished(
    paper: Paper, parts: Sequence[Specification], form: Form, shared: bool = True, spacing: int = 14
) -> Specification:
    """Join the parts to one picture, one below the other, `spacing` pixels apart.

    `shared`: True if the parts have a common horizontal scale.
    """
    axis = {
        "labelFontSize": form.letters,
        "titleFontSize": form.letters,
        "labelColor": INK,
        "titleColor": INK,
        "titleFontWeight": "normal",
        "gridColor": GRID,
        "tickColor": PALE,
        "domainColor": PALE,
    }
    return {
        "$schema": alt.SCHEMA_URL,
        "config": {"font": FONT, "background": "transparent", "padding": 4, "view": {"stroke": None}, "axis": axis},
        "vconcat": list(parts),
        "spacing": spacing,
        "resolve": {"scale": {"x": "shared" if shared else "independent"}},
        "datasets": paper.datasets,
    }


def still(picture: Specification) -> Specification:
    """Return the picture without its tooltips and zoom, which only work in a browser."""
    parts = [
        {**part, "layer": [layer for layer in part["layer"] if layer["mark"].get("description") != HOTSPOT]}
        if "layer" in part
        else part
        for part in picture["vconcat"]
    ]
    return {**{key: value for key, value in picture.items() if key != "params"}, "vconcat": parts}


def framed(picture: Specification, frame: Frame) -> Specification:
    """Return the picture as it is saved to a file: with title, caption and notes, on white."""
    return {
        **still(picture),
        "title": _title(frame),
        "vconcat": [*still(picture)["vconcat"], *([_notes(frame.notes)] if frame.notes else [])],
        "config": {**picture["config"], "background": "white", "padding": 24},
    }


def colour(channel: Any = alt.Color, field: str = "colour") -> Part:
    """Return an altair channel (by default the colour of marks) whose colours are the values of this field of the data,
    such as "#27297F", without a scale or a legend.
    """
    return channel(f"{field}:N", scale=None, legend=None)


def svg(picture: Specification) -> str:
    """Return the picture as SVG. It is drawn in light or dark colours, whichever the reader prefers, if the program
    that shows it supports that.
    """
    return _shaded(_plain(picture))


def inline_svg(picture: Specification, prefix: str) -> str:
    """Return the picture as SVG for report.html, whose style sheet has the dark colours. It is as wide as its column
    there.

    `prefix` makes the ids of clip paths unique, because ids are those of the whole page.
    """
    text = _plain(picture).replace('id="clip', f'id="{prefix}clip').replace('"url(#clip', f'"url(#{prefix}clip')
    return text.replace("<svg ", '<svg aria-hidden="true" ', 1)


def png(svg: str, scale: float) -> bytes:
    """Convert an SVG text to PNG, always in light colours. That takes a second of CPU time at a scale of 2."""
    return bytes(vl_convert.svg_to_png(svg, scale=scale))


def dark_rules(scope: str) -> str:
    """Return a style sheet that replaces the light colours by the dark ones in all elements within `scope`, which is a
    CSS selector.
    """
    shades = {**DARK, **{style.colour: style.dark for style in (*STYLES.values(), *OTHERS, *PARTS.values())}}
    return "".join(
        f"{scope} [{what}='{light}']{{{what}:{dark}}}" for light, dark in shades.items() for what in ("fill", "stroke")
    )


_GEOMETRY = re.compile(r' (?:d|transform|[xy][12])="[^"]*"')
_MORE_DECIMALS = re.compile(r"(\d\.\d)\d+")  # decimals that no picture needs, and that would be half of the file


def _plain(picture: Specification) -> str:
    text = vl_convert.vegalite_to_svg(picture)
    return _GEOMETRY.sub(lambda found: _MORE_DECIMALS.sub(r"\1", found[0]), text)


def _shaded(text: str) -> str:
    style = f"<style>@media (prefers-color-scheme: dark){{{dark_rules('.' + SHADE_CLASS)}}}</style>"
    head, _, rest = text.partition(">")
    head = head.replace('class="', f'class="{SHADE_CLASS} ', 1)
    return f"{head}>{style}{rest}"


def _title(frame: Frame) -> Specification:
    return {
        "text": frame.title,
        "subtitle": [part for line in frame.caption for part in textwrap.wrap(line, CAPTION_CHARACTERS)],
        "anchor": "start",
        "fontSize": 22,
        "subtitleFontSize": 13,
        "subtitleColor": PALE,
        "subtitleLineHeight": 19,
        "subtitlePadding": 8,
        "color": INK,
        "offset": 22,
    }


def _notes(notes: Sequence[str]) -> Specification:
    lines = [line for note in notes for line in textwrap.wrap(note, CAPTION_CHARACTERS, subsequent_indent="    ")]
    return {
        "data": {"values": [{"place": place, "text": line} for place, line in enumerate(lines)]},
        "mark": {"type": "text", "align": "left", "fontSize": 12, "color": PALE, "aria": False},
        "encoding": {
            "x": {"value": 0},
            "y": {"field": "place", "type": "ordinal", "axis": None},
            "text": {"field": "text", "type": "nominal"},
        },
        "width": WIDE.width,
        "height": 18 * len(lines),
    }


Table = Sequence[Sequence[str]]
"""Rows of cells; the first row has the headings, the first cell of each row is a name."""


Data = Sequence[Sequence[str | float | None]]
"""The figures of a picture as rows of values, not rounded. The first row has the headings, with units. A value is None
if it is not known.
"""


def as_csv(data: Data) -> str:
    """Return the figures of a picture as CSV (RFC 4180, but with newlines as on Unix)."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(data)
    return text.getvalue()


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that is not drawn yet: `draw` draws it in the size of a form.

    `name` is the name of its files, `short` its name among the pictures of one section, `shows` its description for
    readers who cannot see it. `data` are its figures for other programs: rows of values, the first with the headings.
    """

    name: str
    short: str
    title: str
    shows: str
    draw: Callable[[Form], Specification]
    data: Data


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report: pictures of one subject, of which the page shows one at a time, and a table of their
    figures.
    """

    title: str
    remark: str
    pictures: Sequence[Picture]
    table: Table
    about: str = ""
    """What is said below the title, about the page that was measured; "" in a report about one page."""
