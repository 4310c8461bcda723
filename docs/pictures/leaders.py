"""A leader and its followers: which thread runs the loop, and what becomes of the others when an application waits.

Two drawings, not to scale: the first time that a page waits, and the next time, when its path is remembered.
"""

from dataclasses import dataclass

from pictures.drawing import WIDTH, Drawing

LABELS = 68
MARGIN = 8
UNIT = (WIDTH - LABELS - MARGIN) / 12
ROW = 44
BOX = 22


@dataclass(frozen=True)
class Row:
    """What one thread does: runs of (client, begin, end), waits with a client, asking the kernel, leading."""

    name: str
    runs: tuple[tuple[int, float, float], ...] = ()
    waits: tuple[tuple[int, float, float, str], ...] = ()
    polls: tuple[float, ...] = ()
    leads: tuple[float, float] | None = None
    looks: tuple[float, ...] = ()
    """Moments at which the watcher looks at the leader."""
    says: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True)
class Scene:
    rows: tuple[Row, ...]
    passes: tuple[int, int, float, str]
    """An arrow from one row to another: what is handed over, and when."""


TAKEN_OVER = Scene(
    (
        Row("queue", waits=((4, 1, 6, "4 waits"),)),
        Row(
            "thread A",
            runs=((1, 1, 2), (2, 2, 3), (3, 3, 4), (3, 9, 10)),
            waits=((3, 4, 9, "waits for a database"),),
            polls=(0,),
            leads=(0, 6),
            says=((11, "follower"),),
        ),
        Row("watcher", looks=(1, 3.5, 6, 8.5, 11), says=((2.25, "2 ms"), (4.75, "2 ms"))),
        Row("thread B", runs=((4, 6, 7), (1, 8, 9), (2, 9, 10)), polls=(7, 10), leads=(6, 12), says=((3, "follower"),)),
    ),
    (1, 3, 6, "the lead"),
)

REMEMBERED = Scene(
    (
        Row(
            "thread B",
            runs=((1, 1, 2), (4, 3, 4), (2, 5, 6), (1, 6, 7), (4, 8, 9), (2, 9, 10)),
            polls=(0, 4, 7, 10),
            leads=(0, 12),
            says=((2.5, "3?"),),
        ),
        Row(
            "thread A",
            runs=((3, 3, 4), (3, 9, 10)),
            waits=((3, 4, 9, "waits for a database"),),
            says=((11, "follower"),),
        ),
    ),
    (0, 1, 2.5, "the request"),
)

SCENES = {"leaders-taken-over": TAKEN_OVER, "leaders-remembered": REMEMBERED}


def draw(scene: Scene) -> Drawing:
    drawing = Drawing(ROW * len(scene.rows) + 52)
    for place, row in enumerate(scene.rows):
        _row(drawing, row, 8 + ROW * place)
    giver, taker, moment, what = scene.passes
    x = LABELS + moment * UNIT
    drawing.arrow((x, 8 + ROW * giver + BOX + 5), (x, 8 + ROW * taker - 2), "strong-line")
    drawing.text(x + 8, 8 + ROW * taker - 8, what, "tiny", "start")
    _below(drawing, 8 + ROW * len(scene.rows))
    return drawing


def _row(drawing: Drawing, row: Row, y: float) -> None:
    drawing.text(LABELS - 8, y + BOX / 2, row.name, "small", "end")
    drawing.line((LABELS, y + BOX / 2), (WIDTH - MARGIN, y + BOX / 2), "base")
    for client, begin, end, words in row.waits:
        drawing.box(LABELS + begin * UNIT + 1, y, (end - begin) * UNIT - 2, BOX, f"wait-{client}")
        drawing.text(LABELS + (begin + end) / 2 * UNIT, y + BOX / 2, words, "tiny")
    for client, begin, end in row.runs:
        drawing.box(LABELS + begin * UNIT, y, (end - begin) * UNIT, BOX, f"client-{client}")
        drawing.text(LABELS + (begin + end) / 2 * UNIT, y + BOX / 2, str(client), "on-colour")
    for begin in row.polls:
        drawing.box(LABELS + begin * UNIT + 1, y, UNIT - 2, BOX, "thread")
        drawing.text(LABELS + (begin + 0.5) * UNIT, y + BOX / 2, "poll", "tiny")
    for moment, words in row.says:
        drawing.box(LABELS + moment * UNIT - len(words) * 3, y + 2, len(words) * 6, BOX - 4, "blank")
        drawing.text(LABELS + moment * UNIT, y + BOX / 2, words, "faint")
    for moment in row.looks:
        x = LABELS + moment * UNIT
        drawing.line((x, y + 3), (x, y + BOX - 3))
    if row.leads:
        begin, end = row.leads
        drawing.line((LABELS + begin * UNIT, y + BOX + 4), (LABELS + end * UNIT, y + BOX + 4), "strong-line")


def _below(drawing: Drawing, y: float) -> None:
    """The axis of time, and what the kinds of marks mean."""
    drawing.arrow((LABELS, y - 4), (WIDTH - MARGIN, y - 4), "faint-line")
    drawing.text(WIDTH - MARGIN, y + 10, "time", "faint", "end")
    middle = y + 32
    drawing.line((MARGIN, middle), (MARGIN + 22, middle), "strong-line")
    drawing.text(MARGIN + 28, middle, "leads: runs the loop", "small", "start")
    drawing.box(156, middle - 7, 18, 14, "client-1")
    drawing.text(180, middle, "runs the application", "small", "start")
    drawing.box(308, middle - 7, 18, 14, "wait-1")
    drawing.text(332, middle, "waits", "small", "start")
