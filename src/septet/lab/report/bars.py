"""Draws all contenders (process models or servers) side by side at one number of users: a small picture for each
metric, with a bar for each contender.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import altair as alt

from septet.lab.metric import Metric
from septet.lab.metrics import BARS
from septet.lab.palette import style_of
from septet.lab.report.drawing import (
    INK,
    Data,
    Form,
    Paper,
    Picture,
    Row,
    Section,
    Specification,
    Table,
    colour,
    finished,
    layered,
    side_by_side,
)
from septet.lab.report.figure_text import text
from septet.lab.report.over_users import HEADINGS, data
from septet.lab.summary import Summary

BAR = 22
"""Height of a bar in pixels, including the space to the next one."""
GUTTER = 26
"""Space between two columns of small pictures, in pixels."""
ROOM = 0.36
"""Share of a small picture's width that is left free to the right of the longest bar, for the figure that is written at
its end.
"""


def section(cells: Sequence[Summary], users: int) -> Section:
    """Return the section of the report that compares all contenders (servers or process models) side by side at one
    number of users. `cells` are their summaries; bars are in the same order.

    A contender whose runs at this number of users all failed has the word "failed" in place of a bar.
    """
    here = [cell for cell in cells if cell.users == users]
    metrics = [metric for metric in BARS if any(metric.estimate(cell.figures) for cell in here)]
    title = f"Side by side, at {users:,} users"
    picture = Picture(
        f"at-{users}-users",
        title,
        title,
        f"{title}: a bar for each contender",
        partial(_draw, here, metrics),
        _data(here, metrics),
    )
    remark = (
        "The fastest first, by comparison in pairs. Bars begin at zero. Hollow: not valid; the line across an end: the "
        "95 % confidence interval."
    )
    return Section(title, remark, [picture], _table(here, metrics))


def _draw(cells: Sequence[Summary], metrics: Sequence[Metric], form: Form) -> Specification:
    paper = Paper()
    names = max((len(cell.label) for cell in cells), default=0) * form.character + 12
    width = (form.width + 44 - GUTTER * (form.columns - 1)) / form.columns - names  # 44: no axis with numbers here
    panels = [_panel(paper, metric, cells, form, max(width, 80)) for metric in metrics or BARS[:1]]
    lines = [panels[at : at + form.columns] for at in range(0, len(panels), form.columns)]
    return finished(paper, [side_by_side(line, GUTTER) for line in lines], form, shared=False, spacing=26)


def _panel(paper: Paper, metric: Metric, cells: Sequence[Summary], form: Form, width: float) -> Specification:
    rows = [_row(metric, cell) for cell in cells]
    top = max((edge for row in rows for edge in (row["value"], row["high"]) if edge), default=1.0)
    x = alt.X("value:Q", axis=None, scale=alt.Scale(domain=[0, top / (1 - ROOM)], nice=False))
    y = alt.Y(
        "label:N",
        sort=[cell.label for cell in cells],
        title=None,
        axis=alt.Axis(domain=False, ticks=False, labelLimit=400, labelPadding=6),
        scale=alt.Scale(paddingInner=0.3, paddingOuter=0.1),
    )
    present = paper.chart([row for row in rows if row["value"] is not None])
    tooltip = [alt.Tooltip(heading, type="nominal") for heading in HEADINGS]
    bars = present.mark_bar(strokeWidth=1.8, aria=False).encode(
        x=x, y=y, fill=colour(alt.Fill, "fill"), stroke=colour(alt.Stroke), tooltip=tooltip
    )
    known = paper.chart([row for row in rows if row["low"] is not None])
    across = [
        known.mark_rule(strokeWidth=thickness, color=shade, aria=False).encode(x=alt.X("low:Q"), x2="high:Q", y=y)
        for thickness, shade in ((4, "white"), (1.5, INK))
    ]
    # At the end of the bar, or of its interval where that goes further.
    words = paper.chart(rows).mark_text(
        align="left", baseline="middle", dx=6, fontSize=form.letters, color=INK, aria=False
    )
    texts = words.encode(x=alt.X("end:Q"), y=y, text="text:N")
    title = {
        "text": metric.heading,
        "anchor": "start",
        "frame": "group",
        "fontSize": form.letters,
        "fontWeight": 600,
        "color": INK,
        "offset": 6,
    }
    return layered([bars, *across, texts], width, BAR * len(cells), title=title)


def _row(metric: Metric, cell: Summary) -> Row:
    found = metric.estimate(cell.figures)
    own = style_of(cell.model).colour
    told = (
        cell.label,
        f"{cell.users:,}",
        f"{text(metric, cell)} {metric.unit}".strip(),
        "",
        cell.reason or cell.verdict,
    )
    if found is not None and found.low is not None and found.high is not None:
        told = (*told[:3], f"{found.low:,.4g} to {found.high:,.4g}", told[4])
    return {
        **dict(zip(HEADINGS, told, strict=True)),
        "label": cell.label,
        "value": None if found is None else found.median,
        "low": None if found is None else found.low,
        "high": None if found is None else found.high,
        "end": 0.0 if found is None else max(found.median, found.high or 0.0),
        "text": text(metric, cell),
        "colour": own,
        "fill": own if cell.verdict == "valid" else "white",
    }


def _data(cells: Sequence[Summary], metrics: Sequence[Metric]) -> Data:
    """Return the figures of the section as rows below a row of headings: first a row for each contender (server or
    process model) with its figure of the first metric, then those of the next metric, and so on.
    """
    titled = [(metric.chart.title, metric) for metric in metrics if metric.chart is not None]
    rows = [[title, metric.unit, *row] for title, metric in titled for row in data(metric, cells)[1:]]
    return [["metric", "unit", "line", "users", "figure", "low", "high", "verdict"], *rows]


def _table(cells: Sequence[Summary], metrics: Sequence[Metric]) -> Table:
    head = ["", *(metric.heading for metric in metrics), "verdict"]
    return [head, *([cell.label, *(text(metric, cell) for metric in metrics), cell.verdict] for cell in cells)]
