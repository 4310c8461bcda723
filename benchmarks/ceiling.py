"""How much load one process of `septet load` can make, beside wrk: against a server that does next to nothing.

    python3 benchmarks/ceiling.py                # five rounds of two seconds each
    python3 benchmarks/ceiling.py --rounds 9 --duration 5

The two take turns from one CPU; the server has another one to itself. It answers whatever comes with the same bytes, so
that the generator is the slower of the two, and its verdict must be client-limited. Run it with the Python that has
Septet; needs wrk and two CPUs. Exit status 1 when the verdict was another one: then these are no ceilings.
"""

import argparse
import json
import os
import re
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
from typing import NamedTuple

from septet.lab.verdicts import CLIENT_SHARE_MAX

CONNECTIONS = 64
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nhello, world\n"


class Run(NamedTuple):
    """One client's run: rate, CPU time of a request in microseconds, share of its CPU."""

    requests_per_s: float
    cpu_us: float
    cpu_share: float


def serve(listener: socket.socket) -> None:
    """Answer everything, as cheaply as Python can."""
    listener.setblocking(False)
    epoll = select.epoll()
    epoll.register(listener, select.EPOLLIN)
    clients: dict[int, socket.socket] = {}
    buffer = bytearray(65536)
    while True:
        for fd, _ in epoll.poll():
            if fd == listener.fileno():
                client, _ = listener.accept()
                client.setblocking(False)
                clients[client.fileno()] = client
                epoll.register(client, select.EPOLLIN)
                continue
            try:
                if clients[fd].recv_into(buffer):
                    clients[fd].send(ANSWER)
                    continue
            except OSError:
                pass  # reset: the client was stopped
            clients.pop(fd).close()


def timed(command: list[str], cpu: int) -> tuple[str, float]:
    """What a command on this CPU writes, and the CPU seconds that it took."""
    with subprocess.Popen(["taskset", "-c", str(cpu), *command], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        text = process.stdout.read()
        _, process.returncode, usage = os.wait4(process.pid, 0)
    if process.returncode:
        sys.exit(f"{command[0]} failed")
    return text, usage.ru_utime + usage.ru_stime


def wrk(url: str, cpu: int, seconds: float) -> Run:
    text, cpu_s = timed(["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}", url], cpu)
    found = re.search(r"(\d+) requests in ([\d.]+)s", text)
    assert found is not None, text
    return Run(int(found[1]) / float(found[2]), cpu_s / int(found[1]) * 1e6, cpu_s / float(found[2]))


def septet(url: str, cpu: int, seconds: float) -> Run:
    words = [url, "--users", str(CONNECTIONS), "--duration", f"{seconds:g}", "--warmup", "0.2", "--json"]
    text, _ = timed([sys.executable, "-m", "septet", "load", *words], cpu)
    figures = json.loads(text)
    client = figures["client"]
    cpu_us = (client["user_s"] + client["system_s"]) / figures["answers"] * 1e6
    return Run(figures["requests_per_s"], cpu_us, client["cpu_share"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--duration", type=int, default=2, help="seconds")
    options = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2 or not shutil.which("wrk"):
        sys.exit("this needs wrk and two CPUs")
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        server = os.fork()
        if not server:
            os.sched_setaffinity(0, cpus[:1])
            serve(listener)
        try:
            rounds = [[client(url, cpus[-1], options.duration) for client in CLIENTS] for _ in range(options.rounds)]
        finally:
            os.kill(server, signal.SIGKILL)
            os.waitpid(server, 0)
    return report(rounds)


CLIENTS = (wrk, septet)


def report(rounds: list[list[Run]]) -> int:
    print(f"{'medians of ' + str(len(rounds)):14}  requests/s  CPU us/request  share of a CPU")
    medians = [Run(*map(statistics.median, zip(*runs, strict=True))) for runs in zip(*rounds, strict=True)]
    for client, run in zip(CLIENTS, medians, strict=True):
        print(f"{client.__name__:14}  {run.requests_per_s:10,.0f}  {run.cpu_us:14.1f}  {run.cpu_share:14.0%}")
    ratio = statistics.median(own.cpu_us / other.cpu_us for other, own in rounds)
    print(f"CPU time of a request, ours to that of wrk: {ratio:.2f} (median of the rounds' ratios)")
    limited = medians[1].cpu_share > CLIENT_SHARE_MAX
    print(f"septet's verdict: {'client-limited' if limited else 'not client-limited: something else was slower'}")
    return 0 if limited else 1


if __name__ == "__main__":
    sys.exit(main())
