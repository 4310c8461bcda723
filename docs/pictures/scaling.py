"""A recorded run of `--workers 1-6`: users, busy share and workers over time. See scripts/record-scaling."""

import json
from itertools import pairwise
from pathlib import Path

from pictures.drawing import WIDTH, Drawing

RUN = Path(__file__).with_name("scaling.json")

LEFT, RIGHT = 78, 8
ROW, GAP = 52, 22
ROWS = (("users", 14, "{:.0f}"), ("saturation", 1.0, "{:.0%}"), ("workers", 6, "{:.0f}"))
"""What is shown, the end of its axis, and how that is written."""


def draw() -> Drawing:
    samples = json.loads(RUN.read_text("utf-8"))["samples"]
    last_s = samples[-1]["s"]
    drawing = Drawing(len(ROWS) * (ROW + GAP) + 18)

    def x(at_s: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * at_s / last_s

    for index, (name, most, form) in enumerate(ROWS):
        bottom = 10 + index * (ROW + GAP) + ROW
        drawing.text(LEFT - 8, bottom - ROW / 2, name, anchor="end")
        drawing.text(LEFT - 8, bottom - ROW, form.format(most), "small", anchor="end")
        drawing.line((LEFT, bottom), (WIDTH - RIGHT, bottom), "base")
        drawing.line((LEFT, bottom - ROW), (WIDTH - RIGHT, bottom - ROW), "base")
        shown = [
            each
            for before, each, after in zip(samples[:1] + samples, samples, samples[1:] + samples[:1], strict=False)
            if not before[name] == each[name] == after[name]
        ]
        points = [
            (x(each["s"]), bottom - ROW * min(1.0, each[name] / most)) for each in (samples[0], *shown, samples[-1])
        ]
        for before, after in pairwise(points):
            if name != "saturation":  # whole numbers change in steps
                drawing.line(before, (after[0], before[1]), "strong-line")
                before = after[0], before[1]
            drawing.line(before, after, "strong-line")
    for at_s in range(0, int(last_s) + 1, 30):
        drawing.text(x(at_s), len(ROWS) * (ROW + GAP) + 8, f"{at_s} s", "small")
    return drawing
