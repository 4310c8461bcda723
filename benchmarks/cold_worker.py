"""What a page costs a worker of preforked after other programs have used its CPU's caches, and what memory it touches.

    python3 benchmarks/cold_worker.py --redis redis://127.0.0.1:6379/0   (as root, which may write /proc/PID/clear_refs)

One worker serves the guestbook on CPU 0. Before each page another process on that CPU walks through a number of bytes;
the page's CPU time is that of the worker alone (schedstat in proc(5)). With 0 bytes the other process merely runs.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pool_price import Pool
from procfs import tree

SIZES_KIB = (0, 256, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
PAGE = b"GET /guestbook HTTP/1.0\r\n\r\n"

WALK = """
import os, sys
os.sched_setaffinity(0, {0})
held = {}
for line in sys.stdin:
    memory = held.setdefault(int(line), bytearray(int(line) * 1024))
    memory[::4096] = bytes(len(memory[::4096]))
    memory.count(b"x")
    print(flush=True)
"""


class Worker:
    """The one worker of a pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        (self._pid,) = [each for each in tree(pool.pid) if each != pool.pid]

    def visit(self) -> None:
        with self._pool.connect() as sock:
            sock.sendall(PAGE)
            while sock.recv(1 << 16):
                pass

    def cpu_us(self, pages: int = 1) -> float:
        """Return the CPU time of a page."""
        before = self._run_ns()
        for _ in range(pages):
            self.visit()
        time.sleep(0.002)
        return (self._run_ns() - before) / 1e3 / pages

    def _run_ns(self) -> int:
        return int(Path(f"/proc/{self._pid}/schedstat").read_text().split()[0])

    def touched_kib(self) -> dict[str, int]:
        """Return how much memory a page touches, in whole pages of 4 KiB: the worker's own, and that of files."""
        Path(f"/proc/{self._pid}/clear_refs").write_text("1")
        self.visit()
        time.sleep(0.01)
        touched = {"own": 0, "files": 0}
        kind = "own"
        for line in Path(f"/proc/{self._pid}/smaps").read_text().splitlines():
            words = line.split()
            if "-" in words[0]:
                kind = "files" if "w" not in words[1] and words[4] != "0" else "own"
            elif words[0] == "Referenced:":
                touched[kind] += int(words[1])
        return touched


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--redis", metavar="URL")
    parser.add_argument("--rounds", type=int, default=60)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {1})
    found: dict[int, list[float]] = {size: [] for size in SIZES_KIB}
    with tempfile.TemporaryDirectory(prefix="septet-cold-worker-") as directory:
        pool = Pool("preforked:1", {"GUESTBOOK_STORE": arguments.redis or f"sqlite:///{directory}/guestbook.db"})
        walker = subprocess.Popen(
            [sys.executable, "-c", WALK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert walker.stdin is not None
        assert walker.stdout is not None
        try:
            worker = Worker(pool)
            for _ in range(arguments.rounds):
                for size in SIZES_KIB:
                    worker.visit()
                    print(size, file=walker.stdin, flush=True)
                    walker.stdout.readline()
                    found[size].append(worker.cpu_us())
            one_after_another = statistics.median(worker.cpu_us(20) for _ in range(arguments.rounds))
            touched = worker.touched_kib()
        finally:
            walker.terminate()
            walker.wait(10)
            pool.end()
    print(f"one page after another: {one_after_another:.0f} us; touched: {touched} KiB")
    for size, each in found.items():
        low, middle, high = statistics.quantiles(each, n=4)
        print(f"after {size:6} KiB: {middle:5.0f} us ({low:.0f} to {high:.0f})")


if __name__ == "__main__":
    main()
