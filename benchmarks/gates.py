"""How often `septet bench --gate` raises an alarm about nothing, and how often it sees a real change.

    python benchmarks/gates.py --gates 40 --out /tmp/gates
    python benchmarks/gates.py --gates 10 --out /tmp/gates-slower --slower 30
    python benchmarks/gates.py --out /tmp/gates        # judges what is there, and measures nothing

Measures one small application in N + 2 sittings, one after the other, and judges each with the one before it as its
baseline, as the gate does: an alarm is what is worse in a sitting and in the next one too, which is its second look.
With --slower P two of three sittings compute P percent more, and are judged against the one before them.
"""

from __future__ import annotations

import argparse
import datetime
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from septet.lab import results
from septet.lab.compare.comparison import Comparison
from septet.lab.gate import gated
from septet.lab.results import Results

APP = """
import os

TURNS = int(os.environ.get("GATES_TURNS", "2000"))


def app(environ, start_response):
    total = 0
    for number in range(TURNS):
        total += number
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]
"""
TURNS = 2000
PLAN = ["--users", "20", "--keep-alive", "--duration", "0.4", "--warmup", "0.2", "--warmup-max", "0.2"]
TOLERANCE = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gates", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--models", default="epoll")
    parser.add_argument("--slower", type=float, default=0.0, metavar="PERCENT")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if options.gates:
        measure(options)
    judge(options.out)


def measure(options: argparse.Namespace) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "gates_app.py").write_text(APP)
    (options.out / "slower").write_text(f"{options.slower}\n")
    print(f"{datetime.datetime.now():%Y-%m-%d %H:%M}: {' '.join(sys.argv)}", flush=True)
    words = ["gates_app:app", "--models", options.models, "--repeats", str(options.repeats), *PLAN]
    sittings = options.gates * 3 if options.slower else options.gates + 2
    for number in range(sittings):
        changed = options.slower and number % 3
        turns = round(TURNS * (1 + options.slower / 100)) if changed else TURNS
        done = bench(options.out, [*words, "--out", str(options.out / str(number))], turns)
        assert done.returncode == 0, done.stderr
        print(f"sitting {number + 1} of {sittings}, load average {os.getloadavg()[0]:.1f}", flush=True)


def bench(directory: Path, words: list[str], turns: int) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(directory), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "GATES_TURNS": str(turns)}
    command = [sys.executable, "-m", "septet", "bench", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


def judge(directory: Path) -> None:
    slower = float((directory / "slower").read_text()) if (directory / "slower").exists() else 0.0
    numbers = sorted(int(path.parent.name) for path in directory.glob("[0-9]*/results.json"))
    found = [results.read(directory / str(number) / results.NAME) for number in numbers]
    step = 3 if slower else 1
    outcomes = [judged(*found[place : place + 3]) for place in range(0, len(found) - 2, step)]
    firsts, alarms, of = sum(first for first, _, _ in outcomes), sum(each for _, each, _ in outcomes), len(outcomes)
    low, high = clopper_pearson(alarms, of)
    loads = [run["load_average_before"][0] for each in found for run in each["runs"]]
    print(f"from {found[0]['started']} to {found[-1]['finished']}; load average {min(loads):.1f} to {max(loads):.1f}")
    print(f"computing {slower:g} % more: " if slower else "nothing changed: ", end="")
    print(f"alarms {alarms} of {of} ({alarms / of:.1%}; 95 % interval {low:.1%} to {high:.1%}); worse once: {firsts}")
    for name in ("CPU/probe", "memory", "requests/s", "p99"):
        widths = [width for _, _, each in outcomes if (width := each.get(name)) is not None]
        if widths:
            print(f"{name}: judged in {len(widths)}; could be seen: a change of {statistics.median(widths):.0%}")


def judged(baseline: Results, now: Results, later: Results) -> tuple[bool, bool, dict[str, float]]:
    """Whether it is worse once, whether it is worse twice, and the smallest visible change by metric."""
    first, second = gated(baseline, now, TOLERANCE), gated(baseline, later, TOLERANCE)
    return bool(first.worse), bool(first.worse & second.worse), visible(first.steady) | visible(first.others)


def visible(found: Comparison) -> dict[str, float]:
    changes = [(name, change) for row in found.rows for name, change in row.changes.items()]
    return {name: change.visible for name, change in changes if change.visible and change.outcome != "not judged"}


def clopper_pearson(count: int, of: int, level: float = 0.95) -> tuple[float, float]:
    """The exact interval of a share, by bisection on the binomial distribution."""

    def chance(numbers: range, share: float) -> float:
        return sum(math.comb(of, k) * share**k * (1 - share) ** (of - k) for k in numbers)

    tail = (1 - level) / 2
    low = 0.0 if not count else bisected(lambda share: chance(range(count, of + 1), share) < tail)
    high = 1.0 if count == of else bisected(lambda share: chance(range(count + 1), share) > tail)
    return low, high


def bisected(is_below: Callable[[float], bool]) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return low


if __name__ == "__main__":
    main()
