"""How often `septet bench --gate` raises an alarm about nothing, and how often it sees a real change.

    python benchmarks/gates.py --gates 40 --out /tmp/gates
    python benchmarks/gates.py --gates 10 --out /tmp/gates-slower --slower 15

Measures one small application again and again. Each measurement is gated against the one before it, so that N gates
take N + 1 measurements, and second looks where there was an alarm. With --slower P every second measurement computes P
percent more, and only the gates on those are counted: there an alarm is right.
"""

from __future__ import annotations

import argparse
import datetime
import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gates", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--models", default="epoll,prethreaded")
    parser.add_argument("--slower", type=float, default=0.0, metavar="PERCENT")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    (options.out / "gates_app.py").write_text(APP)
    print(f"{datetime.datetime.now():%Y-%m-%d %H:%M}: {' '.join(sys.argv)}; load average {_load()}", flush=True)
    baseline = options.out / "0"
    words = ["--models", options.models, "--repeats", str(options.repeats), *PLAN]
    first = bench(options.out, ["gates_app:app", *words, "--out", str(baseline)], TURNS)
    assert first.returncode == 0, first.stderr
    alarms = looks = counted = 0
    for number in range(1, options.gates + 1):
        changed = bool(options.slower) and number % 2 == 1
        turns = round(TURNS * (1 + options.slower / 100)) if changed else TURNS
        here = options.out / str(number)
        begun = time.monotonic()
        done = bench(options.out, ["--gate", str(baseline), "--out", str(here)], turns)
        assert done.returncode in (0, 1), done.stderr
        baseline = here
        if options.slower and not changed:
            continue
        counted += 1
        alarms += done.returncode == 1
        looks += (here / "again").exists()
        told = done.stderr.strip().splitlines()[-1] if done.returncode else "passed"
        judged = "+".join(re.findall(r"(\d+) figures judged", done.stdout)) or "none"
        print(f"{number:3}: {time.monotonic() - begun:5.1f} s, load {_load()}, judged {judged}: {told}", flush=True)
    low, high = clopper_pearson(alarms, counted)
    interval = f"95 % interval {low:.1%} to {high:.1%}"
    print(f"alarms: {alarms} of {counted} ({alarms / counted:.1%}; {interval}); second looks: {looks}")
    print(f"{datetime.datetime.now():%Y-%m-%d %H:%M}: load average {_load()}")


def bench(directory: Path, words: list[str], turns: int) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(directory), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "GATES_TURNS": str(turns)}
    command = [sys.executable, "-m", "septet", "bench", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


def clopper_pearson(count: int, of: int, level: float = 0.95) -> tuple[float, float]:
    """The exact interval of a share, by bisection on the binomial distribution."""
    tail = (1 - level) / 2

    def at_least(share: float) -> float:
        return sum(math.comb(of, k) * share**k * (1 - share) ** (of - k) for k in range(count, of + 1))

    def at_most(share: float) -> float:
        return sum(math.comb(of, k) * share**k * (1 - share) ** (of - k) for k in range(count + 1))

    low = 0.0 if not count else bisected(lambda share: at_least(share) < tail)
    high = 1.0 if count == of else bisected(lambda share: at_most(share) > tail)
    return low, high


def bisected(is_below: object) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if is_below(middle) else (low, middle)  # type: ignore[operator]
    return low


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main()
