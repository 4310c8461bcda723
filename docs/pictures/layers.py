"""Which part of Septet imports which, read from the source.

An arrow that others imply (cli imports server, server imports models, so cli may import models) is left out.
"""

import ast
from functools import cache
from pathlib import Path

import septet
from pictures.drawing import Drawing

SOURCE = Path(septet.__file__).parent

Box = tuple[float, float, float, str]

PLACES: dict[str, Box] = {  # left, top, width, what it is
    "cli": (8, 8, 184, "a function for each verb"),
    "lab": (208, 8, 184, "measures; imports none of it"),
    "server": (8, 84, 384, "loads the application, listens, starts the model"),
    "models": (8, 160, 384, "who moves the bytes, where the application runs"),
    "loop": (8, 236, 120, "asyncio's loops"),
    "session": (140, 236, 120, "one client"),
    "apps": (272, 236, 120, "WSGI, ASGI, files"),
    "pollers": (8, 312, 120, "system calls"),
    "http": (140, 312, 252, "bytes to requests, answers to bytes"),
}
HEIGHT = 46


def draw() -> Drawing:
    drawing = Drawing(366)
    for part, (x, y, width, what) in PLACES.items():
        drawing.box(x, y, width, HEIGHT, "thread" if part in ("http", "session") else "box")
        drawing.text(x + width / 2, y + 16, part, "name")
        drawing.text(x + width / 2, y + 33, what, "tiny")
    for part, imported in sorted(arrows()):
        _arrow(drawing, part, imported)
    drawing.arrow((208, 31), (194, 31), "dashed")
    return drawing


def _arrow(drawing: Drawing, part: str, imported: str) -> None:
    """Straight down, in the middle of what the two boxes have in common."""
    x, y, width, _ = PLACES[part]
    other_x, other_y, other_width, _ = PLACES[imported]
    middle = (max(x, other_x) + min(x + width, other_x + other_width)) / 2
    drawing.arrow((middle, y + HEIGHT), (middle, other_y - 1))


def arrows() -> set[tuple[str, str]]:
    """The imports between the parts, without those that follow from others."""
    graph = imports()
    return {
        (part, imported)
        for part, targets in graph.items()
        for imported in targets
        if not any(imported in _reached(other, graph) for other in targets if other != imported)
    }


def _reached(part: str, graph: dict[str, set[str]]) -> set[str]:
    reached = set(graph[part])
    for target in graph[part]:
        reached |= _reached(target, graph)
    return reached


@cache
def imports() -> dict[str, set[str]]:
    """For each part of `PLACES`, those of them that it imports."""
    graph: dict[str, set[str]] = {part: set() for part in PLACES}
    for path in SOURCE.rglob("*.py"):
        part = path.relative_to(SOURCE).with_suffix("").parts[0]
        if part in PLACES:
            graph[part] |= {name for name in _imported(path) if name in PLACES and name != part}
    return graph


def _imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "septet":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("septet."):
            names.add(str(node.module).split(".")[1])
    return names
