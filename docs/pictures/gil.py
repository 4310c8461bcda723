"""What a second thread, loop or process gains on two CPUs, with and without the GIL: see benchmarks/gil.py."""

import json
from pathlib import Path
from statistics import median
from typing import Any

from pictures.drawing import WIDTH, Drawing

RUN = Path(__file__).with_name("gil.json")
CONTENTION = Path(__file__).with_name("gil-contention.json")

LEFT, RIGHT = 138, 42
ROW, BAR, HEADING = 19, 11, 24
MOST = 2.0
"""The end of the axis: with two CPUs no gain can be greater."""

KINDS = {
    "prethreaded": ("2 threads", "client-2"),
    "epoll": ("2 loops", "client-1"),
    "preforked": ("2 workers", "client-3"),
}
"""For each model what there is two of, and the colour of its bars."""


def draw() -> Drawing:
    """A bar for each gain (median of the rounds), and a line from the lowest to the highest."""
    recorded = json.loads(RUN.read_text("utf-8"))
    pythons = [each["name"] for each in recorded["pythons"]]
    rows = [row for row in recorded["rows"] if "gain" in row]
    drawing = Drawing(len(pythons) * HEADING + len(rows) * ROW + 22)
    top = 4.0
    for python in pythons:
        gil = next(each["gil"] for each in recorded["pythons"] if each["name"] == python)
        drawing.text(4, top + HEADING / 2, f"{python}, {'with' if gil else 'without'} the GIL", "name", anchor="start")
        top += HEADING
        for row in (row for row in rows if row["python"] == python):
            _draw_row(drawing, row, top)
            top += ROW
    for gain in (1.0, MOST):
        drawing.line((_x(gain), 4), (_x(gain), top), "base")
        drawing.text(_x(gain), top + 9, f"{gain:g} x", "small")
    return drawing


def _draw_row(drawing: Drawing, row: dict[str, Any], top: float) -> None:
    what, kind = KINDS[row["setting"].split(",")[0]]
    middle = top + ROW / 2
    middling, low, high = row["gain"]
    drawing.text(LEFT - 6, middle, f"{what}, {row['page']}", "small", anchor="end")
    drawing.box(LEFT, middle - BAR / 2, _x(middling) - LEFT, BAR, kind)
    drawing.line((_x(low), middle), (_x(high), middle), "line")
    drawing.text(WIDTH - 4, middle, f"{middling:.2f}", "small", anchor="end")


def _x(gain: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * min(gain, MOST * 1.05) / MOST


def gains() -> str:
    """The figures of the drawing and of what they are compared with, as a table."""
    recorded = json.loads(RUN.read_text("utf-8"))
    lines = [
        "| Python | page | served by | requests/s | CPU ms each | gain (lowest to highest) | with CPUs free |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for row in recorded["rows"]:
        gain = "{:.2f} ({:.2f} to {:.2f})".format(*row["gain"]) if "gain" in row else ""
        ready = f"{row['ready_gain'][0]:.2f}" if "gain" in row else ""
        figures = f"{row['per_s']:.0f} | {row['cpu_ms']:.2f} | {gain} | {ready}"
        lines.append(f"| {row['python']} | {row['page']} | {row['setting']} | {figures} |")
    machine = recorded["machine"]
    rounds = max(row["rounds"] for row in recorded["rows"])
    others, clients = (median(each[name] for each in recorded["cells"]) for name in ("others_cpus", "client_cpus"))
    lines += [
        "",
        f"`{recorded['command']}`, {recorded['date']}, commit {recorded['commit']}: {rounds} rounds on "
        f"{machine['cpus']} CPUs ({machine['processor']}, Linux {machine['kernel']}), load "
        f"{recorded['load_at_start']} at the start; other programs used {others:.2f} CPUs meanwhile (median), the "
        f"clients {clients:.2f}.",
        "",
    ]
    lines += [f"- {each['name']}: `./configure {each['build']}`" for each in recorded["pythons"]]
    return "\n".join(lines)


def scaling() -> str:
    """What the universal scalability law says for many threads: between two curves, which both fit one and two."""
    recorded = json.loads(RUN.read_text("utf-8"))
    lines = ["| served by | sigma + 2 kappa | 8 threads | 16 | 64 |", "|---|---:|---:|---:|---:|"]
    free = {each["name"] for each in recorded["pythons"] if not each["gil"]}
    for row in recorded["rows"]:
        shared = "gain" in row and "workers" not in row["setting"]
        if row["python"] not in free or row["page"] != "numbers" or not shared:
            continue
        losses = sorted(max(0.0, 2 / gain - 1) for gain in row["gain"])
        cells = []
        for count in (8, 16, 64):
            worst = count / (1 + losses[2] / 2 * count * (count - 1))
            best = count / (1 + losses[0] * (count - 1))
            cells.append(f"{worst:.1f} to {best:.1f}")
        spread = f"{losses[1]:.3f} ({losses[0]:.3f} to {losses[2]:.3f})"
        lines.append(f"| {row['setting'].split(',')[0]} | {spread} | {' | '.join(cells)} |")
    return "\n".join(lines)


def contention() -> str:
    """The shared locks of each server, and what they allow many threads, as a table."""
    recorded = json.loads(CONTENTION.read_text("utf-8"))
    counts = ("2", "8", "16", "32", "64")
    lines = [
        f"| served by | CPU µs | shared locks, ns held | {' | '.join(f'{count} threads' for count in counts)} |",
        "|---|---:|---|" + "---:|" * len(counts),
    ]
    for name, found in recorded["servers"].items():
        locks = ", ".join(
            f"{lock['name'].split(':')[1].lstrip('_')} {lock['ns']:.0f}" for lock in found["locks"] if lock["shared"]
        )
        gains = " | ".join(f"{found['gain'][count]:.1f}" for count in counts)
        lines.append(f"| {name} | {found['cpu_ns'] / 1000:.1f} | {locks} | {gains} |")
    command = (
        f"`{recorded['command']}`, Python {recorded['python']}, {recorded['date']}, load {recorded['load_at_start']}."
    )
    return "\n".join([*lines, "", command])
