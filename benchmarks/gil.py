"""What the threads of one process gain on two CPUs, with and without Python's global lock (the GIL).

    python3 benchmarks/gil.py --python python3.13 --python python3.13t
    python3 benchmarks/gil.py --python "$(scripts/python-freethreaded /opt/python3.13t)" --rounds 9 --out figures.json

Every Python gets this checkout in an environment of its own below `benchmarks/.env`. One *cell* is one server that is
started, warmed up, asked for one page by many clients at the same time, and ended; one *round* visits every cell in
random order. Its page takes some ten milliseconds of CPU time (`gil_page.py`), so that the clients, which run in this
process on the same CPUs, need a hundredth of that; how much they needed is written down with each cell. So is how
much CPU time other programs used meanwhile: a cell at which that was more than `--others` of all CPUs is visited again,
up to five times, and the quietest of its visits counts.

A gain is a ratio of two cells of the same round: requests a second with two threads (or loops, or processes) through
those with one. The table shows the median of the rounds and the lowest and the highest.

On a machine with other work, a thread that could run waits for a CPU. The kernel counts that time for each thread
(`/proc/PID/task/TID/schedstat`). The last column of the table takes it off: N threads that waited W seconds together in
T seconds had T - W / N to answer in. Time in which a thread waits for the GIL, a lock or a client stays. Without other
work these gains are those of the rates. What they do not show on a busy machine is what two threads cost each other
when they run at the same instant, for they seldom do.
"""

import argparse
import json
import os
import platform
import random
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from environment import CHECKOUT, ENVS, HERE, commit
from procfs import TICKS_PER_S, cpu_time, tree

CLIENTS = 32
"""So many that requests wait for threads, and not threads for requests, though clients are slow to get a CPU."""
WARM_UP_S = 0.7
START_WITHIN_S = 30.0
TRIES = 5


class Setting(NamedTuple):
    """A way to serve. `of` is the setting that it is compared with; "": it is compared with no other."""

    name: str
    interface: str
    options: tuple[str, ...]
    of: str = ""
    at_once: int = 1
    """How many threads or processes serve."""
    loops: bool = False
    """True if it needs a Python without a GIL."""


SETTINGS = (
    Setting("prethreaded, 1 thread", "wsgi", ("--model", "prethreaded", "--threads", "1")),
    Setting("prethreaded, 2 threads", "wsgi", ("--model", "prethreaded", "--threads", "2"), "prethreaded, 1 thread", 2),
    Setting("epoll, 1 loop", "asgi", ("--model", "epoll")),
    Setting("epoll, 2 loops", "asgi", ("--model", "epoll", "--loops", "2"), "epoll, 1 loop", 2, loops=True),
    Setting("preforked, 1 worker", "wsgi", ("--model", "preforked", "--workers", "1")),
    Setting("preforked, 2 workers", "wsgi", ("--model", "preforked", "--workers", "2"), "preforked, 1 worker", 2),
)
PAGES = ("numbers", "table")


class Python(NamedTuple):
    """An interpreter with this checkout. `build` are the arguments of its ./configure."""

    name: str
    executable: str
    version: str
    build: str
    gil: bool


class Failed(Exception):
    """A server did not serve; the text says why."""


def prepare(executable: str) -> Python:
    """Install this checkout for a Python, and look at that. Raises Failed."""
    ask = (
        "import json, platform, sys, sysconfig; free = bool(sysconfig.get_config_var('Py_GIL_DISABLED')); "
        "print(json.dumps([platform.python_version(), sysconfig.get_config_var('CONFIG_ARGS') or '', free]))"
    )
    try:
        version, build, free = json.loads(_run(executable, "-c", ask))
        env = ENVS / f"gil-{version}{'t' if free else ''}"
        if not (env / "bin/python").exists():
            _run(executable, "-m", "venv", str(env))
            (ENVS / ".gitignore").write_text("*\n")
        python = str(env / "bin/python")
        _run(python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", str(CHECKOUT))
        enabled = _run(python, "-c", "import sys; print(getattr(sys, '_is_gil_enabled', lambda: True)())").strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise Failed(f"{executable}: {getattr(error, 'stderr', '') or error}") from None
    return Python(f"{version}{'t' if free else ''}", python, version, build, enabled == "True")


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=HERE).stdout


class Client(threading.Thread):
    """Asks for one page again and again until `end`. It connects anew when the server has closed the connection, as
    blocking models do when others wait.
    """

    def __init__(self, port: int, page: str, end: float) -> None:
        super().__init__()
        self.answered_at: list[float] = []
        """When each answer had come, in seconds of `time.monotonic`."""
        self.error = ""
        self._port, self._end = port, end
        self._request = f"GET /{page} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

    def run(self) -> None:
        try:
            while time.monotonic() < self._end:
                with socket.create_connection(("127.0.0.1", self._port), timeout=30) as connection:
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    while time.monotonic() < self._end and self._ask(connection):
                        self.answered_at.append(time.monotonic())
        except (OSError, Failed) as error:
            self.error = f"{type(error).__name__}: {error}"

    def _ask(self, connection: socket.socket) -> bool:
        """Return whether there was an answer; False: the server closes this connection."""
        received = b""
        try:
            connection.sendall(self._request)
            while len(received.partition(b"\r\n\r\n")[2]) < 8:  # each page answers with eight bytes
                data = connection.recv(4096)
                if not data:
                    break
                received += data
        except ConnectionError:
            pass
        if not received:
            return False
        if not received.startswith(b"HTTP/1.1 200 "):
            raise Failed(f"the server answered {received[:40]!r}")
        return True


def busy_s() -> float:
    """CPU seconds that all programs of this machine have used so far, and the hypervisor kept (proc_stat(5))."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _, _, irq, softirq, steal = map(int, fields[:8])
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_S


def waited_s(pid: int) -> float:
    """Seconds for which the threads of a process and its descendants were ready to run and had no CPU so far."""
    total_ns = 0
    for member in tree(pid):
        for task in Path(f"/proc/{member}/task").iterdir():
            total_ns += int((task / "schedstat").read_text().split()[1])
    return total_ns / 1e9


def start(python: Python, setting: Setting) -> tuple[subprocess.Popen[str], int]:
    """Start a server; return its process and its port. Raises Failed."""
    command = [python.executable, "-m", "septet", "serve", f"gil_page:{setting.interface}", "--app-dir", str(HERE)]
    command += ["--no-supervisor", "--bind", "127.0.0.1:0", *setting.options]
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    with tempfile.TemporaryFile("w+") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output, text=True, env=kept, start_new_session=True)
        deadline = time.monotonic() + START_WITHIN_S
        while time.monotonic() < deadline and server.poll() is None:
            output.seek(0)
            _, mark, rest = output.read().partition("listening on http://127.0.0.1:")
            if mark and rest.split(" ")[0].isdecimal():
                return server, int(rest.split(" ")[0])
            time.sleep(0.05)
        output.seek(0)
        text = output.read().strip()
    end(server)
    raise Failed(f"{shlex.join(command)} did not serve: {text}")


def end(server: subprocess.Popen[str]) -> None:
    server.terminate()
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def visit(python: Python, setting: Setting, page: str, seconds: float) -> dict[str, Any]:
    """Start a server, load it, and return what was counted. Raises Failed."""
    server, port = start(python, setting)
    try:
        begin = time.monotonic() + WARM_UP_S
        clients = [Client(port, page, begin + seconds) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        time.sleep(max(0.0, begin - time.monotonic()))
        all_before, before, own_before = busy_s(), cpu_time(server.pid), time.process_time()
        begin, waited_before = time.monotonic(), waited_s(server.pid)
        time.sleep(max(0.0, begin + seconds - time.monotonic()))
        taken_s = time.monotonic() - begin
        waiting_s = waited_s(server.pid) - waited_before
        spent, own_s, all_s = cpu_time(server.pid) - before, time.process_time() - own_before, busy_s() - all_before
        for client in clients:
            client.join()
    finally:
        end(server)
    if errors := [client.error for client in clients if client.error]:
        raise Failed(f"{setting.name}: {errors[0]}")
    answers = sum(begin < at <= begin + taken_s for client in clients for at in client.answered_at)
    server_s = spent.user_s + spent.system_s
    return {
        "answers": answers,
        "seconds": round(taken_s, 3),
        "per_s": round(answers / taken_s, 2),
        "waited_cpus": round(waiting_s / taken_s, 3),
        "ready_per_s": round(answers / (taken_s - waiting_s / setting.at_once), 2),
        "cpu_ms": round(1000 * server_s / answers, 3),
        "cpus": round(server_s / taken_s, 3),
        "client_cpus": round(own_s / taken_s, 3),
        "others_cpus": round(max(0.0, all_s - server_s - own_s) / taken_s, 3),
        "load": round(os.getloadavg()[0], 2),
    }


def visit_when_quiet(python: Python, setting: Setting, page: str, options: argparse.Namespace) -> dict[str, Any]:
    """Visit, again if other programs used more than `--others` of the CPUs, and return the quietest visit."""
    cells: list[dict[str, Any]] = []
    while len(cells) < TRIES:
        cells.append(visit(python, setting, page, options.seconds))
        if cells[-1]["others_cpus"] <= options.others * (os.cpu_count() or 1):
            break
    return {**min(cells, key=lambda cell: cell["others_cpus"]), "visits": len(cells)}


def measure(number: int, pythons: list[Python], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Visit all cells, in random order: one round."""
    order = [(python, setting) for python in pythons for setting in SETTINGS if not (setting.loops and python.gil)]
    random.Random(options.seed + number).shuffle(order)
    cells = []
    for python, setting in order:
        for page in options.page:
            cell = visit_when_quiet(python, setting, page, options)
            cells.append({"round": number, "python": python.name, "setting": setting.name, "page": page, **cell})
            note = f"{cell['per_s']:.1f}/s, {cell['cpu_ms']:.2f} ms CPU each, others {cell['others_cpus']:.2f} CPUs"
            print(f"gil: {number}: {python.name}, {setting.name}, {page}: {note}", file=sys.stderr, flush=True)
    return cells


def summarise(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each Python, page and setting: medians, and the gain over the setting it is compared with."""
    found = {(each["round"], each["python"], each["page"], each["setting"]): each for each in cells}
    rows = []
    for python, page in dict.fromkeys((each["python"], each["page"]) for each in cells):
        for setting in SETTINGS:
            mine = [each for key, each in found.items() if key[1:] == (python, page, setting.name)]
            if not mine:
                continue
            row = {"python": python, "page": page, "setting": setting.name, "of": setting.of, "rounds": len(mine)}
            for name in ("per_s", "ready_per_s", "cpu_ms", "cpus", "client_cpus", "others_cpus"):
                row[name] = round(statistics.median(each[name] for each in mine), 3)
            if setting.of:
                bases = [found[each["round"], python, page, setting.of] for each in mine]
                dearer = [each["cpu_ms"] / base["cpu_ms"] for each, base in zip(mine, bases, strict=True)]
                for name, rate in (("gain", "per_s"), ("ready_gain", "ready_per_s")):
                    gains = [each[rate] / base[rate] for each, base in zip(mine, bases, strict=True)]
                    row[name] = [round(value, 3) for value in (statistics.median(gains), min(gains), max(gains))]
                row["dearer"] = round(statistics.median(dearer), 3)
            rows.append(row)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    lines = [
        "| Python | page | served by | requests/s | CPU ms each | gain (lowest to highest) | with CPUs free |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        gain = "{:.2f} ({:.2f} to {:.2f})".format(*row["gain"]) if "gain" in row else ""
        ready = f"{row['ready_gain'][0]:.2f}" if "gain" in row else ""
        figures = f"{row['per_s']:.0f} | {row['cpu_ms']:.2f} | {gain} | {ready}"
        lines.append(f"| {row['python']} | {row['page']} | {row['setting']} | {figures} |")
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    return {"processor": model, "cpus": os.cpu_count(), "kernel": platform.release()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", required=True, help="an interpreter; may be repeated")
    parser.add_argument("--page", action="append", choices=PAGES, help="what is asked for (default: both)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of load in each cell (default: 4)")
    parser.add_argument("--others", type=float, default=0.05, help="share of all CPUs that others may use (0.05)")
    parser.add_argument("--seed", type=int, default=17, help="of the order of the cells")
    parser.add_argument("--out", type=Path, help="a file for the figures, as JSON")
    options = parser.parse_args()
    options.page = options.page or list(PAGES)
    head = {
        "command": shlex.join(["python3", "benchmarks/gil.py", *sys.argv[1:]]),
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": commit().strip("()"),
        "machine": machine(),
        "load_at_start": round(os.getloadavg()[0], 2),
    }
    cells: list[dict[str, Any]] = []
    try:
        pythons = [prepare(each) for each in options.python]
        head["pythons"] = [{"name": each.name, "build": each.build, "gil": each.gil} for each in pythons]
        for number in range(1, options.rounds + 1):
            cells += measure(number, pythons, options)
            if options.out:
                record = {**head, "rows": summarise(cells), "cells": cells}
                options.out.write_text(json.dumps(record, indent=1) + "\n")
    except Failed as error:
        sys.exit(f"gil: {error}")
    print(table(summarise(cells)))


if __name__ == "__main__":
    main()
