"""Soak test of a loop: random visitors, half of which misbehave; after each round, resources are counted.

    python tests/loop/soak.py --backend epoll --seconds 600

The exit status is 0 if after every round nothing was left (tasks, transports, timers, descriptors, threads, children,
operations and buffers of the ring), and if memory did not grow from round to round; else 1, with a sentence. On the way
it prints what it sees. `--rate` keeps it from taking a whole processor.
"""

import argparse
import asyncio
import gc
import json
import os
import signal
import sys
import tempfile
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from septet.loop import BACKENDS, ReadinessLoop, new_event_loop
from support.processes import children
from support.rings import buffers_taken, in_flight
from support.soak_visits import VISITS, EchoDatagrams, Place, on_signal, serve

VISITORS = 16
"""Visitors at the same time."""

PATIENCE_S = 20.0
"""Seconds to wait after a round for connections to end and for killed children to be reaped."""

WARM_UP = 0.2
"""Share of the rounds that do not count, in which caches, pools and allocators fill."""

TRACED_BYTES_A_VISIT = 2.0
RSS_BYTES_A_VISIT = 100.0
"""What memory may grow by. A leaked Handle or Future is some 200 bytes, a transport with its socket 2,000."""


@dataclass
class Look:
    """Resources after a round, when all visitors have ended."""

    visits: int
    descriptors: int
    threads: int
    children: int
    tasks: int
    transports: int
    timers: int
    ready: int
    watched: int
    """Descriptors that the loop watches."""
    in_flight: int
    """Operations of the ring beyond one poll request for each of these."""
    buffers: int
    """Provided buffers of the ring that hold data."""
    traced: int
    """Bytes that Python has allocated."""
    rss: int
    """Bytes of memory that the process occupies."""


def look(loop: ReadinessLoop, visits: int) -> Look:
    gc.collect()
    ring = getattr(loop, "ring", None)
    return Look(
        visits,
        descriptors=len(os.listdir("/proc/self/fd")),
        threads=threading.active_count(),
        children=len(children(os.getpid())),
        tasks=len(asyncio.all_tasks(loop)),
        transports=len(loop._transports),
        timers=sum(not timer._cancelled for _, _, timer in loop._scheduled),
        ready=len(loop._ready),
        watched=_watched(loop),
        in_flight=_in_flight(loop),
        buffers=_buffers_taken(ring) if ring else 0,
        traced=tracemalloc.get_traced_memory()[0],
        rss=int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
    )


def _watched(loop: ReadinessLoop) -> int:
    return len(loop._interest.keys) + len(loop._interest.watchers)


def _in_flight(loop: ReadinessLoop) -> int:
    ring = getattr(loop, "ring", None)
    return max(0, in_flight(ring) - _watched(loop)) if ring else 0


def _buffers_taken(ring: Any) -> int:
    try:
        return int(buffers_taken(ring))
    except OSError:
        return 0  # before Linux 6.8 the kernel does not tell


async def day(chance: Random, visits: int, rate: float) -> None:
    """One round: the servers, and `visits` visitors, `rate` of them per second (0: without limit)."""
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory() as directory:
        unix = f"{directory}/socket"
        datagrams, _ = await loop.create_datagram_endpoint(EchoDatagrams, ("127.0.0.1", 0))
        tcp_server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1000)
        unix_server = await asyncio.start_unix_server(serve, unix, backlog=1000)
        place = Place(tcp_server.sockets[0].getsockname(), unix, datagrams.get_extra_info("sockname"), directory)
        left = visits

        async def visitor() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                if rate:
                    await asyncio.sleep(chance.expovariate(rate / VISITORS))
                visit = chance.choice(VISITS)
                try:
                    async with asyncio.timeout(PATIENCE_S):
                        await visit(place, chance)
                except BaseException as exc:
                    exc.add_note(f"this was a visit of {visit.__name__}")
                    raise

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(VISITORS):
                    group.create_task(visitor())
        finally:
            tcp_server.close()
            unix_server.close()
            datagrams.close()


async def rest(loop: ReadinessLoop, threads: int) -> None:
    """Wait until servers have noticed that their clients are gone, threads that wait for children have ended, and what
    was begun for visitors who were cancelled has ended, too: operations of the ring, and calls in the executor's
    threads, which may have a file open."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        gc.collect()
        left = len(asyncio.all_tasks()) - 1 or loop._transports or children(os.getpid()) or _in_flight(loop)
        if not left and threading.active_count() <= threads:
            await _meet_in_executor(loop)
            return
        await asyncio.sleep(0.01)


class Soak:
    """Runs rounds on one loop until the time is up."""

    def __init__(self, loop: ReadinessLoop, seed: int, visits: int, rate: float) -> None:
        self.loop = loop
        self.chance = Random(seed)
        self.visits = visits
        self.rate = rate
        self.looks: list[Look] = []
        self.complaints: list[str] = []
        loop.set_exception_handler(self._told)
        sys.unraisablehook = lambda it: self.complaints.append(f"unraisable {it.exc_value!r} of {it.object!r}")

    def _told(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # asyncio's streams raise a broken pipe in drain(); a task that is cancelled just then never retrieves it.
        unheard = context["message"] == "Future exception was never retrieved"
        if not (unheard and isinstance(context["exception"], ConnectionError)):
            self.complaints.append(f"the loop was told {context}")

    def run(self, seconds: float) -> None:
        loop = self.loop
        loop.add_signal_handler(signal.SIGUSR1, on_signal)
        # All threads of the executor, at once: it makes them one by one, as long as there is more to do than threads.
        loop.set_default_executor(ThreadPoolExecutor(VISITORS))
        loop.run_until_complete(_meet_in_executor(loop))
        threads = threading.active_count()
        end = time.monotonic() + seconds
        while time.monotonic() < end or len(self.looks) < 4:
            loop.run_until_complete(day(self.chance, self.visits, self.rate))
            loop.run_until_complete(rest(loop, threads))
            self.looks.append(look(loop, self.visits * (len(self.looks) + 1)))
            print(json.dumps(asdict(self.looks[-1])), flush=True)

    def judge(self) -> list[str]:
        """What is wrong, in sentences."""
        first, warm = self.looks[0], self.looks[max(1, int(len(self.looks) * WARM_UP)) :]
        wrong = list(self.complaints)
        for name in ("descriptors", "threads", "children", "tasks", "transports", "timers", "ready", "watched"):
            was, most = getattr(first, name), max(getattr(it, name) for it in self.looks)
            if most > was:
                wrong.append(f"{name}: {was} after the first round, {most} later")
        wrong += [f"{it.in_flight} operations stayed in the ring" for it in self.looks if it.in_flight]
        wrong += [f"{it.buffers} buffers stayed with the ring" for it in self.looks if it.buffers]
        for name, most in (("traced", TRACED_BYTES_A_VISIT), ("rss", RSS_BYTES_A_VISIT)):
            grows = slope([(it.visits, getattr(it, name)) for it in warm])
            print(f"{name}: {grows:+.2f} bytes a visit in {len(warm)} rounds")
            if grows > most and warm[-1].visits >= 5000:
                wrong.append(f"memory ({name}) grows by {grows:.1f} bytes a visit")
        return list(dict.fromkeys(wrong))


async def _meet_in_executor(loop: asyncio.AbstractEventLoop) -> None:
    """Return when each thread of the executor has come here, and so has ended what it was doing."""
    barrier = threading.Barrier(VISITORS)
    await asyncio.gather(*(loop.run_in_executor(None, barrier.wait, 30) for _ in range(VISITORS)))


def slope(points: list[tuple[int, int]]) -> float:
    """The median of the slopes between any two points (Theil-Sen): a pool that grows once, or a round that ends with
    much in hand, does not move it."""
    return median((y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(points, 2))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=BACKENDS, default="epoll")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--visits", type=int, default=1000, help="of a round (default: 1000)")
    parser.add_argument("--rate", type=float, default=0.0, help="visits a second (default: as many as it can)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    tracemalloc.start()
    loop = new_event_loop(options.backend)
    asyncio.set_event_loop(loop)  # subprocesses on Python 3.11 ask the policy for it
    began = time.monotonic()
    soak = Soak(loop, options.seed, options.visits, options.rate)
    try:
        soak.run(options.seconds)
        wrong = soak.judge()
    finally:
        for complaint in soak.complaints[:10]:
            print(complaint, file=sys.stderr)
        with suppress(RuntimeError):
            loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    last = soak.looks[-1]
    took = time.monotonic() - began
    print(f"{options.backend}: {last.visits} visits in {took:.0f} s, {time.process_time():.0f} s of processor: {last}")
    for sentence in wrong:
        print(f"{options.backend}: {sentence}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
