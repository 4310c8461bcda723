"""Draws each metric over the number of users, in up to three pictures: all numbers of users, those up to 1,000, those
above 1,000.

The pictures are divided like those of the older experiment that `--profile seed` repeats (see `lab.profiles`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from septet.lab.metric import Chart, Metric
from septet.lab.metrics import CHARTS, RATE
from septet.lab.profiles import seed_curves
from septet.lab.report import curves
from septet.lab.report.curves import Curves, Point
from septet.lab.report.drawing import Data, Form, Picture, Section, Table
from septet.lab.report.figure_text import text, with_interval
from septet.lab.report.scales import Scale, users_scale, values_scale
from septet.lab.results import Results
from septet.lab.summary import Summary

SEED_EDGE = 1000
"""The number of users at which charts over users are divided: beside the chart with all, there may be one with up to so
many users and one with more. The experiment that `--profile seed` repeats divided its charts so.
"""
ENOUGH = 3
"""Besides the chart with all numbers of users, one with only the smaller or only the larger ones (see SEED_EDGE) is
made if there are at least this many of these numbers.
"""
HEADINGS = ("line", "users", "figure", "interval", "verdict")


def sections(cells: Sequence[Summary], results: Results) -> list[Section]:
    """Return a section of the report for each metric of which at least one cell (a server or process model at one
    number of users) has a figure. A metric whose chart is `only_above_0`, such as errors, has a section only if a
    figure is above 0.
    """
    known = [metric for metric in CHARTS if any(_worth_drawing(metric, cell) for cell in cells)]
    seed = results["experiment"]["profile"] == "seed"
    return [_section(metric, cells, seed) for metric in known or [RATE]]


def _chart(metric: Metric) -> Chart:
    assert metric.chart is not None, "only metrics with a chart are drawn"
    return metric.chart


def _worth_drawing(metric: Metric, cell: Summary) -> bool:
    found = metric.estimate(cell.figures)
    return found is not None and (not _chart(metric).only_above_0 or found.median > 0)


def _section(metric: Metric, cells: Sequence[Summary], seed: bool) -> Section:
    pictures = [_picture(metric, cells, seed, suffix, short, users) for suffix, short, users in _ranges(cells)]
    remark = ""
    if seed and metric is RATE:
        remark = "Faint: what the seed measured in 2019, with servers in C on another machine."
    return Section(_chart(metric).title, remark, pictures, table(metric, cells))


def _ranges(cells: Sequence[Summary]) -> list[tuple[str, str, list[int]]]:
    users = sorted({cell.users for cell in cells})
    few = [number for number in users if number <= SEED_EDGE]
    many = [number for number in users if number > SEED_EDGE]
    found = [("", "all users", users)]
    if many and len(few) >= ENOUGH:
        found.append((f"-to-{SEED_EDGE}", f"up to {SEED_EDGE:,}", few))
    if few and len(many) >= ENOUGH:
        found.append((f"-above-{SEED_EDGE}", f"above {SEED_EDGE:,}", many))
    return found


def _picture(
    metric: Metric, cells: Sequence[Summary], seed: bool, suffix: str, short: str, users: list[int]
) -> Picture:
    points = [_point(metric, cell) for cell in cells if cell.users in users]
    faint = _seed_points(points, users) if seed and metric is RATE else []
    edges = [edge for p in points for edge in (p.y, p.low, p.high) if edge is not None]
    edges += [p.y for p in faint if p.y is not None]
    drawn = Curves(
        points=points,
        x=partial(_scale, users),
        y=values_scale(edges, always_linear=_chart(metric).linear),
        x_title="simultaneous users",
        y_title=metric.unit,
        headings=HEADINGS,
        faint=faint,
    )
    chart = _chart(metric)
    title = chart.title if not suffix else f"{chart.title}, {short} users"
    shows = f"{title}, for each contender over users"
    here = [cell for cell in cells if cell.users in users]
    return Picture(chart.name + suffix, short, title, shows, partial(curves.draw, drawn), data(metric, here))


def data(metric: Metric, cells: Sequence[Summary]) -> Data:
    """Return a row of headings, and a row for each cell (a server or process model at one number of users): the median
    of its runs in the metric's unit, the ends of its interval, and the verdict whether it can be relied on.
    """
    unit = f" ({metric.unit})" if metric.unit else ""
    rows: list[list[str | float | None]] = [
        ["line", "users", f"{_chart(metric).title}{unit}", "low", "high", "verdict"]
    ]
    for cell in cells:
        found = metric.estimate(cell.figures)
        figures = [None] * 3 if found is None else [found.median, found.low, found.high]
        rows.append([cell.label, cell.users, *figures, cell.verdict])
    return rows


def _scale(users: Sequence[int], form: Form, room: float) -> Scale:
    return users_scale(users, form.width, room, form.character)


def _point(metric: Metric, cell: Summary) -> Point:
    found = metric.estimate(cell.figures)
    if found is None:
        return Point(cell.label, cell.model, cell.users, None)
    known = found.low is not None and found.high is not None
    words = (
        cell.label,
        f"{cell.users:,}",
        f"{with_interval(found._replace(low=None))} {metric.unit}",
        f"{found.low:,.4g} to {found.high:,.4g}" if known else "not known: too few runs",
        cell.verdict if cell.reason is None else f"{cell.verdict}: {cell.reason}",
    )
    return Point(
        cell.label, cell.model, cell.users, found.median, found.low, found.high, cell.verdict == "valid", words
    )


def _seed_points(points: Sequence[Point], users: list[int]) -> list[Point]:
    """Return points with the rates that were measured in the older experiment which `--profile seed` repeats: for the
    process models that have `points`, and for numbers of users from the first to the last of `users`.
    """
    models = dict.fromkeys(point.model for point in points)
    return [
        Point(model, model, number, rate)
        for model, curve in seed_curves().items()
        if model in models
        for number, rate in curve
        if users[0] <= number <= users[-1]
    ]


def table(metric: Metric, cells: Sequence[Summary]) -> Table:
    """Return the table of one metric: a row for each contender (server or process model), a column for each number of
    users.
    """
    found = {(cell.label, cell.users): cell for cell in cells}
    users = sorted({cell.users for cell in cells})
    labels = dict.fromkeys(cell.label for cell in cells)
    head = [metric.unit, *(f"{number:,} users" for number in users)]
    return [head, *([label, *(text(metric, found.get((label, number))) for number in users)] for label in labels)]
