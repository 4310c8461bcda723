"""Which part of Septet imports which, read from the source.

An arrow that others imply (cli imports server, server imports models, so cli may import models) is left out. Where the
boxes stand is written here by hand; an arrow that would run through a box fails the build of the documentation, so a
new import that the layout cannot show is noticed.
"""

import ast
from functools import cache
from pathlib import Path

import septet
from pictures.drawing import Drawing, Point

SOURCE = Path(septet.__file__).parent

Box = tuple[float, float, float, str]

PLACES: dict[str, Box] = {  # left, top, width, what it is
    "cli": (4, 8, 122, "the verbs"),
    "embedding": (134, 8, 122, "run, Server"),
    "lab": (274, 8, 122, "measures"),
    "server": (4, 82, 392, "loads the application, listens, starts the model"),
    "models": (4, 148, 392, "who moves the bytes, where the application runs"),
    "service": (4, 214, 392, "what a model is given; Service.accepted chooses the protocol"),
    "apps": (4, 280, 68, "WSGI, ASGI"),
    "settings": (80, 280, 80, "the options"),
    "session": (168, 280, 132, "one client each, no I/O"),
    "processes": (308, 280, 88, "fork, signals"),
    "net": (26, 366, 40, "sockets"),
    "proxies": (69, 366, 54, "trust"),
    "http2": (126, 366, 44, "streams"),
    "websocket": (173, 366, 72, "messages"),
    "rules": (248, 366, 37, "limits"),
    "protocol": (288, 366, 60, "the seam"),
    "loop": (352, 366, 44, "asyncio"),
    "http": (4, 432, 148, "bytes to requests; no I/O"),
    "pollers": (336, 432, 60, "syscalls"),
    "exchange": (4, 498, 339, "Request, ResponseHead, Exchange: what all others share"),
}
HEIGHT = 46
PURE = ("session", "http", "http2", "websocket", "protocol", "rules", "exchange")
"""Drawn in another colour: they do no I/O and read no clock."""


def draw() -> Drawing:
    drawing = Drawing(552)
    for part, (x, y, width, what) in PLACES.items():
        drawing.box(x, y, width, HEIGHT, "thread" if part in PURE else "box")
        drawing.text(x + width / 2, y + 16, part, "name")
        drawing.text(x + width / 2, y + 33, what, "tiny")
    for part, imported in sorted(arrows()):
        drawing.arrow(*_way(part, imported))
    x, y, width, _ = PLACES["lab"]
    drawing.arrow((x + width / 2, y + HEIGHT), (x + width / 2, PLACES["server"][1] - 1), "dashed")
    drawing.text(x + width / 2 - 6, y + HEIGHT + 14, "as a process", "tiny", "end")
    return drawing


def _way(part: str, imported: str) -> tuple[Point, Point]:
    """From the bottom of one box to the top of the other: straight down if they overlap, else from corner to corner."""
    left, top, width, _ = PLACES[part]
    other_left, other_top, other_width, _ = PLACES[imported]
    first, last = max(left, other_left), min(left + width, other_left + other_width)
    if first < last:
        start = end = (first + last) / 2
        if part == "apps":  # `net` stands below its other half
            start = end = (first + PLACES["net"][0]) / 2
    else:
        start, end = (left + 8, other_left + other_width - 8) if left > other_left else (last - 8, first + 8)
    for name, (x, y, wide, _) in PLACES.items():
        if top < y < other_top and x < max(start, end) and min(start, end) < x + wide:
            raise ValueError(f"the arrow from {part} to {imported} runs through {name}: change pictures/layers.py")
    return (start, top + HEIGHT), (end, other_top - 1)


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


def modules(package: str, names: str) -> str:
    """A table of the modules of a package whose names begin as `names` says, with the first sentence of each."""
    lines = ["| module | what it is |", "|---|---|"]
    for path in sorted((SOURCE / package).glob(f"{names}*.py")):
        if path.stem != "__init__":
            text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
            lines.append(f"| `{path.stem}` | {_first_sentence(text)} |")
    return "\n".join(lines)


def _first_sentence(text: str) -> str:
    first = " ".join(text.partition("\n\n")[0].split())
    return first.partition(". ")[0].rstrip(".:").replace("|", "\\|") + "."
