"""Two drawings for each model: who holds which client, and who runs and who waits.

The second one is a thought experiment and no measurement. Three clients come at the same moment; each request
computes for one unit of time, waits two units for a database, and computes one more. There are two CPUs, and in one
interpreter one thread runs Python at a time.
"""

from dataclasses import dataclass

from pictures.drawing import WIDTH, Drawing

MARGIN = 8
GAP = 8
LABELS = 84  # the width of the rows' names
UNIT = (WIDTH - LABELS - MARGIN) / 12
ROW = 30


@dataclass(frozen=True)
class Thread:
    """A thread: what it does, word by word, and whom it serves at the moment."""

    words: tuple[str, ...]
    clients: tuple[int, ...] = ()


@dataclass(frozen=True)
class Process:
    name: str
    threads: tuple[Thread, ...]


@dataclass(frozen=True)
class Row:
    """What one thread does in time."""

    name: str
    runs: tuple[tuple[int, int, int], ...]
    """(client, begin, end)."""
    waits: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True)
class Model:
    kernel: str
    kept: tuple[int, ...]
    """The clients that the kernel keeps."""
    processes: tuple[Process, ...]
    rows: tuple[Row, ...]
    up: str = ""
    """What a loop tells the kernel; nothing for models that wait for one client at a time."""
    down: str = ""


def _whole(client: int, begin: int) -> tuple[tuple[tuple[int, int, int], ...], tuple[tuple[int, int, int], ...]]:
    """A request that is not interrupted: its runs, and its wait."""
    return ((client, begin, begin + 1), (client, begin + 3, begin + 4)), ((client, begin + 1, begin + 3),)


def _row(name: str, *requests: tuple[int, int]) -> Row:
    """A thread that serves whole requests, one after another: (client, begin)."""
    wholes = [_whole(*request) for request in requests]
    runs = tuple(run for runs, _ in wholes for run in runs)
    return Row(name, runs, tuple(wait for _, waits in wholes for wait in waits))


SERVE = ("accept", "serve", "close")
ONE_BY_ONE = ((1, 0), (2, 4), (3, 8))
IN_TURNS = ((1, 0, 1), (2, 1, 2), (3, 2, 3), (1, 3, 4), (2, 4, 5), (3, 5, 6))
ON_A_LOOP = (
    Row("ASGI", IN_TURNS),
    _row("WSGI: A", (1, 0)),
    _row("B", (2, 1)),
    _row("C", (3, 2)),
    _row("--threads 0", *ONE_BY_ONE),
)
QUEUE = "kernel: the queue of listen(2)"

MODELS = {
    "iterative": Model(
        QUEUE, (2, 3, 4), (Process("process", (Thread(SERVE, (1,)),)),), (_row("the thread", *ONE_BY_ONE),)
    ),
    "forking": Model(
        QUEUE,
        (),
        (
            Process("parent", (Thread(("accept", "fork")),)),
            *(Process("child", (Thread(("serve", "exit"), (number,)),)) for number in (1, 2, 3)),
        ),
        (
            _row("child 1", (1, 0)),
            _row("child 2", (2, 0)),
            _row("child 3", (3, 1)),
        ),
    ),
    "preforked": Model(
        QUEUE,
        (3, 4),
        (
            Process("supervisor", (Thread(("fork", "replace")),)),
            *(Process("worker", (Thread(SERVE, (number,)),)) for number in (1, 2)),
        ),
        (_row("worker 1", (1, 0), (3, 4)), _row("worker 2", (2, 0))),
    ),
    "threaded": Model(
        QUEUE,
        (),
        (
            Process(
                "process",
                (Thread(("accept", "start")), *(Thread(("serve", "end"), (number,)) for number in (1, 2, 3))),
            ),
        ),
        (_row("thread 1", (1, 0)), _row("thread 2", (2, 1)), _row("thread 3", (3, 2))),
    ),
    "prethreaded": Model(
        QUEUE,
        (3, 4),
        (Process("process", (Thread(SERVE, (1,)), Thread(SERVE, (2,)))),),
        (_row("thread 1", (1, 0), (3, 5)), _row("thread 2", (2, 1))),
    ),
    "poll": Model(
        "kernel: looks at each, at every call",
        (),
        (Process("process", (Thread(("ask about all of them; serve those that are ready",), (1, 2, 3, 4)),)),),
        ON_A_LOOP,
        up="poll: 1, 2, 3, 4",
        down="ready: 2, 4",
    ),
    "epoll": Model(
        "kernel: keeps the list",
        (1, 2, 3, 4),
        (Process("process", (Thread(("serve those that are ready",), (2, 4)),)),),
        ON_A_LOOP,
        up="add, once each",
        down="ready: 2, 4",
    ),
    "io_uring": Model(
        "kernel: keeps a receive for each, and fills the ring",
        (1, 2, 3, 4),
        (Process("process", (Thread(("serve those whose data has come",), (2, 4)),)),),
        ON_A_LOOP,
        up="receive, once each",
        down="data of 2, of 4",
    ),
    "interpreters": Model(
        QUEUE,
        (3, 4),
        (
            Process(
                "process: the main interpreter, and two beside it",
                (Thread(("signals", "orders")), Thread(SERVE, (1,)), Thread(SERVE, (2,))),
            ),
        ),
        (_row("interpreter 1", (1, 0), (3, 4)), _row("interpreter 2", (2, 0))),
    ),
}


def structure(model: Model) -> Drawing:
    """Kernel above, processes below, threads in them, clients where they are."""
    drawing = Drawing(236)
    drawing.box(MARGIN, 8, WIDTH - 2 * MARGIN, 62, "kernel")
    drawing.text(WIDTH / 2, 23 if model.kept or not model.up else 39, model.kernel, "small")
    _clients(drawing, model.kept, WIDTH / 2, 50)
    if not model.kept and not model.up:
        drawing.text(WIDTH / 2, 50, "no client waits", "faint")
    width = (WIDTH - 2 * MARGIN - GAP * (len(model.processes) - 1)) / len(model.processes)
    for place, process in enumerate(model.processes):
        _process(drawing, process, MARGIN + place * (width + GAP), width)
    if model.up:
        _conversation(drawing, model)
    return drawing


def _conversation(drawing: Drawing, model: Model) -> None:
    """What a loop tells the kernel, and what it is told."""
    drawing.arrow((110, 102), (110, 72))
    drawing.text(118, 87, model.up, "small", "start")
    drawing.arrow((250, 72), (250, 102))
    drawing.text(258, 87, model.down, "small", "start")


def _process(drawing: Drawing, process: Process, x: float, width: float) -> None:
    drawing.box(x, 104, width, 124, "process")
    drawing.text(x + width / 2, 118, process.name, "small")
    share = (width - GAP) / len(process.threads)
    for place, thread in enumerate(process.threads):
        left = x + GAP / 2 + place * share + 2
        drawing.box(left, 130, share - 4, 92, "thread")
        middle = left + (share - 4) / 2
        if thread.words[0] == "accept":
            drawing.arrow((middle, 72), (middle, 102))
        words = thread.words if len(process.threads) > 1 or width < WIDTH / 2 else (" → ".join(thread.words),)
        top = 146 if thread.clients else 176 - 8 * (len(words) - 1)
        for line, word in enumerate(words):
            drawing.text(middle, top + 16 * line, word, "small")
        _clients(drawing, thread.clients, middle, 206)


def _clients(drawing: Drawing, clients: tuple[int, ...], middle: float, y: float) -> None:
    for place, number in enumerate(clients):
        drawing.client(middle + (place - (len(clients) - 1) / 2) * 30, y, number)


def time(model: Model) -> Drawing:
    """A row for each thread; full where it runs for a client, outlined where it waits with one."""
    drawing = Drawing(ROW * len(model.rows) + 34)
    for place, row in enumerate(model.rows):
        y = 8 + ROW * place
        drawing.text(LABELS - 8, y + 11, row.name, "small", "end")
        drawing.line((LABELS, y + 11), (LABELS + 12 * UNIT, y + 11), "base")
        for client, begin, end in row.waits:
            drawing.box(LABELS + begin * UNIT + 1, y, (end - begin) * UNIT - 2, 22, f"wait-{client}")
            drawing.text(LABELS + (begin + end) / 2 * UNIT, y + 11, "waits", "tiny")
        for client, begin, end in row.runs:
            drawing.box(LABELS + begin * UNIT, y, (end - begin) * UNIT, 22, f"client-{client}")
            drawing.text(LABELS + (begin + end) / 2 * UNIT, y + 11, str(client), "on-colour")
    bottom = 8 + ROW * len(model.rows)
    drawing.arrow((LABELS, bottom + 2), (LABELS + 12 * UNIT, bottom + 2), "faint-line")
    drawing.text(LABELS + 12 * UNIT, bottom + 16, "time", "faint", "end")
    return drawing
