"""The picture of latency over rate, with the limits of the objective as dashed lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from septet.lab.objective.gauge import Gauge
from septet.lab.objective.objective import Objective, milliseconds, written
from septet.lab.objective.search import Outcome
from septet.lab.objective.told import middle
from septet.lab.report import curves, drawing
from septet.lab.report.curves import Curves, Point
from septet.lab.report.drawing import WIDE, Form, Frame
from septet.lab.report.scales import Scale, linear, values_scale

HEADINGS = ("line", "rate", "latency", "range", "outcome")
LOOKS = ("epoll", "preforked", "io_uring", "prethreaded", "poll")
"""The lines of the picture have the colours that other charts use for these process models: the first line that of the
first model, and so on.
"""
LIMIT_LOOK = "forking"


def svg(objective: Objective, gauges: Sequence[Gauge], title: str, caption: Sequence[str], notes: Sequence[str]) -> str:
    """Return the picture of latency over rate as SVG, for light and dark mode: a line for the median and for each
    latency that the objective limits. `title` and `caption` are above it, `notes` below.
    """
    names = list(dict.fromkeys(["p50", *(term.figure for term in objective.latency_terms)]))
    points = [point for place, name in enumerate(names) for point in _line(gauges, name, LOOKS[place % len(LOOKS)])]
    rates = sorted({gauge.rate for gauge in gauges})
    for term in objective.latency_terms:
        label = f"limit of {term.figure}" if len(objective.latency_terms) > 1 else "limit"
        points += [Point(label, LIMIT_LOOK, rate, term.limit / 1000, words=("",) * 5) for rate in (rates[0], rates[-1])]
    drawn = Curves(
        points=points,
        x=partial(_scale, rates),
        y=values_scale(end for point in points for end in (point.y, point.low, point.high) if end is not None),
        x_title="requests per second, offered",
        y_title="ms",
        headings=HEADINGS,
        x_format=",.10~g",
    )
    picture: dict[str, Any] = curves.draw(drawn, WIDE)
    return drawing.svg(drawing.framed(picture, Frame(title, caption, notes)))


def _line(gauges: Sequence[Gauge], name: str, look: str) -> Iterator[Point]:
    """Yield a point for each rate: the median of the figure `name` over the gauges (runs) at that rate, and its range.
    A point is hollow (not valid) if in every one of these runs other programs had the CPUs or the load generator was
    the limit. `look` is the process model whose colour the line has.
    """
    for rate in sorted({gauge.rate for gauge in gauges}):
        here = [gauge for gauge in gauges if gauge.rate == rate]
        value, values = middle(here, name), [us for gauge in here if (us := gauge.figures[name]) is not None]
        if value is None:
            continue
        several = len(values) > 1
        low, high = min(values), max(values)
        held = sum(gauge.outcome is Outcome.HELD for gauge in here)
        told = f"{milliseconds(low)} to {milliseconds(high)}" if several else "one gauge"
        words = (name, f"{rate:,.0f}/s", written(name, value), told, f"held in {held} of {len(here)}")
        ends = (low / 1000, high / 1000) if several else (None, None)
        valid = not all(gauge.is_disturbed or gauge.outcome is Outcome.LIMITED for gauge in here)
        yield Point(name, look, rate, value / 1000, ends[0], ends[1], valid, words)


def _scale(rates: Sequence[float], form: Form, room: float) -> Scale:
    """Return the horizontal scale: linear, from zero to the highest rate, and beyond that so far that `room` pixels are
    left for the names of the lines. `form` is the size of the picture.
    """
    bare = linear(rates[-1])
    high = rates[-1] / (1 - room / form.width)
    return Scale(0.0, high, tuple(tick for tick in bare.ticks if tick <= high))
