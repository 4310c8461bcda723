"""Draws lines over an axis: one for each contender (a process model or server in one setting), with its name at the
end. A point is hollow if its verdict is not "valid", so that its figure is not to be relied on.

Where all runs failed there is no point on the line, not even one at zero, but a mark in a strip below the axis. The
axis is longer than the lines, so that names fit at their ends, and stay in the picture when it is zoomed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import altair as alt

from septet.lab.palette import style_of
from septet.lab.report.drawing import HOTSPOT, INK, Form, Paper, Part, Row, Specification, colour, finished, layered
from septet.lab.report.scales import Scale, spread

LEADER = 26
"""Pixels between the end of a line and its name. A thin rule leads to the name, which may be moved up or down."""
ROOM_MAX = 0.5
"""Largest share of a picture's width that is kept for the names at the ends of the lines."""
MANY_POINTS = 60
STRIP_LINE = 20
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
"""Shapes of the points. A process model may have several lines, one for each setting of its options: the first has the
first shape, the second the second one, and so on.
"""
ZOOMED = "lines"
ZOOM = {
    "name": "zoom",
    "select": {"type": "interval", "zoom": "wheel![event.ctrlKey]"},
    "bind": "scales",
    "views": [ZOOMED],
}
"""A parameter of Vega-Lite that lets a reader zoom in a browser by the wheel with Ctrl, which is also how browsers
report a pinch. The wheel alone scrolls the page. It is one of the whole picture, and names the layer that it is about.
"""


@dataclass(frozen=True, slots=True)
class Point:
    """One point of the line `label`: the figure `y` at the place `x` of the horizontal axis; `y` is None if the runs
    there failed. `low` and `high` are the ends of its interval. `words` are the texts of its tooltip, one for each of
    `Curves.headings`.
    """

    label: str
    model: str
    x: float
    y: float | None
    low: float | None = None
    high: float | None = None
    valid: bool = True
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Curves:
    """What a picture of lines over an axis shows: its points, its two axes and its texts."""

    points: Sequence[Point]
    x: Callable[[Form, float], Scale]
    """A function that makes the horizontal scale from the size of the picture (a Form) and the number of pixels to be
    kept for names at its right end.
    """
    y: Scale
    x_title: str
    y_title: str
    headings: Sequence[str]
    """The headings of a point's tooltip: the names of its texts `Point.words`, in the same order."""
    y_format: str = ",.10~g"
    x_format: str = ",d"
    x_words: str | None = None
    """A Vega expression that makes the texts of the numbers at the horizontal axis. None: the numbers are formatted by
    `x_format`.
    """
    with_points: bool = True
    """True if each measured value has a point on its line; False if lines alone are drawn."""
    faint: Sequence[Point] = field(default_factory=tuple)
    """Points of further lines, which are drawn faintly and without names, for comparison."""


def draw(curves: Curves, form: Form) -> Specification:
    """Draw the lines in the size of `form`, with tooltips. If runs failed, a strip below the lines has a mark for each
    point that is missing for that reason.
    """
    paper = Paper()
    labels = list(dict.fromkeys(point.label for point in curves.points))
    room = min(LEADER + 8 + max(map(len, labels), default=0) * form.character, ROOM_MAX * form.width)
    scale = curves.x(form, room)
    looks = _looks(curves.points)
    rows = [_row(point, looks) for point in curves.points]
    parts = [_lines(paper, curves, rows, scale, form)]
    if failed := [row for row in rows if row["y"] is None]:
        parts.append(_strip(paper, failed, list(looks), scale, form))
    return {**finished(paper, parts, form), "params": [ZOOM]}


def _looks(points: Sequence[Point]) -> dict[str, Row]:
    """Return the look of each line, by its label: colour and dash are those of the process model, and the shape of its
    points tells apart lines of one model with different settings.
    """
    models: dict[str, dict[str, None]] = {}
    for point in points:
        models.setdefault(point.model, {})[point.label] = None
    return {
        label: {
            "colour": style_of(model).colour,
            "dash": list(style_of(model).dash) or [1, 0],
            "shape": SHAPES[place % len(SHAPES)],
        }
        for model, labels in models.items()
        for place, label in enumerate(labels)
    }


def _row(point: Point, looks: dict[str, Row]) -> Row:
    look = looks[point.label]
    return {
        "label": point.label,
        "model": point.model,
        "x": point.x,
        "y": point.y,
        "low": point.low,
        "high": point.high,
        "words": list(point.words),
        "colour": look["colour"],
        "shape": look["shape"],
        "fill": look["colour"] if point.valid else "white",
    }


def _lines(paper: Paper, curves: Curves, rows: list[Row], scale: Scale, form: Form) -> Specification:
    x, y = _horizontal(curves, scale), _vertical(curves)
    layers: list[Part] = []
    if curves.faint:
        faint = [{"model": p.model, "x": p.x, "y": p.y, "colour": style_of(p.model).colour} for p in curves.faint]
        thin = paper.chart(faint).mark_line(strokeWidth=1.2, opacity=0.4, clip=True, aria=False)
        layers.append(thin.encode(x=x, y=y, color=colour(), detail="model:N"))
    looks = _looks(curves.points)
    dash = alt.StrokeDash(
        "label:N", legend=None, scale=alt.Scale(domain=list(looks), range=[look["dash"] for look in looks.values()])
    )
    own = paper.chart(rows)
    # Failed cells are nulls in the data, at which Vega interrupts the line.
    line = own.mark_line(strokeWidth=2.5, clip=True, aria=False)
    layers.append(line.encode(x=x, y=y, color=colour(), strokeDash=dash, detail="label:N"))
    if known := [row for row in rows if row["low"] is not None]:
        bars = paper.chart(known).mark_rule(strokeWidth=1.5, opacity=0.6, clip=True, aria=False)
        layers.append(bars.encode(x=x, y="low:Q", y2="high:Q", color=colour()))
    present = [row for row in rows if row["y"] is not None]
    if curves.with_points:
        layers.append(_points(paper, present, x, y))
    layers.append(_hotspots(paper, present, curves.headings, x, y))
    layers += _names(paper, curves, present, scale, form, x, y)
    layers[0] = layers[0].properties(name=ZOOMED)
    return layered(layers, form.width, _height(rows, form))


def _height(rows: list[Row], form: Form) -> int:
    """Return the height of the picture in pixels: that of the form, or more if the names at the ends of the lines need
    more room.
    """
    return max(form.height, round(len({row["label"] for row in rows}) * form.letters * 1.35))


def _horizontal(curves: Curves, scale: Scale, shown: bool = True) -> Part:
    words: dict[str, Any] = {"labelExpr": curves.x_words} if curves.x_words else {}
    axis = alt.Axis(
        values=list(scale.ticks),
        format=curves.x_format,
        grid=False,
        labelFlush=False,
        labelOverlap=False,
        labelPadding=6,
        titlePadding=8,
        titleAnchor="start",
        **words,
    )
    return alt.X("x:Q", title=curves.x_title, scale=_altair(scale), axis=axis if shown else None)


def _vertical(curves: Curves) -> Part:
    axis = alt.Axis(
        values=list(curves.y.ticks),
        format=curves.y_format,
        domain=False,
        ticks=False,
        labelPadding=8,
        titleAngle=0,
        titleAnchor="start",
        titleAlign="left",
        titleBaseline="bottom",
        titleX=0,
        titleY=-12,
    )
    return alt.Y("y:Q", title=curves.y_title, scale=_altair(curves.y), axis=axis)


def _altair(scale: Scale) -> alt.Scale:
    domain = [scale.low, scale.high]
    if scale.logarithmic:
        return alt.Scale(type="log", domain=domain, nice=False)
    return alt.Scale(type="linear", domain=domain, nice=False, zero=False)


def _points(paper: Paper, rows: list[Row], x: Part, y: Part) -> Part:
    """Return the points: filled where the verdict on the runs is "valid", else hollow. A caveat below the picture says
    why.
    """
    marks = paper.chart(rows).mark_point(
        size=50 if len(rows) < MANY_POINTS else 32, opacity=1, strokeWidth=1.8, clip=True, aria=False
    )
    shape = alt.Shape("shape:N", scale=None, legend=None)
    return marks.encode(x=x, y=y, stroke=colour(alt.Stroke), fill=colour(alt.Fill, "fill"), shape=shape)


def _hotspots(paper: Paper, rows: list[Row], headings: Sequence[str], x: Part, y: Part) -> Part:
    """Return invisible marks, larger than the points, that show the tooltips: easy to hit with a mouse or a thumb."""
    told = [{"x": row["x"], "y": row["y"], **dict(zip(headings, row["words"], strict=True))} for row in rows]
    marks = paper.chart(told).mark_point(size=300, filled=True, opacity=0, clip=True, aria=False, description=HOTSPOT)
    return marks.encode(x=x, y=y, tooltip=[alt.Tooltip(heading, type="nominal") for heading in headings])


def _names(paper: Paper, curves: Curves, rows: list[Row], scale: Scale, form: Form, x: Part, y: Part) -> list[Part]:
    """Return the names at the ends of the lines, moved apart where lines end too near to each other."""
    placed = _places(curves, rows, scale, form)
    if not placed:
        return []
    anchor = paper.chart(placed)
    there = alt.X("beside:Q", scale=_altair(scale))
    leaders = anchor.mark_rule(strokeWidth=1, opacity=0.7, clip=True, aria=False)
    written = {
        "align": "left",
        "baseline": "middle",
        "dx": 4,
        "fontSize": form.letters,
        "fontWeight": 500,
        "clip": True,
        "aria": False,
    }
    named = anchor.encode(x=there, y=alt.Y("place:Q"), text="label:N")
    return [
        leaders.encode(x=x, x2="beside:Q", y=y, y2="place:Q", color=colour()),
        named.mark_text(**written, color="white", stroke="white", strokeWidth=4),  # where another line passes
        named.mark_text(**written, color=INK),
    ]


def _places(curves: Curves, rows: list[Row], scale: Scale, form: Form) -> list[Row]:
    """Return a row for each line's name, with the position of the name on the axes (`beside` on the horizontal, `place`
    on the vertical one). Names that would overlap are moved apart.

    This concerns all names whose places overlap, not only those of lines that end at the same place.
    """
    ends: dict[str, Row] = {}
    for row in rows:
        if row["label"] not in ends or row["x"] > ends[row["label"]]["x"]:
            ends[row["label"]] = row
    line = form.letters * 1.2 / _height(rows, form)
    placed = []
    for group in _neighbours(list(ends.values()), scale, form):
        group.sort(key=lambda row: row["y"])
        shares = spread([curves.y.share(row["y"]) for row in group], line, line / 2, 1 - line / 2)
        for row, share in zip(group, shares, strict=True):
            beside = scale.value(scale.share(row["x"]) + LEADER / form.width)
            placed.append({**row, "words": None, "beside": beside, "place": curves.y.value(share)})
    return placed


def _neighbours(ends: list[Row], scale: Scale, form: Form) -> list[list[Row]]:
    """Divide lines into groups, by the places at which they end: names at the ends of lines of one group overlap
    horizontally, so they must be moved apart vertically.
    """
    groups: list[list[Row]] = []
    reach = 0.0
    for row in sorted(ends, key=lambda row: row["x"]):
        left = scale.share(row["x"]) * form.width + LEADER
        if not groups or left > reach:
            groups.append([])
        groups[-1].append(row)
        reach = max(reach, left + len(row["label"]) * form.character)
    return groups


def _strip(paper: Paper, failed: list[Row], order: list[str], scale: Scale, form: Form) -> Specification:
    """Return the strip below a picture: for each line that has failed runs a row with a cross for each, and the line's
    name after the last one.
    """
    last = {row["label"]: row for row in sorted(failed, key=lambda row: row["x"])}
    labels = [label for label in order if label in last]
    x = alt.X("x:Q", scale=_altair(scale), axis=None)
    y = alt.Y("label:N", sort=labels, axis=None)
    marks = paper.chart(failed).mark_text(text="✕", fontSize=form.cross, fontWeight="bold", clip=True, aria=False)
    names = [{"x": row["x"], "label": label, "text": f"{label} failed"} for label, row in last.items()]
    words = paper.chart(names).mark_text(
        align="left", baseline="middle", dx=12, fontSize=form.letters, color=INK, clip=True, aria=False
    )
    layers = [marks.encode(x=x, y=y, color=colour()), words.encode(x=x, y=y, text="text:N")]
    return layered(layers, form.width, STRIP_LINE * len(labels))
