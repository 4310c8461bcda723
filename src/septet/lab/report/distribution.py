"""Draws the distribution of latencies at one number of users, in the way of Gil Tene's HdrHistogram.

Horizontally 90 %, 99 %, 99.9 %, ... are at equal distances, so that the wait of one request in ten thousand is as
visible as the median. All runs of a server or process model at that number of users are merged, by adding the buckets
of their histograms. Each line ends at its longest request.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial

from septet.lab.load import Histogram
from septet.lab.report import curves
from septet.lab.report.curves import Curves, Point
from septet.lab.report.drawing import Data, Form, Picture, Section, Table
from septet.lab.report.figure_text import number
from septet.lab.report.scales import Scale, values_scale
from septet.lab.summary import Summary
from septet.lab.tables import AT_LEAST
from septet.lab.verdicts import DOUBT_MARK

HEADINGS = ("line", "percentile", "latency", "requests beyond it")
STEPS_PER_DECADE = 24
PERCENTILES = (50.0, 75.0, 90.0, 99.0, 99.9, 99.99)
FIRST = 10 / 9
"""Position at which the horizontal axis begins. A position x means "one in x requests took longer", so this is the 10th
percentile: 1 / (1 - 0.1).
"""
_NAMES = "format(100 - 100 / datum.value, '.6~g') + ' %'"


def section(cells: Sequence[Summary], users: int) -> Section | None:
    """Return the section of the report about the distribution of latencies; None when there was no answer at that
    number of users.
    """
    here = [cell for cell in cells if cell.users == users and cell.latencies.count]
    if not here:
        return None
    title = f"How long users waited, at {users:,} users"
    points = [point for cell in here for point in _points(cell)]
    most = max(cell.latencies.count for cell in here)
    drawn = Curves(
        points=points,
        x=partial(_scale, most),
        y=values_scale(point.y for point in points if point.y is not None),
        x_title="percentile: this part of the requests took no longer",
        y_title="ms",
        headings=HEADINGS,
        x_words=_NAMES,
        with_points=False,
    )
    name = f"latency-distribution-{users}"
    shows = f"{title}: latency over percentiles, for each contender"
    remark = (
        "All answers of all runs together, so p50 and p99 are not those of the other tables, which are medians of the "
        f"runs. Those who had none by the end are missing; {DOUBT_MARK} marks what is not valid."
    )
    return Section(
        title, remark, [Picture(name, title, title, shows, partial(curves.draw, drawn), _data(points))], _table(here)
    )


def _data(points: Sequence[Point]) -> Data:
    """Return the figures of the picture: headings, and a row (line, percentile, latency in ms) for each point of the
    lines. The percentile is the percentage of requests that took no longer.
    """
    rows = [[point.label, 100 - 100 / point.x, point.y] for point in points]
    return [["line", "percentile", "latency (ms)"], *rows]


def _points(cell: Summary) -> Iterator[Point]:
    """Yield the points of the line of `cell` (a server or process model at one number of users), from the 10th
    percentile to the longest request. They are at equal distances on the axis.
    """
    count = cell.latencies.count
    steps = range(math.ceil(math.log10(count) * STEPS_PER_DECADE) + 1)
    wanted = [FIRST * 10 ** (place / STEPS_PER_DECADE) for place in steps]
    found = _at(cell.latencies, [min(each, count) for each in wanted])
    for beyond, us in zip(wanted, found, strict=True):
        x = max(min(beyond, count), FIRST)
        words = (cell.label, f"{100 - 100 / x:.6g} %", f"{number(us / 1000)} ms", f"{count / x:,.0f}")
        yield Point(cell.label, cell.model, x, us / 1000, valid=cell.verdict == "valid", words=words)


def _at(latencies: Histogram, beyond: Sequence[float]) -> list[int]:
    """Return, for each x of `beyond`, the latency in µs that all but one in x requests do not exceed.

    `beyond` must ascend, so that one pass over the buckets is enough.
    """
    buckets = iter(latencies.sparse().items())
    total, seen, us = latencies.count, 0, 0
    found = []
    for each in beyond:
        wanted = max(1.0, total * (1 - 1 / each))
        while seen < wanted - 1e-6:
            us, count = next(buckets)
            seen += count
        found.append(us)
    return found


def _scale(most: int, form: Form, room: float) -> Scale:
    decades = max(math.log10(most), 1.0)
    ticks = (FIRST, 2.0, *(10.0**power for power in range(1, math.floor(decades) + 1)))
    per_pixel = decades / (form.width - room)
    narrow = form.width < 400  # there is no room for both 10 % and 50 %
    shown = tuple(tick for tick in ticks if not (narrow and tick == 2.0))
    return Scale(10 ** (-0.012 * form.width * per_pixel), 10 ** (decades + room * per_pixel), shown, logarithmic=True)


def _table(cells: Sequence[Summary]) -> Table:
    head = ["ms", *(f"p{percent:g}" for percent in PERCENTILES), "max", "answers"]
    return [head, *(_line(cell) for cell in cells)]


def _line(cell: Summary) -> list[str]:
    least, doubt = AT_LEAST * cell.is_cut, DOUBT_MARK * (cell.verdict != "valid")
    found = [cell.latencies.percentile(percent) for percent in PERCENTILES] + [cell.latencies.max_us]
    return [
        cell.label,
        *("-" if us is None else least + number(us / 1000) + doubt for us in found),
        f"{cell.latencies.count:,}",
    ]
