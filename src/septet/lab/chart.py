"""The seed's chart from results: requests per second over simultaneous users, one line a model; SVG and PNG.

Altair describes the chart as data and vl-convert draws it, without a browser. A cell that failed has no point on its
line, least of all at zero: it stands in a strip of its own below the axis, and the caption says why.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from septet.lab.palette import style_of
from septet.lab.remarks import remarks
from septet.lab.results import Results, requests_per_s

WIDTH, HEIGHT = 760, 440
LABEL_GAP = 0.042  # of the height between two labels, so that lines that end together can be told apart
CAPTION_CHARACTERS = 130
MODE_WORDS = {
    "close": "a new connection for every request",
    "http10": "a new HTTP/1.0 connection for every request",
    "keep-alive": "connections kept alive",
}
TRADE_MARKS = re.compile(r"\((R|TM)\)")
INK, PALE = "#222222", "#666666"

Row = dict[str, Any]
Part = Any  # a chart or a channel: altair's own types change between its versions


def save(results: Results, directory: Path) -> list[Path]:
    """Draw the chart into `directory`; returns the paths of the SVG and the PNG."""
    specification = draw(results).to_dict()
    svg, png = directory / "requests-per-second.svg", directory / "requests-per-second.png"
    svg.write_text(vl_convert.vegalite_to_svg(specification))
    png.write_bytes(vl_convert.vegalite_to_png(specification, scale=2))
    return [svg, png]


def draw(results: Results) -> Part:
    """The whole picture: the lines, the strip of failed cells when there are any, the caption."""
    users = sorted({cell["users"] for cell in results["cells"]})
    x = _users_axis(users)
    rows = [_row(cell) for cell in sorted(results["cells"], key=lambda cell: int(cell["users"]))]
    failed = [row for row in rows if row["requests_per_s"] is None]
    parts: list[Part] = [_lines(rows, x)]
    if failed:
        parts.append(_strip(failed, _users_axis(users, shown=False)))
    if notes := remarks(results, "hollow point"):
        parts.append(_notes(notes))
    return (
        alt.vconcat(*parts, spacing=18, title=_title(results))
        .resolve_scale(x="shared")
        .configure(font="Roboto, Helvetica, Arial, sans-serif", background="white", padding=24)
        .configure_view(stroke=None)
        .configure_axis(labelFontSize=13, titleFontSize=13, labelColor=INK, titleColor=INK, titleFontWeight="normal")
    )


def _chart(rows: list[Row]) -> Part:
    data: Any = alt.Data
    return alt.Chart(data(values=rows))


def _row(cell: Row) -> Row:
    style = style_of(cell["model"])
    return {
        "model": cell["model"],
        "users": cell["users"],
        "requests_per_s": requests_per_s(cell),
        "valid": cell["verdict"] == "valid",
        "colour": style.colour,
    }


def _users_axis(users: list[int], shown: bool = True) -> Part:
    margin = (users[-1] / users[0]) ** 0.015 if len(users) > 1 else 2  # so that no point sits on the other axis
    axis = alt.Axis(
        values=users,
        format=",d",
        grid=False,
        labelFlush=False,
        labelOverlap="greedy",
        labelPadding=6,
        titlePadding=10,
        tickColor=PALE,
        domainColor=PALE,
    )
    return alt.X(
        "users:Q",
        title="simultaneous users",
        scale=alt.Scale(type="log", domain=[users[0] / margin, users[-1] * margin], nice=False),
        axis=axis if shown else None,
    )


def _lines(rows: list[Row], x: Part) -> Part:
    present = [row for row in rows if row["requests_per_s"] is not None]
    top = max((row["requests_per_s"] for row in present), default=100.0) * 1.05
    y = alt.Y(
        "requests_per_s:Q",
        title="requests per second",
        scale=alt.Scale(domain=[0, top], nice=True),
        axis=alt.Axis(
            format=",d",
            tickCount=6,
            tickMinStep=1,
            domain=False,
            ticks=False,
            gridColor="#e4e4e4",
            labelPadding=8,
            titlePadding=14,
        ),
    )
    layers: list[Part] = []
    for model in dict.fromkeys(row["model"] for row in rows):
        style = style_of(model)
        # The failed cells are in the data as nulls, at which vega interrupts the line.
        own = _chart([row for row in rows if row["model"] == model]).encode(x=x, y=y)
        layers.append(own.mark_line(color=style.colour, strokeWidth=2.5, strokeDash=list(style.dash)))
        layers.append(_points(own, style.colour))
    layers += _labels(present, x, top)
    return alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)


def _points(own: Part, colour: str) -> Part:
    """Full where the cell is valid, hollow where a remark says why it is not."""
    fill = alt.condition("datum.valid", alt.value(colour), alt.value("white"))
    return own.mark_point(size=50, opacity=1, stroke=colour, strokeWidth=2).encode(fill=fill)


def _labels(rows: list[Row], x: Part, top: float) -> list[Part]:
    """The models' names at the ends of their lines, moved apart where the lines end too near to each other."""
    ends: dict[str, Row] = {}
    for row in rows:
        if row["model"] not in ends or row["users"] > ends[row["model"]]["users"]:
            ends[row["model"]] = row
    labels = []
    for users in {row["users"] for row in ends.values()}:
        here = sorted((row for row in ends.values() if row["users"] == users), key=lambda row: row["requests_per_s"])
        places = spread([row["requests_per_s"] for row in here], LABEL_GAP * top)
        labels += [{**row, "requests_per_s": place} for row, place in zip(here, places, strict=True)]
    named = _chart(labels).encode(x=x, y="requests_per_s:Q", text="model:N")
    written: dict[str, Any] = {"align": "left", "dx": 12, "fontSize": 14, "fontWeight": 500}
    halo = named.mark_text(**written, color="white", stroke="white", strokeWidth=5)  # where another line passes
    return [halo, named.mark_text(**written).encode(color=alt.Color("colour:N", scale=None))]


def spread(values: list[float], gap: float) -> list[float]:
    """Places for ascending values, at least `gap` apart and as near to the values as a few rounds of pushing get."""
    places = list(values)
    for _ in range(200):
        moved = False
        for lower in range(len(places) - 1):
            lack = gap - (places[lower + 1] - places[lower])
            if lack > gap / 1000:
                moved = True
                places[lower] -= lack / 2
                places[lower + 1] += lack / 2
        lowest = min(places, default=0.0)
        if lowest < 0:
            places = [place if place > lowest else 0.0 for place in places]
        if not moved:
            break
    return places


def _strip(failed: list[Row], x: Part) -> Part:
    """A row of crosses for each model that failed somewhere."""
    models = list(dict.fromkeys(row["model"] for row in failed))
    y = alt.Y(
        "model:N",
        title=None,
        sort=models,
        axis=alt.Axis(domain=False, ticks=False, labelExpr="datum.label + ' failed'"),
    )
    marks = _chart(failed).encode(x=x, y=y)
    crosses = marks.mark_text(text="✕", fontSize=15, fontWeight="bold").encode(color=alt.Color("colour:N", scale=None))
    return alt.layer(crosses).properties(width=WIDTH, height=22 * len(models))


def _notes(notes: list[str]) -> Part:
    lines = [line for note in notes for line in textwrap.wrap(note, CAPTION_CHARACTERS, subsequent_indent="    ")]
    values = [{"place": place, "text": line} for place, line in enumerate(lines)]
    return (
        _chart(values)
        .mark_text(align="left", fontSize=12, color=PALE)
        .encode(x=alt.value(0), y=alt.Y("place:O", axis=None), text="text:N")
        .properties(width=WIDTH, height=18 * len(lines))
    )


def _title(results: Results) -> alt.TitleParams:
    return alt.TitleParams(
        text="Requests per second under each process model",
        subtitle=caption(results),
        anchor="start",
        fontSize=22,
        subtitleFontSize=13,
        subtitleColor=PALE,
        subtitleLineHeight=19,
        subtitlePadding=8,
        color=INK,
        offset=22,
    )


def caption(results: Results) -> list[str]:
    """What a reader must know to judge the lines: what was measured, and on what."""
    experiment, machine = results["experiment"], results["machine"]
    return [
        f"GET {experiment['path']} of {experiment['app']}; {MODE_WORDS[experiment['mode']]}; "
        f"one run of {experiment['duration_s']:g} s for each point",
        f"{TRADE_MARKS.sub('', machine['cpu'])}, {machine['cpus_usable']} CPUs shared with the load generator; "
        f"Linux {machine['kernel']}; Python {machine['python'].split()[0]}; {results['started'][:10]}",
    ]
