"""Draws where the time of a request goes: a small picture for each number of users, with a bar for each process model,
divided into the parts of a request's time.

Bars have equal lengths, because mean times differ a hundredfold between models; the time stands beside the bar.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import altair as alt

from septet.lab.caveats import unrecorded
from septet.lab.experiment import Cell
from septet.lab.palette import PARTS as STYLES
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
    panel_title,
    side_by_side,
)
from septet.lab.results import Results
from septet.lab.summary import Summary
from septet.lab.where import parts
from septet.lab.where.parts import PARTS

NAME = "where"
TITLE = "Where the time goes"
BAR = 21
GUTTER = 30
LEGEND_LINE = 21
WAIT_MIN = 1 / 3
"""A wait may be the title of a picture only if some process model's requests spend at least this share of their time in
it.
"""
TOLD = (parts.GIL, parts.THREAD, parts.BUFFER, parts.WRITING, parts.LISTEN, parts.CPU)
"""The parts of a request's time that may be the title of a picture, the most instructive first. Titles prefer a part
that no other picture has yet as its title, and among these the first.
"""
REMARK = (
    "Mean times, since means add up. They were recorded after the last run, in a short run with the span log, which "
    "takes time itself: the table has the mean of the measured runs, too. Instants that the load generator and "
    "the server have noted divide each request, so that the parts make up what the user has waited; samples of the "
    "server's threads say for how much of it they waited for the GIL or a CPU."
)


@dataclass(frozen=True, slots=True)
class _Bar:
    """The mean time of a request of one contender (server or process model) at one number of users, and its parts: a
    bar of the picture.
    """

    label: str
    users: int
    mean_ms: float | None
    """Mean time of a request in ms, in the short run in which its parts were recorded. None: they were not recorded,
    because the server failed.
    """
    parts_ms: dict[str, float]
    requests: int
    measured_ms: float | None
    """Mean time of a request in ms in the measured runs, before the run in which its parts were recorded; None: it is
    not known.
    """

    def share(self, part: str) -> float:
        return self.parts_ms[part] / self.mean_ms if self.mean_ms else 0.0


@dataclass(frozen=True, slots=True)
class _Panel:
    title: str
    users: int
    bars: Sequence[_Bar]

    @property
    def subtitle(self) -> str:
        return f"{self.users:,} users"


def section(results: Results, cells: Sequence[Summary]) -> Section | None:
    """Return the section of the report that shows where the time of requests goes. None if that was not recorded, as in
    results of older versions.
    """
    found = results.get("where")
    if not found or not found["cells"]:
        return None
    panels = _panels([_bar(cell, cells) for cell in found["cells"]])
    remark = " ".join([REMARK, *unrecorded(found)])
    shows = "; ".join(f"{panel.subtitle}: {panel.title}" for panel in panels)
    picture = Picture(NAME, TITLE, TITLE, f"{TITLE}. {shows}", partial(_draw, panels), _data(panels))
    return Section(TITLE, remark, [picture], _table(panels))


def _bar(recorded: dict[str, Any], cells: Sequence[Summary]) -> _Bar:
    cell = Cell(recorded["model"], recorded["users"], tuple(recorded["setting"].items()))
    if recorded["failure"] is not None:
        return _Bar(cell.label, cell.users, None, {}, 0, None)
    same = (each for each in cells if (each.label, each.users) == (cell.label, cell.users))
    measured_us = next((each.median("mean_us") for each in same), None)
    return _Bar(
        cell.label,
        cell.users,
        recorded["latency_us"] / 1000,
        {part.key: recorded["parts_us"][part.key] / 1000 for part in PARTS},
        recorded["requests"],
        None if measured_us is None else measured_us / 1000,
    )


def _panels(bars: Sequence[_Bar]) -> list[_Panel]:
    used: set[str] = set()
    return [
        _Panel(_finding(here, used), users, here)
        for users in sorted({bar.users for bar in bars})
        for here in [[bar for bar in bars if bar.users == users]]
    ]


def _finding(bars: Iterable[_Bar], used: set[str]) -> str:
    """Return the title of the picture for one number of users: a sentence about the part of a request's time that is
    the most instructive. `used` has the parts that other titles are about, which are avoided; the new one is added to
    it.
    """
    known = [bar for bar in bars if bar.mean_ms]
    for part in sorted(TOLD, key=lambda part: part in used):
        longest = max(known, key=lambda bar: bar.share(part), default=None)
        if longest is None or longest.share(part) < WAIT_MIN or longest.mean_ms is None:
            continue
        used.add(part)
        told = next(each.told for each in PARTS if each.key == part)
        does = "spends" if part == parts.WRITING else "waits"
        times = f"{_ms(longest.parts_ms[part], longest.mean_ms)} of {_ms(longest.mean_ms)} ms"
        return f"A request of {longest.label} {does} {times} {told}"
    if known and min(bar.share(parts.APPLICATION) for bar in known) > 0.5:
        return "Requests spend most of their time in the application"
    return "No wait takes a third of a request's time" if known else "Nothing was recorded"


def _ms(value: float, beside: float | None = None) -> str:
    """Return a number of milliseconds as text. It has as many decimals as `beside`, the number written beside it, would
    have; None: as many as befit its own size.
    """
    size = value if beside is None else beside
    return f"{value:,.0f}" if size >= 99.5 else f"{value:.1f}" if size >= 0.95 else f"{value:.2f}"


def _draw(panels: Sequence[_Panel], form: Form) -> Specification:
    paper = Paper()
    columns = min(form.columns, len(panels))
    names = max(len(bar.label) for panel in panels for bar in panel.bars) * form.character + 12
    width = max(80, (form.width + 44 - GUTTER * (columns - 1)) / columns - names)
    wrap = int((width + names) / (form.character * 1.06))
    lines = max(len(textwrap.wrap(panel.title, wrap)) for panel in panels) if columns > 1 else 0
    drawn = [_panel(paper, panel, form, width, wrap, lines) for panel in panels]
    rows = [side_by_side(drawn[at : at + columns], GUTTER) for at in range(0, len(drawn), columns)]
    present = [part for part in PARTS if any(bar.parts_ms.get(part.key) for panel in panels for bar in panel.bars)]
    legend = _legend(paper, present, form, form.width + 44 - names)  # it begins where the bars do
    return finished(paper, [legend, *rows], form, shared=False, spacing=26)


def _legend(paper: Paper, present: Sequence[parts.Part], form: Form, width: float) -> Specification:
    columns = 3 if form.columns > 1 else 1
    wide = width / columns
    rows = [
        {
            "x": place % columns * wide,
            "y": place // columns * LEGEND_LINE + LEGEND_LINE / 2,
            "text": part.name,
            "colour": STYLES[part.key].colour,
        }
        for place, part in enumerate(present)
    ]
    height = LEGEND_LINE * -(-len(rows) // columns)
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, width], nice=False))
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[height, 0], nice=False))
    chart = paper.chart(rows)
    squares = chart.mark_square(size=150, opacity=1, xOffset=7, aria=False).encode(x=x, y=y, fill=colour(alt.Fill))
    words = chart.mark_text(align="left", baseline="middle", dx=20, fontSize=form.letters, color=INK, aria=False)
    return layered([squares, words.encode(x=x, y=y, text="text:N")], width, height)


def _panel(paper: Paper, panel: _Panel, form: Form, width: float, wrap: int, lines: int) -> Specification:
    times = [
        {"label": bar.label, "text": "failed" if bar.mean_ms is None else f"{_ms(bar.mean_ms)} ms"}
        | {"end": 0.0 if bar.mean_ms is None else 1.0}
        for bar in panel.bars
    ]
    room = max(len(str(row["text"])) for row in times) * form.character + 10
    x = alt.X("start:Q", axis=None, scale=alt.Scale(domain=[0, width / (width - room)], nice=False))
    y = alt.Y(
        "label:N",
        sort=[bar.label for bar in panel.bars],
        title=None,
        axis=alt.Axis(domain=False, ticks=False, labelLimit=400, labelPadding=6),
        scale=alt.Scale(paddingInner=0.22, paddingOuter=0.1),
    )
    rows = [row for bar in panel.bars for row in _segments(bar)]
    tooltip = [alt.Tooltip(field, type="nominal") for field in ("model", "where", "time", "share")]
    segments = paper.chart(rows).mark_bar(stroke="white", strokeWidth=1, aria=False)
    drawn = segments.encode(x=x, x2="end:Q", y=y, fill=colour(alt.Fill), tooltip=tooltip)
    letters = form.letters - 2
    named = [
        row for row in rows if (row["end"] - row["start"]) * (width - room) > (len(row["short"]) + 1.5) * letters / 2
    ]
    within = paper.chart(named).mark_text(baseline="middle", fontSize=letters, color="white", aria=False)
    beside = paper.chart(times).mark_text(
        align="left", baseline="middle", dx=6, fontSize=form.letters, color=INK, aria=False
    )
    wrapped = textwrap.wrap(panel.title, wrap)
    title = panel_title([*wrapped, *[" "] * (lines - len(wrapped))], [panel.subtitle], form)
    layers = [
        drawn,
        within.encode(x=alt.X("middle:Q"), y=y, text="short:N"),
        beside.encode(x=alt.X("end:Q"), y=y, text="text:N"),
    ]
    return layered(layers, width, BAR * len(panel.bars), title=title)


def _segments(bar: _Bar) -> list[Row]:
    rows: list[Row] = []
    at = 0.0
    for part in PARTS:
        if bar.mean_ms is None or bar.parts_ms[part.key] <= 0:
            continue
        share = bar.share(part.key)
        rows.append(
            {
                "label": bar.label,
                "start": at,
                "end": at + share,
                "middle": at + share / 2,
                "colour": STYLES[part.key].colour,
                "short": part.short,
                "model": bar.label,
                "where": part.name,
                "time": f"{_ms(bar.parts_ms[part.key])} of {_ms(bar.mean_ms)} ms",
                "share": f"{share:.1%}",
            }
        )
        at += share
    return rows


def _data(panels: Sequence[_Panel]) -> Data:
    """Return the figures of all pictures: a row of headings, and a row for each part of a request's time in each bar (a
    process model or server at one number of users).
    """
    found: list[list[str | float | None]] = [["line", "users", "part", "mean (ms)", "share", "requests"]]
    for panel in panels:
        for bar in panel.bars:
            for part in PARTS if bar.mean_ms is not None else ():
                time_ms = bar.parts_ms[part.key]
                found.append([bar.label, bar.users, part.key, time_ms, bar.share(part.key), bar.requests])
    return found


def _table(panels: Sequence[_Panel]) -> Table:
    """Return a table with a row for each process model or server at each number of users: the mean time of a request,
    that in the measured runs, and each of its parts, all in ms.
    """
    head = ["ms", "in all", "in the runs", *(part.short for part in PARTS), "requests"]
    rows = []
    for panel in panels:
        for bar in panel.bars:
            name = f"{bar.label}, {panel.subtitle}"
            if bar.mean_ms is None:
                rows.append([name, "failed", *["-"] * (len(PARTS) + 2)])
                continue
            figures = [_ms(bar.parts_ms[part.key], bar.mean_ms) for part in PARTS]
            measured = "-" if bar.measured_ms is None else _ms(bar.measured_ms)
            rows.append([name, _ms(bar.mean_ms), measured, *figures, f"{bar.requests:,}"])
    return [head, *rows]
