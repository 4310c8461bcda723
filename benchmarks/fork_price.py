"""What a client costs the model forking, in units of a bare fork of the very same process.

    python3 benchmarks/fork_price.py                                   # hello and the guestbook on SQLite
    python3 benchmarks/fork_price.py --redis redis://127.0.0.1:6379/0  # the guestbook on Redis as well
    python3 benchmarks/fork_price.py septet.examples.causes.wsgi:hello --rounds 20

For each application a server of the model forking is started, pinned to one CPU. Rounds go to and fro between clients
that come one after another (a connection, one request, its answer to the end) and bare forks, which that same server
process makes at a signal: `os.fork()`, `os._exit(0)` in the child, `os.waitpid`. Both are counted alike, by
getrusage(2) of the server and of its children that have ended: CPU time, user and system, and page faults (a page that
the kernel copies, maps or fills because it is touched). The ratio is formed within its round, and the median over
rounds is printed. So a machine that changes its speed disturbs the figures in ms, and hardly the ratios.
"""

import argparse
import json
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

HELLO = "septet.examples.causes.wsgi:hello"
GUESTBOOK = "septet.examples.guestbook:wsgi"
TELL, FORK = signal.SIGRTMIN + 8, signal.SIGRTMIN + 9
"""Signals to the server: write what has been used so far; make BARE_FORKS bare forks, and write what these have used.
"""
BARE_FORKS = 20
WARM_UP = 20
"""Clients before the first round."""
PATIENCE_S = 20.0


class Used(NamedTuple):
    """What a process and its children have used: CPU time in seconds, page faults."""

    cpu_s: float
    parent_faults: float
    child_faults: float

    def since(self, before: "Used", times: int) -> "Used":
        """Return what was used since `before` for each of `times` forks."""
        return Used(*((now - then) / times for now, then in zip(self, before, strict=True)))


# In the server


def used() -> Used:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    return Used(cpu_s, own.ru_minflt, children.ru_minflt)


def serve(app: str, descriptor: int, options: list[str]) -> None:
    """Run `septet serve` in this process, which writes to `descriptor` when it gets a signal."""
    from septet import forked
    from septet.cli import main

    def tell(number: int, frame: object) -> None:
        if signal.SIGCHLD in signal.pthread_sigmask(signal.SIG_BLOCK, ()):  # the server forks: it reaps nothing now
            os.kill(os.getpid(), TELL)
            return
        while Path(f"/proc/self/task/{os.getpid()}/children").read_text().strip():
            signal.sigtimedwait((), 0.001)  # the server's handler of SIGCHLD runs, and reaps
        os.write(descriptor, json.dumps(used()).encode() + b"\n")

    def fork(number: int, frame: object) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))
        before = used()
        for _ in range(BARE_FORKS):
            child = forked.fork()  # os.fork, but what is done for children of the application is not done
            if not child:
                os._exit(0)
            os.waitpid(child, 0)
        after = used()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD,))
        os.write(descriptor, json.dumps(after.since(before, BARE_FORKS)).encode() + b"\n")

    signal.signal(TELL, tell)
    signal.signal(FORK, fork)
    sys.argv = ["septet", "serve", app, "--model", "forking", "--no-supervisor", *options]
    main()


# Outside it


class Server:
    """A server of the model forking, on one CPU, with the pipe from which its figures are read."""

    def __init__(self, app: str, environment: dict[str, str], options: list[str], cpu: int) -> None:
        self._path = "/guestbook" if app == GUESTBOOK else "/"
        reading, writing = os.pipe()
        self.port = self.free_port()
        bind = ["--bind", f"127.0.0.1:{self.port}", "--log-level", "warning"]
        command = [sys.executable, __file__, "--serve", str(writing), app, *bind, *options]
        self._process = subprocess.Popen(
            command,
            env=os.environ | environment,
            pass_fds=[writing],
            preexec_fn=lambda: os.sched_setaffinity(0, {cpu}),
        )
        self.pid = self._process.pid
        os.close(writing)
        self._figures = os.fdopen(reading)
        try:
            self._wait_until_it_listens()
        except BaseException:
            self.end()
            raise

    @staticmethod
    def free_port() -> int:
        with socket.create_server(("127.0.0.1", 0)) as free:
            return int(free.getsockname()[1])

    def _wait_until_it_listens(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                return self.visit()
            except ConnectionRefusedError:
                time.sleep(0.05)
        raise SystemExit("the server did not start")

    def visit(self) -> None:
        """Be one client: connect, ask once, read to the end."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE_S) as sock:
            sock.sendall(f"GET {self._path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while piece := sock.recv(1 << 16):
                answer += piece
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise SystemExit(f"the answer is not one of success: {answer[:200]!r}")

    def figures(self, number: int) -> Used:
        self._process.send_signal(number)
        return Used(*json.loads(self._figures.readline()))

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE_S)
        self._figures.close()


@contextmanager
def serving(app: str, environment: dict[str, str], options: list[str], cpu: int) -> Iterator[Server]:
    server = Server(app, environment, options, cpu)
    try:
        yield server
    finally:
        server.end()


class Price(NamedTuple):
    """Medians over rounds. `ratio`: CPU time of a client in units of that of a bare fork."""

    client: Used
    bare: Used
    ratio: float
    lowest: float
    highest: float


def measured(server: Server, rounds: int, clients: int) -> Price:
    for _ in range(WARM_UP):
        server.visit()
    of_clients, of_bare = [], []
    for _ in range(rounds):
        before_bare = server.figures(FORK)
        before = server.figures(TELL)
        for _ in range(clients):
            server.visit()
        of_clients.append(server.figures(TELL).since(before, clients))
        after_bare = server.figures(FORK)
        of_bare.append(Used(*(statistics.mean(pair) for pair in zip(before_bare, after_bare, strict=True))))
    ratios = sorted(client.cpu_s / bare.cpu_s for client, bare in zip(of_clients, of_bare, strict=True))
    return Price(_median(of_clients), _median(of_bare), statistics.median(ratios), ratios[0], ratios[-1])


def _median(several: list[Used]) -> Used:
    return Used(*map(statistics.median, zip(*several, strict=True)))


def report(name: str, price: Price) -> str:
    client, bare = price.client, price.bare
    return (
        f"{name:22} {client.cpu_s * 1e3:6.2f} ms / {bare.cpu_s * 1e3:5.2f} ms = {price.ratio:4.2f} "
        f"({price.lowest:.2f} to {price.highest:.2f});  faults {client.child_faults:5.0f} + {client.parent_faults:4.0f}"
        f", bare {bare.child_faults:4.0f} + {bare.parent_faults:3.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("apps", nargs="*", help="applications, as for septet serve; default: hello and the guestbook")
    parser.add_argument("--redis", metavar="URL", help="measure the guestbook on this Redis as well")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--clients", type=int, default=50, help="clients in each round")
    parser.add_argument("--option", action="append", default=[], help="an option of septet serve; may be repeated")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpus[-1]})
    with tempfile.TemporaryDirectory(prefix="septet-fork-price-") as directory:
        sqlite = {"GUESTBOOK_STORE": f"sqlite:///{directory}/guestbook.db"}
        cases: list[tuple[str, str, dict[str, str]]] = [(app, app, sqlite) for app in arguments.apps]
        if not cases:
            cases = [("hello", HELLO, {}), ("guestbook on SQLite", GUESTBOOK, sqlite)]
        if arguments.redis:
            cases.append(("guestbook on Redis", GUESTBOOK, {"GUESTBOOK_STORE": arguments.redis}))
        found: dict[str, Any] = {}
        for name, app, environment in cases:
            with serving(app, environment, arguments.option, cpus[0]) as server:
                price = measured(server, arguments.rounds, arguments.clients)
            found[name] = price
            if not arguments.json:
                print(report(name, price), flush=True)
    if arguments.json:
        print(json.dumps({name: [price.client, price.bare, *price[2:]] for name, price in found.items()}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[3], int(sys.argv[2]), sys.argv[4:])
    else:
        main()
