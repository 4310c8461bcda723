"""What a page costs in pools of processes and of threads of several sizes, and what the kernel counts meanwhile.

    python3 benchmarks/pool_price.py                                          # the guestbook on SQLite
    python3 benchmarks/pool_price.py --redis redis://127.0.0.1:6379/0         # on Redis, which should use CPU 1, too
    python3 benchmarks/pool_price.py --pool preforked:100 --pool prethreaded:100 --users 20,100

Each server runs on CPU 0. ab(1) runs on CPU 1, with users who take a new HTTP/1.0 connection for every page.
Rounds visit all servers in an order drawn by lot. For each page it prints the median of

    us        CPU time of all processes and threads of the server (schedstat in proc(5): nanoseconds)
    system    its share that the kernel used (by clock ticks)
    waits     how often a process or thread gave the CPU up to wait
    preempted how often the kernel took the CPU away
    faults    page faults
    active    processes or threads that did at least a hundredth of the work
    rate      pages per second
"""

import argparse
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

from fork_price import Server as ForkServer
from procfs import TICKS_PER_S, tree

GUESTBOOK = "septet.examples.guestbook:wsgi"
PATIENCE_S, PAGE_S = 30.0, 10.0
POOLS = ("preforked:3", "preforked:20", "preforked:100", "prethreaded:20", "prethreaded:100")


class Counted(NamedTuple):
    """What the kernel has counted for one task (a process or a thread) since it began."""

    cpu_ns: int
    system_s: float
    waits: int
    preempted: int
    faults: int


def tasks_of(pid: int) -> dict[int, Counted]:
    """Return what was counted for each task of the tree of processes."""
    found = {}
    for process in tree(pid):
        for task in Path(f"/proc/{process}/task").iterdir():
            stat = (task / "stat").read_text().rpartition(")")[2].split()
            status = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines())
            found[int(task.name)] = Counted(
                int((task / "schedstat").read_text().split()[0]),
                int(stat[12]) / TICKS_PER_S,
                int(status["voluntary_ctxt_switches"]),
                int(status["nonvoluntary_ctxt_switches"]),
                int(stat[7]),
            )
    return found


class Row(NamedTuple):
    """For each page, but the last two."""

    us: float
    system: float
    waits: float
    preempted: float
    faults: float
    active: float
    rate: float


class Pool:
    """A server with its pool of processes or threads, on CPU 0."""

    def __init__(self, pool: str, environment: dict[str, str]) -> None:
        model, _, size = pool.partition(":")
        option = "--workers" if model == "preforked" else "--threads"
        self._port = ForkServer.free_port()
        bind = ["--bind", f"127.0.0.1:{self._port}", "--log-level", "error", "--no-supervisor"]
        command = [sys.executable, "-m", "septet", "serve", GUESTBOOK, "--model", model, option, size, *bind]
        self._process = subprocess.Popen(
            command, env=os.environ | environment, preexec_fn=lambda: os.sched_setaffinity(0, {0})
        )
        try:
            self._wait_until_it_listens()
            self.visit(2000, 100)
        except BaseException:
            self.end()
            raise

    def _wait_until_it_listens(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                return self.connect().close()
            except ConnectionRefusedError:
                time.sleep(0.1)
        raise SystemExit("the server did not start")

    @property
    def pid(self) -> int:
        return self._process.pid

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._port), PAGE_S)

    def visit(self, pages: int, users: int) -> float:
        """Let the users ask for so many pages together, and return how many they got in a second."""
        command = ["taskset", "2", "ab", "-q", "-n", str(pages), "-c", str(users)]
        url = f"http://127.0.0.1:{self._port}/guestbook"
        said = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
        if "Non-2xx" in said:
            raise SystemExit(f"not all answers are those of success:\n{said}")
        return float(said.split("Requests per second:")[1].split()[0])

    def measure(self, pages: int, users: int) -> Row:
        before = tasks_of(self._process.pid)
        rate = self.visit(pages, users)
        after = tasks_of(self._process.pid)
        grown = [
            Counted(*(now - then for now, then in zip(after[task], before[task], strict=True)))
            for task in after
            if task in before
        ]
        cpu_ns, system_s, waits, preempted, faults = (sum(column) for column in zip(*grown, strict=True))
        active = sum(each.cpu_ns > cpu_ns / 100 for each in grown)
        us = cpu_ns / 1e3 / pages
        return Row(us, system_s * 1e6 / pages, waits / pages, preempted / pages, faults / pages, active, rate)

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", action="append", help="MODEL:SIZE; may be repeated")
    parser.add_argument("--users", default="20", help="numbers of users, with commas")
    parser.add_argument("--pages", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--redis", metavar="URL")
    arguments = parser.parse_args()
    pools, users = arguments.pool or list(POOLS), [int(each) for each in arguments.users.split(",")]
    with tempfile.TemporaryDirectory(prefix="septet-pool-price-") as directory:
        store = {"GUESTBOOK_STORE": arguments.redis or f"sqlite:///{directory}/guestbook.db"}
        rows: dict[tuple[str, int], list[Row]] = {}
        servers: dict[str, Pool] = {}
        try:
            for pool in pools:
                servers[pool] = Pool(pool, store)
            for _ in range(arguments.rounds):
                for pool, number in random.sample([(p, n) for p in pools for n in users], len(pools) * len(users)):
                    rows.setdefault((pool, number), []).append(servers[pool].measure(arguments.pages, number))
        finally:
            for server in servers.values():
                server.end()
    print(f"{'':18}{'users':>6}" + "".join(f"{name:>10}" for name in Row._fields))
    for (pool, number), found in sorted(rows.items()):
        medians = [statistics.median(column) for column in zip(*found, strict=True)]
        print(f"{pool:18}{number:6}" + "".join(f"{value:10.2f}" for value in medians), flush=True)


if __name__ == "__main__":
    main()
