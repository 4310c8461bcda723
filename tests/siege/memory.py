"""Memory over hundreds of thousands of mixed requests: it has to be flat after the first of them.

Each round is a share of the requests, from several processes with several clients each: GET, HEAD, small, chunked and
spooled bodies, static files, 404 and 413, pipelined by 38 on a connection, and uploads that are broken off. After a
round, when all clients have left, the server's private memory is read (Private_* in smaps_rollup, proc(5)).
"""

import json
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from random import Random
from socket import socket
from time import monotonic, sleep

from siege.field import connect, reset
from siege.trial import files
from support.messages import chunked, pattern, render
from support.processes import open_descriptors, private_memory
from support.server import Server, serve
from support.waiting import wait_until

MODELS = ("epoll", "io_uring", "prethreaded", "preforked")
OPTIONS = {"prethreaded": ("--threads", "8"), "preforked": ("--workers", "2")}

FLAT_BYTES = 2 << 20
"""What memory may grow by after the first requests, in all processes of the server together."""

FIRST = 50_000
"""Or a quarter of the requests, if that is less: caches and pools fill, and allocators find their level."""

REST_S = 3.0
"""Between a round and the look at memory: loops give free memory back when they have rested for a second or two."""

ROUNDS = 20
PROCESSES = 2
CLIENTS = 4
"""In each process, at the same time."""

LIMIT_BODY = 2_000_000

ONE_CONNECTION = (
    *[render("GET", "/send?size=100&length=auto")] * 14,
    *[render("GET", "/send?size=5000&parts=3")] * 4,
    *[render("POST", "/upload", body=b"x" * 500)] * 6,
    *[render("POST", "/upload", "Transfer-Encoding: chunked", body=chunked(pattern(2000), 300))] * 4,
    *[render("HEAD", "/send?size=100&length=auto")] * 3,
    *[render("GET", "/files/small")] * 3,
    *[render("GET", "/files/medium")] * 1,
    *[render("GET", "/files/none")] * 2,
    render("GET", "/echo", "Connection: close"),
)
NOT_FOUND = 2

SPOOLED = render("POST", "/upload", "Connection: close", body=pattern(1_500_000))
TOO_LARGE = render("POST", "/upload", f"Content-Length: {LIMIT_BODY + 1}")
ABORTED = 3
A_SPOOLED_ONE_IN = 8

A_TURN = len(ONE_CONNECTION) + 1 + ABORTED
"""Requests, without the spooled ones, of which there are few."""


def main(requests: int, models: Sequence[str], told: Path | None) -> int:
    """Measure model after model, and say how far memory grew. Gives the exit status."""
    grown = {}
    for model in models:
        samples = measure(model, requests)
        grown[model] = growth(samples, min(FIRST, requests // 4))
        if told:
            with told.open("a") as file:
                file.write(json.dumps({"model": model, "requests": requests, "samples": samples}) + "\n")
    first = min(FIRST, requests // 4)
    for model, more in grown.items():
        verdict = "ok" if more <= FLAT_BYTES else "FAILED"
        print(f"{model:<12} {verdict:<7} {more / 1e6:+6.2f} MB after the first {first:,} requests")
    return 1 if any(more > FLAT_BYTES for more in grown.values()) else 0


def growth(samples: Sequence[tuple[int, int]], first: int) -> int:
    """Peak against peak: a heap gives its top back from time to time, so single samples may be low by several MB."""
    before = max(memory for count, memory in samples if count <= max(first, samples[0][0]))
    return max(memory for _, memory in samples) - before


def measure(model: str, requests: int) -> list[tuple[int, int]]:
    """The number of requests, and private memory in bytes at rest after so many."""
    samples: list[tuple[int, int]] = []
    with files() as static:
        (static / "medium").write_bytes(pattern(100_000))
        options = ("--static", f"/files={static}", "--limit-body", str(LIMIT_BODY), *OPTIONS.get(model, ()))
        with serve(model, "wsgi", *options, app="siege.app:wsgi") as server:
            turns = -(-requests // (ROUNDS * A_TURN * PROCESSES * CLIENTS))
            done, resting, last = 0, open_descriptors(server.pid), 0
            for number in range(ROUNDS):
                began = monotonic()
                done += load(server, turns, number)
                rate, last = (done - last) / (monotonic() - began), done
                resting = max(resting, open_descriptors_at_rest(server, resting, number))
                sleep(REST_S)
                samples.append((done, private_memory(server.pid)))
                print(f"{model:<12} {done:>9,} requests  {samples[-1][1] / 1e6:7.2f} MB  {rate:6.0f}/s", flush=True)
            assert not server.complaints(), server.complaints()[:3]
    return samples


def open_descriptors_at_rest(server: Server, resting: int, number: int) -> int:
    """When all clients are gone. After the first round pools have grown, and what is open then is the measure."""
    if number == 0:
        wait_until(lambda: _is_steady(server), "the server rests")
    else:
        wait_until(lambda: open_descriptors(server.pid) <= resting + PROCESSES * CLIENTS, "all clients are gone")
    return open_descriptors(server.pid)


def _is_steady(server: Server) -> bool:
    return len({open_descriptors(server.pid) for _ in range(20)}) == 1


def load(server: Server, turns: int, seed: int) -> int:
    """From all processes. Gives the number of requests."""
    address = server.address
    assert not isinstance(address, str)
    context = multiprocessing.get_context("fork")
    with context.Pool(PROCESSES) as pool:
        seeds = [seed * PROCESSES + number for number in range(PROCESSES)]
        return sum(pool.map(partial(load_from_process, address, turns), seeds))


def load_from_process(address: tuple[str, int], turns: int, seed: int) -> int:
    with ThreadPoolExecutor(CLIENTS) as pool:
        seeds = [seed * CLIENTS + number for number in range(CLIENTS)]
        return sum(pool.map(partial(be_client, address, turns), seeds))


def be_client(address: tuple[str, int], turns: int, seed: int) -> int:
    random, count = Random(seed), 0
    for turn in range(turns):
        ask_in_pipeline(address)
        assert ask(address, TOO_LARGE).startswith(b"HTTP/1.1 413 ")
        if turn % A_SPOOLED_ONE_IN == 0:
            assert ask(address, SPOOLED).startswith(b"HTTP/1.1 200 ")
            count += 1
        for _ in range(ABORTED):
            abort(address, random)
        count += A_TURN
    return count


def ask_in_pipeline(address: tuple[str, int]) -> None:
    """A server may say `close` before the end, if others wait; the rest is asked anew."""
    found = missing = answered = 0
    while answered < len(ONE_CONNECTION):
        answers = ask(address, b"".join(ONE_CONNECTION[answered:]))
        found += answers.count(b"HTTP/1.1 200 OK\r\n")
        missing += answers.count(b"HTTP/1.1 404 ")
        assert found + missing > answered, "a request was not answered"
        answered = found + missing
    assert missing == NOT_FOUND, f"{missing} of the answers are 404, not {NOT_FOUND}"


def ask(address: tuple[str, int], data: bytes) -> bytes:
    """All that is answered until the server ends the connection."""
    with connect(address) as sock:
        sock.sendall(data)
        return b"".join(iter(partial(_receive, sock), b""))


def _receive(sock: socket) -> bytes:
    return sock.recv(1 << 18)


def abort(address: tuple[str, int], random: Random) -> None:
    head = render("POST", "/upload", f"X-Filler: {'y' * random.randrange(2000)}", "Content-Length: 1000000")
    sock = connect(address)
    try:
        sock.sendall(head + b"x" * random.randrange(1000, 70_000))
    except (BrokenPipeError, ConnectionResetError):
        pass
    reset(sock)
