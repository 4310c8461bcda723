"""The way of a request as a ladder: who calls whom, from the top down. The pages name the files beside it."""

from dataclasses import dataclass

from pictures.drawing import Drawing

LANES = {"kernel": 44, "models": 148, "session, http": 256, "application": 356}
STEP = 27
TOP = 48


@dataclass(frozen=True)
class Step:
    """One call, or one handing back; numbered like the list on the page."""

    start: str
    end: str
    words: str


K, M, S, A = LANES

SEQUENCES: dict[str, tuple[Step, ...]] = {
    "flow-wsgi-epoll": (
        Step(K, M, "readable"),
        Step(M, K, "recv"),
        Step(M, S, "receive(data)"),
        Step(S, M, "RUN"),
        Step(M, A, "call, when due"),
        Step(A, M, "Response"),
        Step(M, S, "respond"),
        Step(S, M, "WRITE"),
        Step(M, K, "send"),
        Step(M, S, "wrote(count)"),
        Step(S, M, "READ"),
        Step(M, K, "epoll_wait"),
    ),
    "flow-asgi-threaded": (
        Step(K, M, "a new client"),
        Step(M, K, "poll, recv"),
        Step(M, S, "receive(data)"),
        Step(S, M, "RUN"),
        Step(M, A, "scope, receive, send"),
        Step(A, S, "respond"),
        Step(S, M, "WRITE"),
        Step(M, K, "send"),
        Step(M, S, "wrote(count)"),
        Step(S, M, "READ"),
        Step(A, M, "returns"),
        Step(M, K, "poll, recv"),
    ),
    "flow-file": (
        Step(M, A, "the turn"),
        Step(A, M, "Response(head, region)"),
        Step(M, S, "respond"),
        Step(S, M, "WRITE"),
        Step(M, K, "send the head"),
        Step(M, S, "wrote(count)"),
        Step(S, M, "WRITE"),
        Step(M, K, "sendfile"),
        Step(M, S, "wrote(count)"),
        Step(S, M, "WRITE or RUN"),
        Step(M, A, "close the file"),
    ),
}


def draw(steps: tuple[Step, ...]) -> Drawing:
    height = TOP + STEP * len(steps)
    drawing = Drawing(height + 8)
    for name, x in LANES.items():
        drawing.box(x - 44, 6, 88, 24, "kernel" if name == "kernel" else "box")
        drawing.text(x, 18, name, "small")
        drawing.line((x, 30), (x, height), "base")
    for place, step in enumerate(steps):
        y = TOP + STEP * place + 12
        start, end = LANES[step.start], LANES[step.end]
        drawing.arrow((start, y), (end, y), "line" if start < end or step.start == M else "back")
        drawing.text((start + end) / 2, y - 8, f"{place + 1} {step.words}", "small")
    return drawing
