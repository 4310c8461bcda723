"""What the CPU time of a client of the model forking goes into, as bars in units of a bare fork. It was measured by
benchmarks/fork_parts.py.
"""

import json
from pathlib import Path
from typing import Any

from pictures.drawing import WIDTH, Drawing

MEASURED = Path(__file__).with_name("forking.json")

ROWS = {"bare, hello": "bare fork", "hello": "hello", "SQLite": "guestbook, SQLite", "Redis": "guestbook, Redis"}
PARTS = {
    "fork": ("client-1", "the fork"),
    "child": ("client-2", "pages for the child"),
    "parent": ("client-3", "for the parent"),
    "python": ("client-4", "Python, system calls"),
    "end": ("box", "end of the child"),
}
"""The class and the words of each part, in the order in which they come in a bar."""

ROW, BAR, TOP = 40, 18, 48
LEGEND = ((8, 12), (90, 12), (232, 12), (8, 30), (160, 30))
NARROW = 18
"""Units. The figure of a part that is narrower than this is not written."""


def measured() -> dict[str, dict[str, Any]]:
    """Return the measured rows by their names."""
    return {row["name"]: row for row in json.loads(MEASURED.read_text("utf-8"))["rows"]}


def in_bare_forks(name: str) -> dict[str, float]:
    """Return the parts of a row in units of a bare fork of the same server, which was measured at the same time."""
    rows = measured()
    bare = name if name.startswith("bare, ") else f"bare, {name}"
    whole = sum(rows[bare]["ms"].values())
    return {part: ms / whole for part, ms in rows[name]["ms"].items()}


def draw() -> Drawing:
    rows = {name: in_bare_forks(name) for name in ROWS}
    drawing = Drawing(TOP + len(ROWS) * ROW)
    for (kind, words), (x, y) in zip(PARTS.values(), LEGEND, strict=True):
        drawing.box(x, y - 5, 10, 10, kind)
        drawing.text(x + 15, y, words, "small", anchor="start")
    longest = max(sum(parts.values()) for parts in rows.values())
    for index, (name, words) in enumerate(ROWS.items()):
        y = TOP + index * ROW
        parts = rows[name]
        drawing.text(8, y + 2, f"{words}: {sum(parts.values()):.1f}", "small", anchor="start")
        x = 8.0
        for part, (kind, _) in PARTS.items():
            width = parts[part] / longest * (WIDTH - 16)
            drawing.box(x, y + 12, width, BAR, kind)
            if width >= NARROW:
                drawing.text(
                    x + width / 2, y + 12 + BAR / 2, f"{parts[part]:.1f}", "small" if kind == "box" else "on-colour"
                )
            x += width
    return drawing


def table() -> str:
    """Return the Markdown table of pages: how many the kernel copied or mapped."""
    rows = measured()
    lines = ["| | child | parent |", "|---|--:|--:|"]
    for name, words in ROWS.items():
        child, parent = rows[name]["faults"]
        lines.append(f"| {words} | {child:,} | {parent:,} |")
    return "\n".join(lines)
