"""The pictures: threads and users as rows, time to the right. Altair describes them as data, vl-convert draws them.

The zoom shows each interval at its time. In an overview of a second most intervals are narrower than the thinnest line,
so each column stands for a few milliseconds, and is filled from below with the shares of the states in that time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import vl_convert

from septet.lab.threads.states import IDLE, NEGLIGIBLE, State
from septet.lab.trace.colours import FULL, LINE, LOOKS
from septet.lab.trace.rows import PictureRow
from septet.lab.trace.share_table import columns

WIDTH = 900
ROW, USER_ROW, GAP = 34, 22, 12  # heights, and the space between threads and users
COLUMNS = 180  # of an overview; five pixels each
LEGEND_LINE = 24
LEGEND_CHARACTERS = 42  # that fit into a third of the width
NARROWEST = 0.0007
"""The least width of an interval, as a share of the picture's width: about half a pixel. So an interval of 2 µs can be
seen in a picture of 20 ms.
"""
INK, PALE, GRID = "#222222", "#666666", "#e4e4e4"
FONT = "Roboto, Helvetica, Arial, sans-serif"

Part = Any  # a chart or a channel: altair's own types change between its versions
Values = list[dict[str, Any]]
Places = list[tuple[float, float]]
Specification = dict[str, Any]
"""A picture, as data of Vega-Lite; `svg` draws it."""


@dataclass(frozen=True, slots=True)
class Panel:
    """The rows of one process model from `start` to `end`, in ns of CLOCK_MONOTONIC, and the titles above them."""

    title: str
    subtitle: str
    rows: Sequence[PictureRow]
    start: int
    end: int


class _Paper:
    """Holds the data of all charts of a picture, by name. If the charts held them, altair would check and copy them
    again and again.
    """

    def __init__(self) -> None:
        self.datasets: dict[str, Values] = {}

    def chart(self, values: Values) -> Part:
        name = f"data-{len(self.datasets)}"
        self.datasets[name] = values
        return alt.Chart(alt.NamedData(name))


Draw = Callable[[_Paper, Panel, Places, Part, Part], Part]
"""A function that draws the rows of a panel, as a chart of altair, from (paper, panel, places of the rows, x channel, y
channel).
"""


def zoom(panels: Sequence[Panel], title: str, caption: Sequence[str]) -> Specification:
    """Return the picture of a short time, in which each interval of a thread or user is a rectangle."""
    return _picture(panels, title, caption, _intervals, State)


def overview(panels: Sequence[Panel], title: str, caption: Sequence[str]) -> Specification:
    """Return the picture of the whole recording, divided into columns of equal time that show the share of
    each state.
    """
    return _picture(panels, title, caption, _columns, [state for state in State if state not in NEGLIGIBLE])


def svg(picture: Specification) -> str:
    """Return the picture as SVG that follows the reader's choice of light or dark, where the viewer supports it."""
    text = vl_convert.vegalite_to_svg(picture)
    return _with_dark(_MORE_DECIMALS.sub(r"\1", text))


def png(text: str) -> bytes:
    """Convert an SVG text to PNG, always in light colours."""
    return bytes(vl_convert.svg_to_png(text, scale=2))


_MORE_DECIMALS = re.compile(r"(\d\.\d\d)\d+")  # decimals that no picture needs, and that would be half of the file

# The colours of paper and ink in the dark; those of states can be seen on both.
_DARK = {INK: "#e8e8e8", PALE: "#a9a9a9", GRID: "#3a3a3a", "white": "#1e1e1e"}


def _with_dark(text: str) -> str:
    rules = "".join(
        f".septet-trace [{what}='{light}']{{{what}:{dark}}}"
        for light, dark in _DARK.items()
        for what in ("fill", "stroke")
    )
    style = f"<style>@media (prefers-color-scheme: dark){{{rules}}}</style>"
    head, _, rest = text.partition(">")
    head = head.replace('class="', 'class="septet-trace ', 1)
    return f"{head}>{style}{rest}"


def _picture(
    panels: Sequence[Panel], title: str, caption: Sequence[str], draw: Draw, drawn: Iterable[State]
) -> Specification:
    paper = _Paper()
    present = {each.state for panel in panels for row in panel.rows for each in row.intervals}
    parts = [_panel(paper, panel, draw) for panel in panels]
    parts.append(_legend(paper, [state for state in drawn if state in present]))
    picture = (
        alt.vconcat(*parts, spacing=26)
        .properties(title=_title(title, caption, 22))
        .configure(font=FONT, background="white", padding=24)
        .configure_view(stroke=None)
        .configure_axis(labelFontSize=12, titleFontSize=12, labelColor=PALE, titleColor=PALE, titleFontWeight="normal")
    )
    return {**picture.to_dict(), "datasets": paper.datasets}


def _title(text: str, subtitle: str | Sequence[str], size: int) -> alt.TitleParams:
    return alt.TitleParams(
        text=text,
        subtitle=subtitle if isinstance(subtitle, str) else list(subtitle),
        anchor="start",
        frame="group",
        fontSize=size,
        subtitleFontSize=13,
        subtitleColor=PALE,
        subtitleLineHeight=18,
        subtitlePadding=6,
        color=INK,
        offset=14 if size < 20 else 22,
    )


def _places(rows: Sequence[PictureRow]) -> Places:
    """Return (top, height) of each row, in pixels from the top of the panel."""
    places: Places = []
    top = 0.0
    for place, row in enumerate(rows):
        if row.user and (place == 0 or not rows[place - 1].user):
            top += GAP if place else 0
        height = USER_ROW if row.user else ROW
        places.append((top, height))
        top += height
    return places


def _panel(paper: _Paper, panel: Panel, draw: Draw) -> Part:
    places = _places(panel.rows)
    height = places[-1][0] + places[-1][1]
    x = alt.X(
        "x:Q",
        title="milliseconds",
        scale=alt.Scale(domain=[0, (panel.end - panel.start) / 1e6], nice=False),
        axis=alt.Axis(grid=True, gridColor=GRID, tickColor=GRID, domain=False, tickCount=10, titlePadding=4),
    )
    y = alt.Y("y:Q", title=None, scale=alt.Scale(domain=[height, 0], nice=False), axis=None)
    names = [
        {"y": top + size / 2, "text": row.name, "colour": PALE if row.user else INK}
        for row, (top, size) in zip(panel.rows, places, strict=True)
    ]
    labels = (
        paper.chart(names)
        .mark_text(align="right", baseline="middle", fontSize=13)
        .encode(x=alt.value(-10), y=y, text="text:N", color=_colour())
    )
    return alt.layer(draw(paper, panel, places, x, y), labels).properties(
        width=WIDTH, height=height, title=_title(panel.title, panel.subtitle, 16)
    )


def _intervals(paper: _Paper, panel: Panel, places: Places, x: Part, y: Part) -> Part:
    """Return a rectangle for each interval; waits are drawn first, so that short running intervals are on top."""
    narrowest = NARROWEST * (panel.end - panel.start)
    found = []
    for row, (top, size) in zip(panel.rows, places, strict=True):
        for each in sorted(row.intervals, key=lambda interval: LOOKS[interval.state].height):
            look = LOOKS[each.state]
            middle, half = top + size / 2, size * look.height / 2
            since, until = each.start - panel.start, max(each.end, each.start + narrowest) - panel.start
            found.append(
                {
                    "x": round(since / 1e6, 4),
                    "x2": round(until / 1e6, 4),
                    "y": round(middle - half, 2),
                    "y2": round(middle + half, 2),
                    "colour": look.colour,
                }
            )
    return paper.chart(found).mark_rect(aria=False).encode(x=x, x2="x2:Q", y=y, y2="y2:Q", color=_colour())


def _columns(paper: _Paper, panel: Panel, places: Places, x: Part, y: Part) -> Part:
    """Return the rows of the overview as a chart: in each row a stepped area for each state, one on top of
    the other.
    """
    found: Values = []
    for number, (row, (top, size)) in enumerate(zip(panel.rows, places, strict=True)):
        bottom = top + size * (1 + FULL) / 2
        found += _area(f"{number}", GRID, [(panel.start, bottom + 1, bottom), (panel.end, bottom + 1, bottom)], panel)
        parts = list(columns(row.intervals, panel.start, panel.end, COLUMNS))
        levels = [bottom] * len(parts)
        for state in State:
            if state in NEGLIGIBLE or not any(state in shares for _, _, shares in parts):
                continue
            upper = [
                level - shares.get(state, 0.0) * FULL * size
                for level, (_, _, shares) in zip(levels, parts, strict=True)
            ]
            steps = [(since, *both) for (since, _, _), *both in zip(parts, levels, upper, strict=True)]
            steps.append((panel.end, levels[-1], upper[-1]))
            found += _area(f"{number} {state}", LOOKS[state].colour, steps, panel)
            levels = upper
    marks = paper.chart(found).mark_area(aria=False, interpolate="step-after", line=False)
    return marks.encode(x=x, y=y, y2="y2:Q", color=_colour(), detail="series:N")


def _area(series: str, colour: str, steps: Sequence[Any], panel: Panel) -> Values:
    """Return the points of a stepped area, as rows of data for the chart. `steps` are (time, lower edge, upper edge) in
    order; a step with the same edges as the one before it is left out. `series`: the name that the points of one area
    have in common.
    """
    last = len(steps) - 1
    changes = [each for at, each in enumerate(steps) if at in (0, last) or each[1:] != steps[at - 1][1:]]
    return [
        {
            "series": series,
            "colour": colour,
            "x": round((since - panel.start) / 1e6, 4),
            "y": round(lower, 2),
            "y2": round(upper, 2),
        }
        for since, lower, upper in changes
    ]


def _colour() -> Part:
    """Return a channel of altair that takes colours from the field "colour" of the data as they are."""
    return alt.Color("colour:N", scale=None, legend=None)


def _legend(paper: _Paper, states: Sequence[State]) -> Part:
    """Return the legend: a small rectangle in the colour of each state, as high as in the rows, and its label; three
    states to a line.
    """
    idle = [state for state in states if state in IDLE]
    entries = [(LOOKS[state], state.label) for state in states if state not in IDLE]
    if idle:
        waits = [state.label.removeprefix("waits for ") for state in idle]
        entries.append((LOOKS[idle[0]], "idle: waits for " + " / ".join(waits)))
    if len(entries) % 3 == 0 and len(entries[-1][1]) > LEGEND_CHARACTERS:
        entries.insert(len(entries) - 1, (LOOKS[State.CLIENT], ""))  # too long for the end of a line
    swatches, words = [], []
    for place, (look, label) in enumerate(entries):
        if not label:
            continue
        left, middle = place % 3 * WIDTH / 3, place // 3 * LEGEND_LINE + LEGEND_LINE / 2
        half = max(look.height, LINE * 1.5) * LEGEND_LINE * 0.9 / 2
        swatches.append({"x": left, "x2": left + 26, "y": middle - half, "y2": middle + half, "colour": look.colour})
        words.append({"x": left + 34, "y": middle, "text": label})
    height = -(-len(entries) // 3) * LEGEND_LINE
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, WIDTH], nice=False))
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[height, 0], nice=False))
    boxes = paper.chart(swatches).mark_rect(aria=False).encode(x=x, x2="x2:Q", y=y, y2="y2:Q", color=_colour())
    written: dict[str, Any] = {"align": "left", "baseline": "middle", "fontSize": 13, "color": INK}
    texts = paper.chart(words).mark_text(**written).encode(x=x, y=y, text="text:N")
    return alt.layer(boxes, texts).properties(width=WIDTH, height=height)
