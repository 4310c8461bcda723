"""Whether `septet advise` is right: its intervals and its choice, held against a grid of rates that was run whole.

    python benchmarks/advise_sweep.py hello                       # advise twice, then the grid, then the verdict
    python benchmarks/advise_sweep.py hello --disturb             # twice more with benchmarks/disturb.py beside it
    python benchmarks/advise_sweep.py hello --verdict             # judge what the file has

Applications: hello, cpu, wait, wait-asgi, django (a row of SQLite by the ORM), fastapi (asks a backend by httpx). All
that was measured is appended to a file, `sweep-NAME.jsonl`, a line at a time, and never measured again: a sweep that
was ended goes on where it was. So a sweep has an end, which `--seconds` may put off to another day.

The grid: every candidate of the table below, and every one that was advised, at each of SHARES of the most that it
answers in a closed loop, as often as ROUNDS says, in an order drawn by lot. `septet serve` and `septet load` are run as
commands, so that nothing of the adviser judges itself. What is concluded, on a machine that others use as well:

* A rate that was held was held: nothing makes a server faster than it is. So an advised candidate that held more than
  the upper end of its interval, twice, refutes the interval; one that held a tenth more than the advised one, and was
  not named as undecided, refutes the choice.
* A rate that was not held says something only where the machine was quiet: then the lower end of the interval is wrong.
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
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SEPTET = [sys.executable, "-m", "septet"]
EXAMPLES = "septet.examples.causes"
SHARES = (0.4, 0.6, 0.75, 0.88, 1.0, 1.12)
ROUNDS = 2
SATURATIONS = 2
ERRORS_MAX = 0.001
BETTER = 1.1
"""Times what was advised: then the choice was wrong."""
NEAR = 0.8
"""Times the lower end of an interval: what is not held from there on speaks against it."""
QUIET_SHARE = 0.15
"""Others use no more of the CPUs while the machine counts as quiet."""
WINDOW_S, LONGEST_S, WARMUP_S = 1.0, 4.0, 0.4
ANSWERS = 1000
ADVISE_LIMIT_S = 600

Record = dict[str, Any]


@dataclass(frozen=True)
class Sweep:
    """An application and the candidates of its grid, as options of `septet serve`."""

    app: str
    options: tuple[str, ...]
    needs: str = ""
    """What has to be there before: "django", the database, or "backend", a server that waits."""
    path: str = "/"


LOOPS = ("--model epoll", "--model io_uring")
SWEEPS = {
    "hello": Sweep("hello", (*LOOPS, "--model prethreaded --threads 8")),
    "cpu": Sweep("cpu", (*LOOPS, "--model prethreaded --threads 8")),
    "wait": Sweep(
        "wait",
        ("--model epoll", "--model epoll --threads 128", "--model prethreaded --threads 128", "--model threaded"),
    ),
    "wait-asgi": Sweep("wait-asgi", LOOPS),
    "django": Sweep("django_site:app", (*LOOPS, "--model prethreaded --threads 8"), "django", "/remarks/7"),
    "fastapi": Sweep("fastapi_httpx_app:app", LOOPS, "backend"),
}


@dataclass
class File:
    """What has been measured of an application, kept as it comes."""

    path: Path
    records: list[Record] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.path.exists():
            self.records = [json.loads(line) for line in self.path.read_text().splitlines() if line.strip()]

    def add(self, **record: Any) -> Record:
        record |= {"load_average": os.getloadavg()[0], "at": time.strftime("%Y-%m-%d %H:%M:%S")}
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        self.records.append(record)
        return record

    def of(self, kind: str, **values: Any) -> list[Record]:
        return [
            each
            for each in self.records
            if each["kind"] == kind and all(each[name] == value for name, value in values.items())
        ]


def main() -> int:
    """Exit status 1 when an advice was wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("name", metavar="NAME", choices=list(SWEEPS), help=", ".join(SWEEPS))
    parser.add_argument("--p99", default="50ms", help="the target (50ms)")
    parser.add_argument("--budget", default="1", help="minutes for each advice (1)")
    parser.add_argument("--times", type=int, default=2, help="how often advise is asked (2)")
    parser.add_argument("--disturb", action="store_true", help="burn half of the CPUs beside advise")
    parser.add_argument("--seconds", type=float, default=1200, help="go on another day after that (1200)")
    parser.add_argument("--verdict", action="store_true", help="measure nothing")
    parser.add_argument("--out", type=Path, default=Path(), help="directory of the file")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that no server is left
    file = File(asked.out / f"sweep-{asked.name}.jsonl")
    if not asked.verdict:
        with environment(SWEEPS[asked.name]):
            measure(asked, file)
    return 0 if judge(asked.name, file) else 1


def measure(asked: argparse.Namespace, file: File) -> None:
    deadline = time.monotonic() + asked.seconds
    sweep = SWEEPS[asked.name]
    while len(file.of("advice", disturbed=asked.disturb)) < asked.times and time.monotonic() < deadline:
        file.add(kind="advice", disturbed=asked.disturb, **advised(sweep, asked))
    users = next((each["advice"]["users"] for each in file.of("advice") if each["advice"]), 100)
    for step in grid(sweep, file):
        if time.monotonic() > deadline:
            print("time is up; the same command goes on", file=sys.stderr)
            return
        step(users, target_us(asked.p99))


def grid(sweep: Sweep, file: File) -> Iterator[Any]:
    """Yield what is still to be measured, as functions of the number of users and the target; most rates first."""
    candidates = list(
        dict.fromkeys([*sweep.options, *(option for option in map(advised_options, file.of("advice")) if option)])
    )
    for options in candidates:
        for place in range(len(file.of("saturated", options=options)), SATURATIONS):
            yield lambda users, target, options=options, place=place: saturate(sweep, options, users, file)
    most = {each: max(run["requests_per_s"] for run in file.of("saturated", options=each)) for each in candidates}
    cells = [(options, share, place) for place in range(ROUNDS) for options in candidates for share in SHARES]
    open_cells = [cell for cell in cells if not file.of("trial", options=cell[0], share=cell[1], round=cell[2])]
    for options, share, place in random.sample(open_cells, len(open_cells)):
        yield lambda users, target, options=options, share=share, place=place: trial(
            sweep, file, users, target, options=options, share=share, round=place, rate=share * most[options]
        )


def advised(sweep: Sweep, asked: argparse.Namespace) -> Record:
    words = [*SEPTET, "advise", sweep.app, "--p99", asked.p99, "--budget", asked.budget, "--json"]
    words += ["--path", sweep.path]
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        if asked.disturb:
            burning = [sys.executable, str(HERE / "disturb.py"), "--seconds", str(ADVISE_LIMIT_S)]
            burner = stack.enter_context(subprocess.Popen(burning))
            stack.callback(burner.terminate)
        done = subprocess.run(
            [*words, "--out", f"{scratch}/advice"],
            capture_output=True,
            text=True,
            timeout=ADVISE_LIMIT_S,
            cwd=HERE,
        )
        busy = "other programs still use" in done.stderr
    found = json.loads(done.stdout) if done.stdout.strip() else None
    said = done.stderr.strip().splitlines()[-1:] if not (found and found["advice"]) else []
    print(f"  advise: {_told(found) or said}", file=sys.stderr)
    return {"advice": found, "said": said, "busy": busy}


def _told(conclusion: Record | None) -> str:
    if conclusion is None or conclusion["advice"] is None:
        return ""
    advice = conclusion["advice"]
    low, high = interval(advice)
    between = "at least " if high is None else ""
    return f"{_options(advice['candidate'])}: {between}{low:,.0f}{'' if high is None else f' to {high:,.0f}'}/s"


def interval(advice: Record) -> tuple[float, float | None]:
    bracket = advice["bracket"]
    return bracket["low"], None if advice["at_least"] else bracket["high"]


def advised_options(record: Record) -> str | None:
    conclusion = record["advice"]
    return _options(conclusion["advice"]["candidate"]) if conclusion and conclusion["advice"] else None


def target_us(text: str) -> float:
    return float(text.removesuffix("ms")) * 1e3 if text.endswith("ms") else float(text.removesuffix("s")) * 1e6


def saturate(sweep: Sweep, options: str, users: int, file: File) -> None:
    figures, busy = attempt(sweep, options, users, None)
    file.add(kind="saturated", options=options, requests_per_s=figures["requests_per_s"], others=busy)


def trial(sweep: Sweep, file: File, users: int, target: float, **cell: Any) -> None:
    rate = cell["rate"]
    figures, others = attempt(sweep, cell["options"], users, rate)
    errors, p99 = sum(figures["errors"].values()), figures["latency_us"]["p99"]
    behind = figures["requests_per_s"] < 0.97 * rate - 4
    held = bool(p99 and p99 <= target and errors <= ERRORS_MAX * figures["answers"] and not behind)
    file.add(kind="trial", **cell, held=held, p99_us=p99, errors=figures["errors"], others=others)
    print(f"  {cell['options']}: {rate:,.0f}/s {'held' if held else 'not held'}", file=sys.stderr)


def attempt(sweep: Sweep, options: str, users: int, rate: float | None) -> tuple[Any, float]:
    """Load a fresh server; returns the figures, and the share of the CPUs that others used."""
    port = random.randrange(20000, 30000)
    *server_cpus, client_cpu = sorted(os.sched_getaffinity(0))
    words = [*SEPTET, "serve", *_served(sweep.app), *options.split(), "--bind", f"127.0.0.1:{port}", "--no-supervisor"]
    pinned = ["taskset", "-c", ",".join(map(str, server_cpus or [client_cpu])), *words]
    with subprocess.Popen(pinned, stderr=subprocess.DEVNULL, start_new_session=True, cwd=HERE) as server:
        try:
            url = f"http://127.0.0.1:{port}{sweep.path}"
            _await(url)
            before, begun, own = _busy_s(), time.monotonic(), _own_s(server.pid)
            figures = _load(url, rate, users, client_cpu)
            used = _own_s(server.pid) - own + figures["client"]["user_s"] + figures["client"]["system_s"]
            seconds = (time.monotonic() - begun) * (os.cpu_count() or 1)
            return figures, max(0.0, (_busy_s() - before - used) / seconds)
        finally:
            os.killpg(server.pid, signal.SIGKILL)


def _served(app: str) -> list[str]:
    name, _, kind = app.partition("-")
    return [app] if ":" in app else [f"{EXAMPLES}.{kind or 'wsgi'}:{name}"]


def _busy_s() -> float:
    user, nice, system, _, _, *rest = map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9])
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")


def _own_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _load(url: str, rate: float | None, users: int, cpu: int) -> Any:
    duration_s = min(LONGEST_S, max(WINDOW_S, ANSWERS / rate)) if rate else WINDOW_S
    words = [*SEPTET, "load", url, "--users", str(users), "--cpus", str(cpu), "--timeout", "2"]
    words += ["--duration", f"{duration_s:g}", "--warmup", str(WARMUP_S), *(["--rate", f"{rate:g}"] if rate else [])]
    done = subprocess.run([*words, "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=120)
    return json.loads(done.stdout)


def _await(url: str) -> None:
    for _ in range(1500):
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.02)
    raise SystemExit(f"{url} does not answer")


@contextmanager
def environment(sweep: Sweep) -> Iterator[None]:
    """What the application needs: its database, or its backend, on the CPU of the users."""
    with ExitStack() as stack:
        if sweep.needs == "django":
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="sweep-"))
            subprocess.run([sys.executable, "django_site.py", directory], check=True, cwd=HERE)
            os.environ["BENCH_FILES"] = directory
        if sweep.needs == "backend":
            port = random.randrange(30000, 32000)
            words = [*SEPTET, "serve", f"{EXAMPLES}.asgi:wait", "--bind", f"127.0.0.1:{port}", "--no-supervisor"]
            cpu = str(sorted(os.sched_getaffinity(0))[-1])
            pinned = ["taskset", "-c", cpu, *words]
            backend = stack.enter_context(subprocess.Popen(pinned, stderr=subprocess.DEVNULL, start_new_session=True))
            stack.callback(os.killpg, backend.pid, signal.SIGKILL)
            os.environ["BENCH_BACKEND"] = f"http://127.0.0.1:{port}/"
            _await(os.environ["BENCH_BACKEND"])
        yield


def judge(name: str, file: File) -> bool:
    """Print the grid and what it says of each advice; returns whether none is refuted."""
    most = _highest(file.of("trial"), lambda runs: any(run["held"] for run in runs))
    twice = _highest(file.of("trial"), lambda runs: sum(run["held"] for run in runs) > 1)
    cells = len(SHARES) * ROUNDS * len({each["options"] for each in file.of("saturated")})
    others = [each["others"] for each in file.of("trial")]
    print(f"\n## {name}: {len(file.of('trial'))} of {cells} cells of the grid have run")
    if others:
        print(f"\nothers used {sorted(others)[len(others) // 2]:.0%} of the CPUs (median), up to {max(others):.0%}")
    print("\n| options | saturated/s | held once | held twice |\n|---|---:|---:|---:|")
    for options in dict.fromkeys(each["options"] for each in file.of("saturated")):
        full = max(each["requests_per_s"] for each in file.of("saturated", options=options))
        print(f"| `{options}` | {full:,.0f} | {most.get(options, 0):,.0f} | {twice.get(options, 0):,.0f} |")
    print()
    judged = [_judged(record, most, twice, file) for record in file.of("advice")]  # each of them is printed
    return all(judged)


def _highest(trials: list[Record], enough: Any) -> dict[str, float]:
    cells: dict[tuple[str, float], list[Record]] = {}
    for each in trials:
        cells.setdefault((each["options"], each["rate"]), []).append(each)
    found: dict[str, float] = {}
    for (options, rate), runs in cells.items():
        if enough(runs):
            found[options] = max(rate, found.get(options, 0.0))
    return found


def _judged(record: Record, most: dict[str, float], twice: dict[str, float], file: File) -> bool:
    """Print whether an advice agrees with the highest rates that were held (once, and twice); returns it."""
    conclusion = record["advice"]
    where = "disturbed" if record["disturbed"] else "busy" if record["busy"] else "quiet"
    if not conclusion or not conclusion["advice"]:
        print(f"- {where}: no advice: {record['said']}")
        return True
    advice = conclusion["advice"]
    options, (low, high) = _options(advice["candidate"]), interval(advice)
    undecided = {_options(each) for each in advice["not_told_apart"]}
    wrong = []
    if high is not None and twice.get(options, 0.0) > high:
        wrong.append(f"it held {twice[options]:,.0f}/s twice, above the interval")
    near = [each for each in file.of("trial", options=options) if NEAR * low <= each["rate"] <= low]
    quiet = [each for each in near if each["others"] < QUIET_SHARE]
    if len(quiet) > 1 and not any(each["held"] for each in quiet) and most.get(options, 0.0) < low:
        wrong.append(f"on a quiet machine it did not hold {max(each['rate'] for each in quiet):,.0f}/s")
    reach = max(high or low, most.get(options, 0.0))
    better = {other: rate for other, rate in twice.items() if rate > BETTER * reach and other not in undecided}
    if advice["unfinished"] is not None:
        undecided.add(f"{_options(advice['unfinished'])} and what follows (time was up)")
        better = {}
    wrong += [f"`{other}` held {rate:,.0f}/s twice" for other, rate in better.items() if other != options]
    confirmed = "" if most.get(options, 0.0) >= low else "; the grid, disturbed too, did not reach the lower end"
    print(f"- {where}: {_told(conclusion)}: {'WRONG: ' + '; '.join(wrong) if wrong else 'right' + confirmed}")
    if undecided:
        print(f"  named as undecided: {', '.join(sorted(undecided))}")
    return not wrong


def _options(candidate: Record) -> str:
    words = ["--model", candidate["model"]]
    for name in ("workers", "threads"):
        if candidate[name] is not None:
            words += [f"--{name}", str(candidate[name])]
    return " ".join(words)


if __name__ == "__main__":
    sys.exit(main())
