"""How long the locks of a process are held for one request, and what that allows many threads at most.

    PYTHONPATH=src python3.13t benchmarks/contention.py --out figures.json

One server after the other serves a short answer to a client that asks for one at a time, fifty over each connection,
so that nothing ever waits for a lock. `threading.Lock` and `RLock` are replaced, in Septet's modules alone, by locks
that add up the CPU time between acquiring and releasing; what an empty `with lock: pass` costs is taken off. A lock
that each connection has for itself is told apart from one that all share by the number of objects that were used.

A simulation then lets N threads, each with a CPU of its own, compute for what a request costs outside of the shared
locks and hold each of these in turn, as long as was measured, first come, first served. Times are drawn from
exponential distributions, which makes them wait more often than constant ones would.

What it says is a bound from above. It does not contain what one thread cannot show: the locks that objects of CPython
have of their own, reference counts of shared objects, the memory allocator, the garbage collector, which stops all
threads, and what locks cost when they change from CPU to CPU.
"""

import argparse
import heapq
import json
import os
import platform
import random
import resource
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

EACH = 50
"""Requests over one connection."""
WARM_UP = 2_000
THREADS = (1, 2, 4, 8, 16, 32, 64)
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: contention\r\nAccept: */*\r\n\r\n"
BODY = b"Hello, world"
PACKAGE = f"{os.sep}septet{os.sep}"

ALL = {"metrics_bind": "127.0.0.1:0", "limit_concurrency": 10_000}
"""Options with which requests are counted: without them there are fewer locks."""
SERVERS: dict[str, tuple[str, dict[str, Any]]] = {
    "prethreaded": ("wsgi", {"model": "prethreaded", "threads": 1}),
    "prethreaded, with metrics and a limit": ("wsgi", {"model": "prethreaded", "threads": 1, **ALL}),
    "epoll, loops": ("asgi", {"model": "epoll", "loops": 2}),
    "epoll, loops, with metrics and a limit": ("asgi", {"model": "epoll", "loops": 2, **ALL}),
}


def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(BODY)))])
    return [BODY]


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(BODY))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": BODY})


class TimedLock:
    """A lock, or a reentrant one, that adds up how much CPU time passes while it is held."""

    made: list["TimedLock"]

    def __init__(self, lock: Any, name: str) -> None:
        self._lock, self.name = lock, name
        self._depth = self._since_ns = 0
        self.count = self.held_ns = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        got = bool(self._lock.acquire(blocking, timeout))
        if got:
            self._depth += 1
            if self._depth == 1:
                self._since_ns = time.thread_time_ns()
        return got

    def release(self) -> None:
        if self._depth == 1:
            self._add()
        self._depth -= 1
        self._lock.release()

    def _add(self) -> None:
        self.held_ns += time.thread_time_ns() - self._since_ns
        self.count += 1

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def locked(self) -> bool:
        return self._depth > 0

    # For threading.Condition, which gives the lock away while it waits

    def _release_save(self) -> tuple[int, Any]:
        depth = self._depth
        self._add()
        self._depth = 0
        return depth, self._lock._release_save()

    def _acquire_restore(self, saved: tuple[int, Any]) -> None:
        depth, state = saved
        self._lock._acquire_restore(state)
        self._depth = depth
        self._since_ns = time.thread_time_ns()

    def _is_owned(self) -> bool:
        return bool(self._lock._is_owned())


def time_locks() -> None:
    """Let the modules of Septet, which must not be imported yet, make timed locks from now on."""
    TimedLock.made = []

    def timed(make: Any) -> Any:
        def made_here() -> Any:
            frame = sys._getframe(1)
            file = frame.f_code.co_filename
            if PACKAGE not in file:
                return make()
            owner = type(frame.f_locals["self"]).__name__ if "self" in frame.f_locals else frame.f_code.co_name
            lock = TimedLock(make(), f"{file.rpartition(PACKAGE)[2]}:{owner}")
            TimedLock.made.append(lock)
            return lock

        return made_here

    threading.Lock, threading.RLock = timed(threading.Lock), timed(threading.RLock)  # type: ignore[misc, assignment]


class Held(NamedTuple):
    """A lock. `ns`: how long it is held for one request. `times`: how often. `shared`: by all threads."""

    name: str
    times: float
    ns: float
    shared: bool


def serve_and_ask(name: str, requests: int) -> float:
    """Run a server in this process and send it requests; return the CPU time of each in nanoseconds, which is that of
    all threads but this one's.
    """
    import septet

    interface, options = SERVERS[name]
    with septet.Server({"wsgi": wsgi, "asgi": asgi}[interface], **options) as server:
        port = int(server.url.rpartition(":")[2].strip("/"))
        _ask(port, WARM_UP)
        for lock in getattr(TimedLock, "made", ()):
            lock.count = lock.held_ns = 0
        before_ns, own_ns = _cpu_ns(), time.thread_time_ns()
        _ask(port, requests)
        spent_ns = _cpu_ns() - before_ns - (time.thread_time_ns() - own_ns)
    return spent_ns / requests


def _cpu_ns() -> int:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return int((used.ru_utime + used.ru_stime) * 1e9)


def _ask(port: int, requests: int) -> None:
    for _ in range(requests // EACH):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            for _ in range(EACH):
                client.sendall(REQUEST)
                received = b""
                while not received.endswith(BODY):
                    data = client.recv(4096)
                    if not data:
                        sys.exit(f"contention: the server answered {received!r}")
                    received += data


def held_for_a_request(requests: int) -> list[Held]:
    """What the timed locks have counted, longest first."""
    probe = TimedLock(threading.RLock(), "")
    for _ in range(100_000):
        with probe:
            pass
    empty_ns = probe.held_ns / probe.count
    by_name = defaultdict(list)
    for lock in TimedLock.made:
        if lock.count:
            by_name[lock.name].append(lock)
    found = []
    for name, locks in by_name.items():
        count = sum(lock.count for lock in locks)
        ns = max(0.0, sum(lock.held_ns for lock in locks) - count * empty_ns)
        found.append(Held(name, round(count / requests, 3), round(ns / requests, 1), len(locks) == 1))
    return sorted(found, key=lambda held: -held.ns)


def simulate(work_ns: float, held_ns: list[float], threads: int, requests: int = 40_000, seed: int = 17) -> float:
    """Requests a second of `threads` threads that each compute for `work_ns` and then hold each lock for `held_ns`."""
    chance = random.Random(seed)
    free_at = [0.0] * len(held_ns)  # when the last thread that asked for a lock will have released it
    slice_ns = work_ns / (len(held_ns) + 1)
    events = [(chance.expovariate(1 / slice_ns), number, 0) for number in range(threads)]
    heapq.heapify(events)
    done, now = 0, 0.0
    while done < requests:
        now, number, step = heapq.heappop(events)
        if step == len(held_ns):
            done += 1
            step = 0
        else:
            free_at[step] = max(now, free_at[step]) + chance.expovariate(1 / held_ns[step])
            now = free_at[step]
            step += 1
        heapq.heappush(events, (now + chance.expovariate(1 / slice_ns), number, step))
    return done / now * 1e9


def measure(requests: int) -> dict[str, Any]:
    """Each server in two processes of its own: with usual locks, for what a request costs, and with timed ones."""
    found = {}
    for name, (_, settings) in SERVERS.items():
        if "loops" in settings and getattr(sys, "_is_gil_enabled", lambda: True)():
            continue  # which are for Pythons without a GIL
        command = [sys.executable, __file__, "--requests", str(requests), "--server", name]
        costs = [float(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout) for _ in range(3)]
        timed = subprocess.run([*command, "--timed"], check=True, stdout=subprocess.PIPE).stdout
        locks = [Held(*each) for each in json.loads(timed)]
        shared = [held.ns for held in locks if held.shared and held.ns >= 1]
        work_ns = min(costs) - sum(shared)
        rates = {threads: simulate(work_ns, shared, threads) for threads in THREADS}
        found[name] = {
            "cpu_ns": round(min(costs)),
            "locks": [held._asdict() for held in locks],
            "gain": {threads: round(rate / rates[1], 2) for threads, rate in rates.items()},
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=40_000)
    parser.add_argument("--out", type=Path, help="a file for the figures, as JSON")
    parser.add_argument("--server", choices=SERVERS, help=argparse.SUPPRESS)
    parser.add_argument("--timed", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.server:
        if options.timed:
            time_locks()
        cost_ns = serve_and_ask(options.server, options.requests)
        print(json.dumps(held_for_a_request(options.requests)) if options.timed else cost_ns)
        return
    head = {
        "command": shlex.join(["python3", "benchmarks/contention.py", *sys.argv[1:]]),
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "python": platform.python_version() + ("" if getattr(sys, "_is_gil_enabled", lambda: True)() else "t"),
        "load_at_start": round(os.getloadavg()[0], 2),
    }
    servers = measure(options.requests)
    if options.out:
        options.out.write_text(json.dumps({**head, "servers": servers}, indent=1) + "\n")
    for name, found in servers.items():
        print(f"{name}: {found['cpu_ns'] / 1000:.1f} µs CPU a request")
        for held in found["locks"]:
            whose = "shared" if held["shared"] else "of a loop or a connection"
            print(f"    {held['name']}: {held['ns']:.0f} ns, {held['times']:g} times, {whose}")
        print("    " + ", ".join(f"{threads} threads {gain:g} x" for threads, gain in found["gain"].items()))


if __name__ == "__main__":
    main()
