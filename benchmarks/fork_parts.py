"""What the CPU time of a client of the model forking goes into: samples of perf(1), shown in docs/models/forking.md.

    python3 benchmarks/fork_parts.py --redis redis://127.0.0.1:6379/0 > docs/pictures/forking.json     (as root)

The server of `fork_price` runs on one CPU, which perf samples a few thousand times a second (the event cpu-clock, which
needs no counters of the CPU), with the stack in the kernel. A sample in the server or in one of its children belongs to
the part of which a function is in its stack. The shares are multiplied by the CPU time that `fork_price` finds without
perf, which makes everything slower.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import date

from fork_price import BARE_FORKS, FORK, GUESTBOOK, HELLO, Server, measured, serving

PARTS = ("fork", "child", "parent", "python", "end")
"""The fork itself; pages for the child, and for the parent; Python and system calls; the end of the child."""
FREQUENCY = 4000
FORKED = re.compile(r"PERF_RECORD_FORK\((\d+):\d+\):\((\d+):\d+\)")
SAMPLE = re.compile(r"^\S.*?\s(\d+)\s*$")


def part_of(stack: str, in_parent: bool) -> str:
    if "page_fault" in stack:
        return "parent" if in_parent else "child"
    if "do_exit" in stack or "exit_mmap" in stack or "release_task" in stack:
        return "end"
    if "kernel_clone" in stack or "copy_process" in stack or "ret_from_fork" in stack:
        return "fork"
    return "python"


def shares(server: Server, cpu: int, work: Callable[[], None]) -> dict[str, float]:
    """Return the share of each part in the CPU time of the server and its children during `work`."""
    with tempfile.NamedTemporaryFile() as data:
        command = ["perf", "record", "-q", "-e", "cpu-clock", "-F", str(FREQUENCY), "-g", "-a", "-C", str(cpu)]
        perf = subprocess.Popen([*command, "-o", data.name])
        time.sleep(1.0)
        work()
        perf.send_signal(signal.SIGINT)
        perf.wait(30)
        fields = ["-F", "comm,pid,ip,sym", "--show-task-events"]
        said = subprocess.run(["perf", "script", "-i", data.name, *fields], capture_output=True, text=True).stdout
    counted: Counter[str] = Counter()
    children: set[int] = set()
    for block in said.split("\n\n"):
        lines = block.strip("\n").splitlines()
        while lines and "PERF_RECORD" in lines[0]:
            if (found := FORKED.search(lines.pop(0))) and int(found[2]) == server.pid:
                children.add(int(found[1]))
        head = SAMPLE.match(lines[0]) if lines else None
        if head and (int(head[1]) == server.pid or int(head[1]) in children):
            counted[part_of(" ".join(lines[1:]), int(head[1]) == server.pid)] += 1
    return {part: counted[part] / counted.total() for part in PARTS}


def record(name: str, app: str, environment: dict[str, str], cpu: int, rounds: int) -> list[dict[str, object]]:
    """Return the row of a client, and that of a bare fork of the same server."""
    with serving(app, environment, [], cpu) as server:
        price = measured(server, rounds, 50)
        of_client = shares(server, cpu, lambda: [server.visit() for _ in range(300)] and None)
        of_bare = shares(server, cpu, lambda: [server.figures(FORK) for _ in range(400 // BARE_FORKS)] and None)
    rows = []
    for what, used, parts in ((name, price.client, of_client), (f"bare, {name}", price.bare, of_bare)):
        ms = {part: round(share * used.cpu_s * 1e3, 3) for part, share in parts.items()}
        faults = round(used.child_faults), round(used.parent_faults)
        rows.append({"name": what, "ms": ms, "faults": faults, "ratio": round(price.ratio, 2)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--redis", metavar="URL")
    parser.add_argument("--rounds", type=int, default=12)
    arguments = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpus[-1]})
    with tempfile.TemporaryDirectory(prefix="septet-fork-parts-") as directory:
        cases = [
            ("hello", HELLO, {}),
            ("SQLite", GUESTBOOK, {"GUESTBOOK_STORE": f"sqlite:///{directory}/guestbook.db"}),
        ]
        if arguments.redis:
            cases.append(("Redis", GUESTBOOK, {"GUESTBOOK_STORE": arguments.redis}))
        rows = [row for case in cases for row in record(*case, cpus[0], arguments.rounds)]
    print(json.dumps({"date": date.today().isoformat(), "load": os.getloadavg()[0], "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
