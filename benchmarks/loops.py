"""Event loops side by side, in one interleaved run (`make bench-loops`).

    python3 benchmarks/loops.py                        # the whole table, about twenty minutes
    python3 benchmarks/loops.py --quick --only protocol  # an impression of the rows whose names begin so

Each round visits every loop at every row, in random order; the median of the rounds counts. What is compared is CPU
time: of the server's process per round trip, or of the work itself. The table shows µs, and ratios to the peer that the
row's budget names. Needs Linux, two CPUs, and the standard library; the peers go into an environment of the
benchmark's own (see environment.py), and one that cannot be installed is left out with the reason.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import environment
import loops_load
import procfs
from environment import Unavailable, progress

WORKER = Path(__file__).with_name("loops_worker.py")
OURS = ("epoll", "io_uring", "poll")
PEERS = ("asyncio", "uvloop", "rloop")
SERVER_CPU, LOAD_CPU = 0, 1
END_S = 10.0
WARM_UP_S = 0.3
LEAST_CPU = 0.05
"""Share of a CPU that a server under this load takes at least; below it, something else was measured."""
MANY_FILES, FILE_SIZE = 100_000, 4096
DISK = "/var/tmp"  # not /tmp, which may lie in memory: what is asked for is the page cache


@dataclass(frozen=True)
class Work:
    """One row.

    Attributes:
        number: operations of a work without a peer; or connections.
        size: bytes of a message; 0: a work without a peer.
        budgets: loop of ours, peer, and the highest ratio that is hoped for.
        without: peers that cannot do it.
    """

    name: str
    work: str
    number: int
    size: int = 0
    budgets: tuple[tuple[str, str, float], ...] = (("epoll", "uvloop", 1.1),)
    without: tuple[str, ...] = ()


ECHO = (("epoll", "uvloop", 1.0), ("io_uring", "uvloop", 1.1), ("epoll", "asyncio", 0.4), ("epoll", "rloop", 0.4))
SERVER = (("io_uring", "epoll", 1.1),)
ASYNCIO = (("epoll", "asyncio", 1.0),)

TABLE = (
    *(Work(f"protocol {c} x {s} B", "protocol", c, s, ECHO) for s in (64, 1024) for c in (1, 64, 1000)),
    Work("streams 64 x 64 B", "streams", 64, 64),
    Work("unix socket 1 x 64 B", "unix", 1, 64, without=("rloop",)),
    Work("datagrams 1 x 64 B", "datagrams", 1, 64),
    Work("connection per request, 16 at a time", "answers", 16, 64, (("epoll", "uvloop", 1.0),)),
    *(Work(f"ASGI hello by our server, {c} clients", "hello", c, 1, SERVER, PEERS) for c in (64, 1000)),
    Work("pipe, 64 B round", "pipe", 50_000, without=("rloop",)),
    Work("call_soon chain", "chain", 1_000_000, budgets=ASYNCIO),
    Work("timers", "timers", 1_000_000, budgets=ASYNCIO),
    Work("task switch", "switches", 500_000, budgets=ASYNCIO),
    Work("stat + read 4 KiB, 64 at a time", "files", MANY_FILES, budgets=(("io_uring", "asyncio", 0.1),)),
)


class Failed(Exception):
    """A visit gave no figure; the text says why."""


@dataclass
class Row:
    work: Work
    seen: dict[str, list[float]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def visit(self, loop: str, seconds: float) -> None:
        try:
            figure = measure(self.work, loop, seconds)
        except (Failed, OSError) as problem:
            self.failures[loop] = str(problem)
            return
        self.seen.setdefault(loop, []).append(figure)

    def median(self, loop: str) -> float | None:
        return statistics.median(self.seen[loop]) if self.seen.get(loop) else None


def measure(work: Work, loop: str, seconds: float) -> float:
    """CPU µs per operation, once."""
    return serve(work, loop, seconds) if work.size else run_alone(work, loop)


def run_alone(work: Work, loop: str) -> float:
    if work.work == "files":
        warm_up_files()
    with worker(work, loop, str(work.number)) as process:
        said = report(process)
    return float(said["cpu_s"]) / said["count"] * 1e6


def serve(work: Work, loop: str, seconds: float) -> float:
    with worker(work, loop) as process:
        address = report(process)["address"]
        load = load_of(work, tuple(address) if isinstance(address, list) else address)
        load.run(WARM_UP_S)
        before = cpu_s(process.pid)
        count = load.run(seconds)
        spent = cpu_s(process.pid) - before
        load.close()
    if not count:
        raise Failed("nothing came back")
    if spent < LEAST_CPU * seconds:
        raise Failed(f"{spent:.3f} s of CPU time for {count:,} answers: not that of the server")
    return spent / count * 1e6


def load_of(work: Work, address: loops_load.Address) -> Any:
    if work.work == "answers":
        return loops_load.Visits(address, work.number)
    if work.work == "hello":
        size = loops_load.answer_size(address)
        return loops_load.RoundTrips(loops_load.stream, address, work.number, size, loops_load.REQUEST)
    connect = loops_load.datagrams if work.work == "datagrams" else loops_load.stream
    return loops_load.RoundTrips(connect, address, work.number, work.size)


@contextmanager
def worker(work: Work, loop: str, *arguments: str) -> Any:
    """The loop's process, on a CPU of its own; its standard input ends with the block, and so does it."""
    command = ["taskset", "-c", str(SERVER_CPU), str(environment.BIN / "python"), str(WORKER), loop, work.work]
    with subprocess.Popen(
        [*command, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            try:
                process.communicate(timeout=END_S)
            except subprocess.TimeoutExpired:
                process.kill()


def report(process: "subprocess.Popen[str]") -> dict[str, Any]:
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        lines = process.communicate(timeout=END_S)[1].splitlines()
        raise Failed(lines[-1] if lines else "the process ended without a word")
    said: dict[str, Any] = json.loads(line)
    return said


def cpu_s(pid: int) -> float:
    """CPU seconds of a process, its descendants and their threads, to the nanosecond.

    Septet's own server forks one to serve. The clock is that of clock_getcpuclockid(3), by Linux's formula.
    """
    return sum(time.clock_gettime(~each << 3 | 2) for each in procfs.tree(pid))


# -- the run


def main() -> int:
    options = parse(sys.argv[1:])
    rows = [Row(work) for work in TABLE if not options.only or work.name.startswith(tuple(options.only))]
    os.sched_setaffinity(0, {LOAD_CPU})
    resource_limit()
    try:
        environment.create()
        head = {"septet": environment.install_septet()}
    except Unavailable as problem:
        print(f"bench-loops: {problem}", file=sys.stderr)
        return 1
    wanted = options.loop or [*OURS, *PEERS]
    loops = [loop for loop in wanted if loop in OURS or installed(loop, head)]
    files = any(row.work.work == "files" for row in rows)
    if files:
        installed("aiofiles", head)
    with many_files() if files else nullcontext():
        go_round(rows, loops, options)
    print(text := document(rows, loops, head, options))
    write(text, rows, options.out)
    return 0


def go_round(rows: Sequence[Row], loops: Sequence[str], options: argparse.Namespace) -> None:
    visits = [(row, loop) for row in rows for loop in loops if loop not in row.work.without]
    for number in range(options.rounds):
        progress(f"round {number + 1} of {options.rounds}: {len(visits)} visits")
        for row, loop in random.sample(visits, len(visits)):
            row.visit(loop, options.duration)


@contextmanager
def many_files() -> Iterator[None]:
    """Have the files in a directory of their own, in which the workers are started."""
    progress(f"writing {MANY_FILES} files")
    with tempfile.TemporaryDirectory(prefix="bench-loops-", dir=DISK) as directory, chdir(directory):
        for i in range(MANY_FILES):
            Path(str(i)).write_bytes(bytes(FILE_SIZE))
        os.sync()  # the disk is quiet before the first visit
        yield


def warm_up_files() -> None:
    """Have all of them in the page cache, of which a virtual machine's host may have taken some back."""
    for i in range(MANY_FILES):
        Path(str(i)).read_bytes()


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="visits to each loop (default: 5)")
    parser.add_argument("--duration", type=float, default=1.0, metavar="S", help="seconds of load a visit (default: 1)")
    parser.add_argument("--quick", action="store_true", help="2 rounds of half a second: an impression")
    parser.add_argument("--only", action="append", help="rows whose names begin so; may be repeated")
    parser.add_argument("--loop", action="append", choices=[*OURS, *PEERS], help="only this loop; may be repeated")
    parser.add_argument("--out", type=Path, default=environment.HERE / "results", help="directory of the results")
    options = parser.parse_args(arguments)
    options.out = options.out.resolve()
    if options.quick:
        options.rounds, options.duration = 2, 0.5
    return options


def resource_limit() -> None:
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))


def installed(package: str, head: dict[str, str]) -> bool:
    if package == "asyncio":
        return True
    try:
        head[package] = environment.install(package)
    except Unavailable as problem:
        progress(f"without {package}: {problem}")
        head[package] = f"not here: {problem}"
        return False
    return True


# -- the table


def document(rows: Sequence[Row], loops: Sequence[str], head: dict[str, str], options: argparse.Namespace) -> str:
    facts = {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "rounds": f"{options.rounds} of {options.duration} s",
        "Python": sys.version.split()[0],
        "kernel": os.uname().release,
        "load average": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        **head,
    }
    lines = ["# Event loops: CPU µs per operation", "", *(f"- {name}: {fact}" for name, fact in facts.items()), ""]
    lines += ["| | " + " | ".join(loops) + " | ratios |", "|---" * (len(loops) + 2) + "|"]
    for row in rows:
        figures = (f"{median:.2f}" if (median := row.median(loop)) is not None else "-" for loop in loops)
        lines.append(f"| {row.work.name} | " + " | ".join(figures) + f" | {'; '.join(verdicts(row))} |")
    lines += [f"\n{row.work.name}, {loop}: {why}" for row in rows for loop, why in row.failures.items()]
    return "\n".join(lines)


def verdicts(row: Row) -> list[str]:
    """`epoll 0.98 x uvloop (at most 1.0)`; a ratio above its budget is marked."""
    said = []
    for ours, peer, most in row.work.budgets:
        figure, theirs = row.median(ours), row.median(peer)
        if figure and theirs:
            ratio = figure / theirs
            mark = "" if ratio <= most else " **over**"
            said.append(f"{ours} {ratio:.2f} x {peer} (at most {most}){mark}")
    return said


def write(text: str, rows: Sequence[Row], directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"loops-{datetime.now(UTC):%Y-%m-%dT%H%M}"
    path.with_suffix(".md").write_text(text + "\n")
    path.with_suffix(".json").write_text(json.dumps({row.work.name: row.seen for row in rows}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
