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
from septet.lab.profiles import seed_curves
from septet.lab.remarks import remarks
from septet.lab.results import Results
from septet.lab.summary import Summary, summaries

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
    cells = summaries(results)
    users = sorted({cell.users for cell in cells})
    x = _users_axis(users)
    rows = [_row(cell) for cell in cells]
    failed = [row for row in rows if row["requests_per_s"] is None]
    faint = _seed_rows(rows, users) if results["experiment"]["profile"] == "seed" else []
    parts: list[Part] = [_lines(rows, faint, x)]
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


def _row(cell: Summary) -> Row:
    rate = cell.figures.get("requests_per_s")
    return {
        "label": cell.label,
        "model": cell.model,
        "users": cell.users,
        "requests_per_s": None if rate is None else rate.median,
        "low": None if rate is None else rate.low,
        "high": None if rate is None else rate.high,
        "valid": cell.verdict == "valid",
        "colour": style_of(cell.model).colour,
    }


def _seed_rows(rows: list[Row], users: list[int]) -> list[Row]:
    """The seed's figures of the models and within the users that are drawn."""
    models = dict.fromkeys(row["model"] for row in rows)
    return [
        {"model": model, "users": number, "requests_per_s": rate, "colour": style_of(model).colour}
        for model, curve in seed_curves().items()
        if model in models
        for number, rate in curve
        if users[0] <= number <= users[-1]
    ]


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


def _lines(rows: list[Row], faint: list[Row], x: Part) -> Part:
    present = [row for row in rows if row["requests_per_s"] is not None]
    top = max((row["high"] or row["requests_per_s"] for row in present), default=100.0) * 1.05
    top = max([top, *(row["requests_per_s"] for row in faint)])
    y = _rate_axis(top)
    layers: list[Part] = [_faint_line(faint, model, x, y) for model in dict.fromkeys(row["model"] for row in faint)]
    for label in dict.fromkeys(row["label"] for row in rows):
        # The failed cells are in the data as nulls, at which vega interrupts the line.
        mine = [row for row in rows if row["label"] == label]
        style = style_of(mine[0]["model"])
        own = _chart(mine).encode(x=x, y=y)
        layers.append(own.mark_line(color=style.colour, strokeWidth=2.5, strokeDash=list(style.dash)))
        layers += _intervals(mine, x, style.colour)
        layers.append(_points(own, style.colour))
    layers += _labels(present, x, top)
    return alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)


def _rate_axis(top: float) -> Part:
    return alt.Y(
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


def _faint_line(rows: list[Row], model: str, x: Part, y: Part) -> Part:
    mine = [row for row in rows if row["model"] == model]
    return _chart(mine).encode(x=x, y=y).mark_line(color=mine[0]["colour"], strokeWidth=1.2, opacity=0.35)


def _intervals(rows: list[Row], x: Part, colour: str) -> list[Part]:
    """Where the rate lies with 95 % confidence, for points that were measured often enough to tell."""
    known = [row for row in rows if row["low"] is not None]
    if not known:
        return []
    bars = _chart(known).encode(x=x, y=alt.Y("low:Q"), y2=alt.Y2("high:Q"))
    return [bars.mark_rule(color=colour, strokeWidth=1.5, opacity=0.6)]


def _points(own: Part, colour: str) -> Part:
    """Full where the cell is valid, hollow where a remark says why it is not."""
    fill = alt.condition("datum.valid", alt.value(colour), alt.value("white"))
    return own.mark_point(size=50, opacity=1, stroke=colour, strokeWidth=2).encode(fill=fill)


def _labels(rows: list[Row], x: Part, top: float) -> list[Part]:
    """The models' names at the ends of their lines, moved apart where the lines end too near to each other."""
    ends: dict[str, Row] = {}
    for row in rows:
        if row["label"] not in ends or row["users"] > ends[row["label"]]["users"]:
            ends[row["label"]] = row
    labels = []
    for users in {row["users"] for row in ends.values()}:
        here = sorted((row for row in ends.values() if row["users"] == users), key=lambda row: row["requests_per_s"])
        places = spread([row["requests_per_s"] for row in here], LABEL_GAP * top)
        labels += [{**row, "requests_per_s": place} for row, place in zip(here, places, strict=True)]
    named = _chart(labels).encode(x=x, y="requests_per_s:Q", text="label:N")
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
    """A row of crosses for each line that failed somewhere."""
    labels = list(dict.fromkeys(row["label"] for row in failed))
    y = alt.Y(
        "label:N",
        title=None,
        sort=labels,
        axis=alt.Axis(domain=False, ticks=False, labelExpr="datum.label + ' failed'"),
    )
    marks = _chart(failed).encode(x=x, y=y)
    crosses = marks.mark_text(text="✕", fontSize=15, fontWeight="bold").encode(color=alt.Color("colour:N", scale=None))
    return alt.layer(crosses).properties(width=WIDTH, height=22 * len(labels))


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
    repeats = experiment["repeats"]
    runs = f"median of {repeats} runs" if repeats > 1 else "one run"
    server, client = experiment["pinned"]
    shared = f"server on {len(server)}, users on {len(client)} of them" if client else "shared with the load generator"
    lines = [
        f"GET {experiment['path']} of {experiment['app']}; {MODE_WORDS[experiment['mode']]}; "
        f"{runs} of {experiment['duration_s']:g} s for each point",
        f"{TRADE_MARKS.sub('', machine['cpu'])}, {machine['cpus_usable']} CPUs ({shared}); "
        f"Linux {machine['kernel']}; Python {machine['python'].split()[0]}; {results['started'][:10]}",
    ]
    if experiment["profile"] == "seed":
        lines.append("faint: what the seed measured in 2019, with servers in C on another machine")
    return lines
