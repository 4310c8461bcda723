"""The first picture of the report: one small panel for each number of users, whose title says what it shows.

A panel has a bar for each contender (process model or server), the best first. Beside each name is its rank, as exactly
as it is certain: "2-4" for three contenders whose order is not certain. Bars show the figures that the ranking uses
(see `septet.lab.ranking`): if other programs disturbed the machine, these are evened figures, corrected for that (see
`septet.lab.evening`). The title of a panel is the first of RULES that applies, and they begin with the most instructive
one; only pairs of contenders whose order is certain give a title.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import altair as alt

from septet.lab.metric import Metric
from septet.lab.metrics import EVEN_RATE, RATE
from septet.lab.pairs import DECIDED, EQUAL, Standings
from septet.lab.palette import style_of
from septet.lab.ranking import basis, rankings
from septet.lab.report.drawing import (
    INK,
    WIDE,
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
from septet.lab.report.figure_text import text
from septet.lab.results import Results, connections
from septet.lab.summary import Summary

NAME = "glance"
TITLE = "At a glance"
PANELS_MAX = 3
"""Most panels of the picture for one measured page. A panel shows one number of users: with more than this many, only
the first, the middle and the last are shown.
"""
BAR = 21
GUTTER = 30
ROOM = 0.46
"""Share of the width of a panel (the bars for one number of users) that is kept free to the right of the longest bar,
for the number at its end.
"""
TIMES_MIN = 1.25
"""One of RULES gives a panel its title only if the contender that it names first is at least this many times as good as
the one that it names second.
"""

RULES = (
    ("prethreaded", "threaded", "A pool of threads ({0}) serves {times} times what a thread per client ({1}) does"),
    ("preforked", "forking", "A pool of processes ({0}) serves {times} times what a process per client ({1}) does"),
    ("threaded", "prethreaded", "A thread per client ({0}) serves {times} times what a pool of threads ({1}) does"),
    ("threaded", "iterative", "A thread per client ({0}) serves {times} times what one client at a time ({1}) does"),
    ("epoll", "iterative", "{0} with its threads serves {times} times what one client at a time ({1}) does"),
    ("epoll", "forking", "{0} serves {times} times what a process per client ({1}) does"),
)
"""Titles for the panels of the picture, each of which compares contenders (servers or process models) at one number of
users: (contender, another contender, title if it is certain that the first is ahead of the second). A title names both,
as the bars below it do.
"""


@dataclass(frozen=True, slots=True)
class Page:
    """One measured page of an application: the results of the experiment in which users requested it, and the summaries
    of its runs.
    """

    results: Results
    cells: Sequence[Summary]
    title: str = ""
    """What the application does to answer a request for the page, in a phrase, such as "A page that computes". It is
    shown if the report is about several pages.
    """


@dataclass(frozen=True, slots=True)
class _Panel:
    title: str
    place: Sequence[str]
    """The measured page, if there are several; the number of users, and then their connections."""
    metric: Metric
    found: Standings
    cells: Sequence[Summary]
    """The summaries of the contenders (servers or process models) in the order of their bars, the best first."""

    @property
    def subtitle(self) -> str:
        return ", ".join(self.place)


def section(pages: Sequence[Page]) -> Section:
    """Return the first section of the report: the picture that compares the requests per second of all contenders
    (servers or process models) at up to three numbers of users, for each of `pages`.
    """
    rows = [_panels(page) for page in pages]
    panels = [panel for row in rows for panel in row]
    evened = any(panel.metric is EVEN_RATE for panel in panels)
    remark = (
        "Requests per second, the best first. The number beside a name is its rank: a range where the order of several "
        "is not sure, with = where they are equal within 5 %. *: not all users had an answer in time."
    )
    if evened:
        remark += (
            " Other programs used the CPUs, so the figures of a page that computes are evened: what a model would "
            "serve if it had the server's CPUs alone."
        )
    shows = "; ".join(f"{panel.subtitle}: {panel.title}" for panel in panels)
    picture = Picture(NAME, TITLE, _headline(panels), shows, partial(_draw, rows), _data(panels))
    return Section(TITLE, remark, [picture], _table(panels))


def _headline(panels: Sequence[_Panel]) -> str:
    return panels[0].title if panels else TITLE


def _panels(page: Page) -> list[_Panel]:
    by, found = basis(page.results, RATE), rankings(page.results, page.cells)
    used: set[str] = set()
    panels = []
    for users in _some(sorted(found)):
        standings = found[users]
        here = [cell for cell in page.cells if cell.users == users]
        place = {label: number for number, tier in enumerate(standings.tiers) for label in tier}
        here.sort(key=lambda cell: (place.get(cell.label, len(place)), -(cell.median(by.key) or 0.0)))
        where = [f"{users:,} users"]
        if page.title:
            where = [page.title, f"{users:,} users, {connections(page.results)}"]
        panels.append(_Panel(_finding(standings, used), where, by, standings, here))
    return panels


def _some(users: Sequence[int]) -> list[int]:
    if len(users) <= PANELS_MAX:
        return list(users)
    return [users[0], users[len(users) // 2], users[-1]]


def _finding(found: Standings, used: set[str]) -> str:
    """Return the title of a panel, the bars for one number of users: the first of RULES that applies, else a sentence
    about the largest certain ratio of two contenders. `used` has the rules that other panels of the page use already;
    they are not used again, and the new one is added to it.
    """
    for ahead, behind, words in RULES:
        pair = found.pairs.get(frozenset((ahead, behind)))
        if pair is None or words in used or pair.outcome != DECIDED or pair.ahead != ahead:
            continue
        if pair.ratio.value >= TIMES_MIN:
            used.add(words)
            return words.format(ahead, behind, times=_times(pair.ratio.value))
    decided = [pair for pair in found.pairs.values() if pair.outcome == DECIDED]
    if not decided:
        return _nothing_decided(found)
    most = max(decided, key=lambda pair: pair.ratio.value)
    return f"{most.ahead} serves {_times(most.ratio.value)} times what {most.behind} does"


def _nothing_decided(found: Standings) -> str:
    if not found.pairs:
        return "One contender"
    if all(pair.ratio.low is None for pair in found.pairs.values()):
        return "Too few visits to tell who is ahead"
    return "None is surely ahead of another"


def _times(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio < 2.95 else f"{float(f'{ratio:.2g}'):,.0f}" if ratio >= 10 else f"{ratio:.0f}"


def rank(found: Standings, label: str) -> str:
    """Return the rank of the contender (server or process model) `label` as text, as exactly as it is certain: "2", or
    "2-4", or "2=4" if those within this range are equal; "-" if it is not ranked.

    The range begins at one more than the number of contenders that are certainly ahead of it. It ends at the number of
    all contenders less those that are certainly behind it.
    """
    if label not in found.order:
        return "-"
    others = [found.pair(label, other) for other in found.order if other != label]
    first = 1 + sum(pair.outcome == DECIDED and pair.behind == label for pair in others)
    last = len(found.order) - sum(pair.outcome == DECIDED and pair.ahead == label for pair in others)
    if first == last:
        return f"{first}"
    level = [pair for pair in others if pair.outcome != DECIDED]
    return f"{first}{'=' if all(pair.outcome == EQUAL for pair in level) else '-'}{last}"


def _draw(rows: Sequence[Sequence[_Panel]], form: Form) -> Specification:
    """Draw the panels, each of which has the bars for one number of users. In the wide form a measured page has a row
    of panels, in the narrow form all panels are below each other.
    """
    paper = Paper()
    panels = [panel for row in rows for panel in row]
    columns = max(map(len, rows)) if form is WIDE else 1
    names = max((len(_name(panel, cell)) for panel in panels for cell in panel.cells), default=0) * form.character + 12
    width = max(80, (form.width + 44 - GUTTER * (columns - 1)) / columns - names)
    wrap = int((width + names) / (form.character * 1.06))
    lines = max((len(textwrap.wrap(panel.title, wrap)) for panel in panels), default=1)
    lined = rows if form is WIDE else [[panel] for panel in panels]
    parts = [side_by_side([_panel(paper, panel, form, width, wrap, lines) for panel in row], GUTTER) for row in lined]
    return finished(paper, parts, form, shared=False, spacing=30)


def _name(panel: _Panel, cell: Summary) -> str:
    return f"{cell.label}  {rank(panel.found, cell.label)}"


def _panel(paper: Paper, panel: _Panel, form: Form, width: float, wrap: int, lines: int) -> Specification:
    rows = [_row(panel, cell) for cell in panel.cells]
    top = max((row["value"] for row in rows if row["value"]), default=1.0)
    x = alt.X("value:Q", axis=None, scale=alt.Scale(domain=[0, top / (1 - ROOM)], nice=False))
    y = alt.Y(
        "name:N",
        sort=[row["name"] for row in rows],
        title=None,
        axis=alt.Axis(domain=False, ticks=False, labelLimit=400, labelPadding=6),
        scale=alt.Scale(paddingInner=0.28, paddingOuter=0.1),
    )
    present = paper.chart([row for row in rows if row["value"] is not None])
    tooltip = [alt.Tooltip(field, type="nominal") for field in ("name", "text", "verdict")]
    bars = present.mark_bar(aria=False).encode(x=x, y=y, fill=colour(alt.Fill), tooltip=tooltip)
    words = paper.chart(rows).mark_text(
        align="left", baseline="middle", dx=5, fontSize=form.letters, color=INK, aria=False
    )
    texts = words.encode(x=alt.X("end:Q"), y=y, text="text:N")
    wrapped = textwrap.wrap(panel.title, wrap)
    title = panel_title([*wrapped, *[" "] * (lines - len(wrapped))] if form is WIDE else wrapped, panel.place, form)
    return layered([bars, texts], width, BAR * max(1, len(rows)), title=title)


def _row(panel: _Panel, cell: Summary) -> Row:
    found = panel.metric.estimate(cell.figures)
    short = " *" if cell.verdict == "errors" else ""
    return {
        "name": _name(panel, cell),
        "value": None if found is None else found.median,
        "end": 0.0 if found is None else found.median,
        "text": "failed" if found is None else f"{float(f'{found.median:.2g}'):,.0f}{short}",
        "verdict": cell.verdict if cell.reason is None else f"{cell.verdict}: {cell.reason}",
        "colour": style_of(cell.model).colour,
    }


def _data(panels: Sequence[_Panel]) -> Data:
    """Return the figures of the picture: a row of headings, and a row for each bar. The row has the key of the metric,
    which says whether the figure is a measured rate or an evened one (corrected for other programs on the machine).
    """
    found: list[list[str | float | None]] = [["panel", "finding", "line", "rank", "metric", "figure", "verdict"]]
    for panel in panels:
        for cell in panel.cells:
            value = panel.metric.estimate(cell.figures)
            median = None if value is None else value.median
            place = rank(panel.found, cell.label)
            found.append([panel.subtitle, panel.title, cell.label, place, panel.metric.key, median, cell.verdict])
    return found


def _table(panels: Sequence[_Panel]) -> Table:
    """Return a table with a row for each contender (server or process model) and a column for each panel (number of
    users), with the contender's rank and figure there.
    """
    labels = list(dict.fromkeys(cell.label for panel in panels for cell in panel.cells))
    head = ["requests/s", *(panel.subtitle for panel in panels)]
    lines = []
    for label in labels:
        line = [label]
        for panel in panels:
            cell = next((cell for cell in panel.cells if cell.label == label), None)
            line.append("-" if cell is None else f"{rank(panel.found, label)}: {text(panel.metric, cell)}")
        lines.append(line)
    return [head, *lines]
