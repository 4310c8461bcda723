"""Whether `septet advise` is right: its answer beside a sweep that tries everything, with no search and no shortcut.

    python benchmarks/advice.py                    # wait, cpu, hello and wait-asgi: half an hour
    python benchmarks/advice.py cpu hello --p99 50ms --step 1.2

For each application every candidate of a grid gets rates that double, then those of a fine ladder from the last one
that was held, until two in a row are not. `septet serve` and `septet load` are run as commands, so that nothing of the
adviser judges itself. Its answer is right when the sweep has nothing that carries a tenth (and a step of the ladder)
more than what was advised, and when the two capacities of the advised candidate agree within two steps. Wants a quiet
machine with two CPUs at least.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEPTET = [sys.executable, "-m", "septet"]
NAMES = ("wait", "cpu", "hello", "wait-asgi")
EXAMPLES = "septet.examples.causes"
ERRORS_MAX = 0.001
BETTER = 1.1  # times what was advised: then the advice was wrong
WINDOW_S, WARMUP_S = 1.0, 0.4
ANSWERS = 1000


@dataclass(frozen=True)
class Sweep:
    """What is tried with one application, from which rate on (requests/s)."""

    app: str
    start: float
    options: tuple[str, ...]


POOLS = tuple(f"--model prethreaded --threads {n}" for n in (8, 32, 64, 128, 256))
BESIDE = tuple(f"--model epoll --threads {n}" for n in (32, 64, 128, 256))
SINGLE = ("--model epoll", "--model io_uring", "--model poll")
SEVERAL = ("--model epoll --workers 2", "--model preforked --workers 2", "--model preforked --workers 8")
SWEEPS = {
    "wait": Sweep(
        f"{EXAMPLES}.wsgi:wait", 20, (SINGLE[0], *POOLS, *BESIDE, "--model threaded", "--model preforked --workers 32")
    ),
    "cpu": Sweep(f"{EXAMPLES}.wsgi:cpu", 40, (*SINGLE, *SEVERAL, POOLS[0], "--model threaded")),
    "hello": Sweep(f"{EXAMPLES}.wsgi:hello", 1000, (*SINGLE, *SEVERAL, POOLS[0], "--model threaded")),
    "wait-asgi": Sweep(f"{EXAMPLES}.asgi:wait", 500, (*SINGLE, *SEVERAL[:1], *POOLS[2:4])),
}


def main() -> int:
    """Exit status 1 when an advice was wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all")
    parser.add_argument("--p99", default="50ms")
    parser.add_argument("--step", type=float, default=1.15, help="from one rate of the ladder to the next")
    parser.add_argument("--budget", default="3", help="minutes for each advice")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(NAMES):
        parser.error(f"{', '.join(unknown)}: not among {', '.join(NAMES)}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever stops us leaves no server behind
    wrong = 0
    for name in asked.names or NAMES:
        with tempfile.TemporaryDirectory() as scratch:
            advice = advised(name, asked.p99, asked.budget, Path(scratch))
        wrong += not tell(name, advice, swept(name, advice["users"], target_us(asked.p99), asked.step), asked.step)
    return 1 if wrong else 0


def target_us(text: str) -> float:
    return float(text.removesuffix("ms")) * 1e3 if text.endswith("ms") else float(text.removesuffix("s")) * 1e6


def advised(name: str, p99: str, budget: str, scratch: Path) -> Any:
    words = [*SEPTET, "advise", name, "--p99", p99, "--budget", budget, "--json", "--out", str(scratch / "advice")]
    return json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)


def swept(name: str, users: int, p99_us: float, step: float) -> dict[str, float]:
    """The highest rate that was held, by the options of `septet serve`; of as many connections as the adviser took."""
    sweep = SWEEPS[name]
    found = {}
    for options in random.sample(sweep.options, len(sweep.options)):
        coarse = _climb(sweep, options, sweep.start, 2.0, users, p99_us)
        found[options] = _climb(sweep, options, coarse, step, users, p99_us) if coarse else 0.0
        print(f"  {options}: {found[options]:,.0f}/s", file=sys.stderr)
    return found


def _climb(sweep: Sweep, options: str, rate: float, step: float, users: int, p99_us: float) -> float:
    """The highest rate held, of those from `rate` on, each `step` times the last, until two in a row are not."""
    held, broken = 0.0, 0
    while broken < 2:
        if holds(sweep.app, options, rate, users, p99_us):
            held, broken = rate, 0
        else:
            broken += 1
        rate *= step
    return held


def holds(app: str, options: str, rate: float, users: int, p99_us: float) -> bool:
    """Whether a fresh server holds the rate; a second attempt for one that does not."""
    return any(_attempt(app, options, rate, users, p99_us) for _ in range(2))


def _attempt(app: str, options: str, rate: float, users: int, p99_us: float) -> bool:
    port = random.randrange(20000, 30000)
    *server_cpus, client_cpu = sorted(os.sched_getaffinity(0))
    words = [*SEPTET, "serve", app, *options.split(), "--bind", f"127.0.0.1:{port}"]
    pinned = ["taskset", "-c", ",".join(map(str, server_cpus)), *words]
    with subprocess.Popen(pinned, stderr=subprocess.DEVNULL, start_new_session=True) as server:
        try:
            _await(f"http://127.0.0.1:{port}/")
            figures = _load(port, rate, users, client_cpu)
        finally:
            os.killpg(server.pid, signal.SIGKILL)
    errors, latency = sum(figures["errors"].values()), figures["latency_us"]["p99"]
    behind = figures["requests_per_s"] < 0.97 * rate - 4
    return bool(latency and latency <= p99_us and errors <= ERRORS_MAX * figures["answers"] and not behind)


def _load(port: int, rate: float, users: int, cpu: int) -> Any:
    duration_s = min(5.0, max(WINDOW_S, ANSWERS / rate))
    words = [*SEPTET, "load", f"http://127.0.0.1:{port}/", "--rate", f"{rate:g}", "--users", str(users)]
    words += ["--duration", f"{duration_s:g}", "--warmup", str(WARMUP_S), "--timeout", "1", "--cpus", str(cpu)]
    done = subprocess.run([*words, "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return json.loads(done.stdout)


def _await(url: str) -> None:
    for _ in range(500):
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.02)
    raise SystemExit(f"{url} does not answer")


def tell(name: str, conclusion: Any, found: dict[str, float], step: float) -> bool:
    """Print both answers as a table; whether they agree."""
    advice = conclusion["advice"]
    words = advice["serve"].split()
    options = " ".join(words[words.index("--model") :])
    best = max(found, key=found.__getitem__)
    limit = advice["limit"]["what"]
    print(f"\n## {name}\n\nadvised: `{options}`, {advice['requests_per_s']:,.0f}/s, limited by {limit}\n")
    print("| options | highest rate held, swept | advise |\n|---|---:|---:|")
    known = {_options(each["candidate"]): each["requests_per_s"] for each in conclusion["findings"]}
    for each, rate in sorted(found.items(), key=lambda pair: -pair[1]):
        print(f"| `{each}` | {rate:,.0f} | {format(known[each], ',.0f') if known.get(each) else ''} |")
    swept_rate = found.get(options)
    # The advised numbers may lie between those of the grid: then its own capacity stands for it.
    right = BETTER * step * max(swept_rate or 0.0, advice["requests_per_s"]) >= found[best]
    agree = swept_rate is None or 1 / step**2 <= advice["requests_per_s"] / max(swept_rate, 1e-9) <= step**2
    print(
        f"\n{'right' if right else 'WRONG'}: the sweep's best is `{best}` with {found[best]:,.0f}/s"
        f"{'' if agree else '; the two CAPACITIES of what was advised differ'}"
    )
    return right and agree


def _options(candidate: dict[str, Any]) -> str:
    words = ["--model", candidate["model"]]
    for name in ("workers", "threads"):
        if candidate[name] is not None:
            words += [f"--{name}", str(candidate[name])]
    return " ".join(words)


if __name__ == "__main__":
    sys.exit(main())
