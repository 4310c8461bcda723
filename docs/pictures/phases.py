"""The phases of a session, drawn from `septet.session.phases.FOLLOWS`: the picture and two tables.

The picture leaves out the ways to the end, which nearly every phase has, and a phase that follows itself; the tables
have everything.
"""

import math
from typing import Any

from pictures.drawing import Drawing
from septet.session import phases
from septet.session.phases import FOLLOWS, OVER, Phase

MIDDLE = (200.0, 178.0)
RADIUS = 132.0
NODE = 38.0
CIRCLE = ("idle", "head", "body", "turn", "answer", "drain")  # clockwise
APART = {"preface": (305.0, 42.0), "over": (120.0, 386.0), "linger": (280.0, 386.0)}
USUAL = {("idle", "turn"), ("turn", "answer"), ("answer", "idle")}
"""A request that comes at once, is answered at once, and leaves the connection to the next."""


def draw() -> Drawing:
    places = _places()
    drawing = Drawing(426)
    edges = [(phase.name, after.name) for phase, follows in FOLLOWS.items() for after in follows]
    for edge in edges:
        if edge[0] != edge[1] and (edge[1] != "over" or edge[0] == "linger") and edge not in USUAL:
            _edge(drawing, edge, places, "faint-line")
    for edge in USUAL:
        assert edge in edges, f"the usual way {edge} is not in FOLLOWS"
        _edge(drawing, edge, places, "strong-line")
    for phase in FOLLOWS:
        x, y = places[phase.name]
        drawing.box(x - NODE, y - 19, 2 * NODE, 38, f"want-{phase.want.name.lower()}")
        drawing.text(x, y - 6, phase.name, "name")
        drawing.text(x, y + 9, phase.want.name, "tiny")
    assert all(OVER in follows for follows in FOLLOWS.values()), "a phase cannot end: the next line is wrong"
    drawing.text(200, 345, "not drawn: each of these may end, in over", "faint")
    return drawing


def _places() -> dict[str, tuple[float, float]]:
    places = dict(APART)
    for place, name in enumerate(CIRCLE):
        angle = math.radians(60 * place - 90)
        places[name] = (MIDDLE[0] + RADIUS * math.cos(angle), MIDDLE[1] + RADIUS * math.sin(angle))
    missing = {phase.name for phase in FOLLOWS} - places.keys()
    assert not missing, f"the picture of the phases has no place for {missing}"
    return places


def _edge(drawing: Drawing, edge: tuple[str, str], places: dict[str, tuple[float, float]], kind: str) -> None:
    """From box to box, bent a little so that there and back are two lines."""
    start, end = places[edge[0]], places[edge[1]]
    drawing.arrow(_rim(start, end), _rim(end, start), kind, bend=7)


def _rim(place: tuple[float, float], towards: tuple[float, float]) -> tuple[float, float]:
    """Where the line from the middle of a box leaves it."""
    dx, dy = towards[0] - place[0], towards[1] - place[1]
    scale = min((NODE + 2) / abs(dx) if abs(dx) > 1e-6 else math.inf, 21 / abs(dy) if abs(dy) > 1e-6 else math.inf)
    return place[0] + dx * scale, place[1] + dy * scale


class _FieldNames:
    """Stands for `Timeouts`, and tells which of its fields a phase asks for."""

    def __getattr__(self, name: str) -> Any:
        return name


def _names() -> dict[Phase, str]:
    """The names under which `phases` has the phases."""
    return {value: name for name, value in vars(phases).items() if isinstance(value, Phase)}


def wants() -> str:
    """What each phase wants, how long it may last, and what happens then."""
    lines = ["| phase | wants | may last | when time is up |", "|---|---|---|---|"]
    for phase in FOLLOWS:
        bound = f"`{phase.timeout(_FieldNames())}`" if phase.timeout else _unbounded(phase)
        late = "408, then close" if phase.answers else "close"
        lines.append(f"| `{phase.name}` | {phase.want.name} | {bound} | {late if phase.timeout else '-'} |")
    return "\n".join(lines)


def _unbounded(phase: Phase) -> str:
    return "as long as the application takes" if phase.want is phases.RUN else "-"


def transitions() -> str:
    """Rows: a phase; columns: what may follow it."""
    names = [phase.name for phase in FOLLOWS]
    lines = ["| from \\ to | " + " | ".join(names) + " |", "|---|" + ":-:|" * len(names)]
    for phase, follows in FOLLOWS.items():
        marks = " | ".join("●" if after in follows else " " for after in FOLLOWS)
        lines.append(f"| **{phase.name}** | {marks} |")
    return "\n".join(lines)
