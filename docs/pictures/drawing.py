"""A few verbs for drawing in SVG: boxes, dots, words and arrows, 400 units wide so that a telephone can show them.

Colours are classes, which `assets/extra.css` fills in for light and dark pages.
"""

import html
import math

WIDTH = 400
HEAD = 7  # length of an arrow's head

Point = tuple[float, float]


class Drawing:
    """Things are drawn one over the other, in the order of the calls."""

    def __init__(self, height: float) -> None:
        self._height = height
        self._parts: list[str] = []

    def svg(self, shows: str) -> str:
        """The drawing on one line (a blank one would end the HTML in Markdown); `shows` is escaped text."""
        head = f'<svg viewBox="0 0 {WIDTH} {self._height:g}" role="img" aria-label="{shows}">'
        return head + "".join(self._parts) + "</svg>"

    def box(self, x: float, y: float, width: float, height: float, kind: str = "box") -> None:
        self._parts.append(f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="5"/>')

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "middle") -> None:
        """`y` is the middle of the line."""
        self._parts.append(
            f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{html.escape(words)}</text>'
        )

    def client(self, x: float, y: float, number: int) -> None:
        """A dot in the colour of the client."""
        self._parts.append(f'<circle class="client-{number}" cx="{x:g}" cy="{y:g}" r="11"/>')
        self.text(x, y, str(number), "on-colour")

    def line(self, start: Point, end: Point, kind: str = "line") -> None:
        (x1, y1), (x2, y2) = start, end
        self._parts.append(f'<line class="{kind}" x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"/>')

    def arrow(self, start: Point, end: Point, kind: str = "line", bend: float = 0) -> None:
        """An arrow that leaves the straight way by `bend` units to its right."""
        (x1, y1), (x2, y2) = start, end
        length = math.hypot(x2 - x1, y2 - y1)
        middle = ((x1 + x2) / 2 - (y2 - y1) / length * bend * 2, (y1 + y2) / 2 + (x2 - x1) / length * bend * 2)
        path = f"M{x1:.1f} {y1:.1f}Q{middle[0]:.1f} {middle[1]:.1f} {x2:.1f} {y2:.1f}"
        self._parts.append(f'<path class="{kind}" d="{path}"/>')
        self._head(end, math.atan2(y2 - middle[1], x2 - middle[0]), kind)

    def _head(self, tip: Point, angle: float, kind: str) -> None:
        sides = (angle - 0.4, angle + 0.4)
        corners = [tip, *((tip[0] - HEAD * math.cos(side), tip[1] - HEAD * math.sin(side)) for side in sides)]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
        self._parts.append(f'<polygon class="{kind}-head" points="{points}"/>')
