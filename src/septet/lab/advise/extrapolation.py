"""Computes what was not measured: the capacity for requests at random instants, and the machines for `--plan RATE`.

The load generator sends requests at even intervals, so that two runs are alike. Real users come at random instants (a
Poisson process): requests bunch, and queue at rates at which evenly spaced ones would not. A small simulation of a
server as a queue computes the capacity for them.

A plan gives each core a process of the advised candidate, or, on a Python without a GIL, a loop or threads of one
process. The rate of a core comes from the measurement. How much the cores of one machine slow each other down comes
from Gunther's law over workers or loops where that was measured, and else from an assumed range, which is printed. The
backend is assumed to keep up.
"""

from __future__ import annotations

import heapq
import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from septet.errors import UsageError
from septet.lab.advise.usl import Usl

REQUESTS = 10_000
WARMUP = 1_000
"""Requests at the beginning of a simulation that are not counted, because they find an empty server."""
STEPS = 9
"""Steps of the bisection for the capacity: the result is exact to 1 part in 500."""
PERCENT = 99


@dataclass(frozen=True, slots=True)
class Service:
    """A server as a queue: the time that each request takes, and the CPUs and threads that requests share."""

    cpu_s: float
    """CPU time of a request in seconds."""
    wait_s: float
    """Seconds for which a request waits, for a backend or the like, and holds its thread."""
    cpus: int
    slots: int
    """Number of requests that the application handles at the same time: its threads or processes."""

    @property
    def rate_max(self) -> float:
        """Requests per second beyond which the queue grows for ever."""
        return min(self.cpus / self.cpu_s, self.slots / (self.cpu_s + self.wait_s))


def latency_s(service: Service, rate: float, seed: int = 0, percent: float = PERCENT) -> float:
    """Simulate requests at random instants, `rate` per second on average; returns a percentile of their latencies
    (`percent`) in seconds.

    A request takes a thread, waits for the backend, then computes; threads and CPUs are given in the order of arrival.
    """
    chance = random.Random(seed)
    slots, cpus = [0.0] * service.slots, [0.0] * service.cpus
    now, latencies = 0.0, []
    for _ in range(REQUESTS):
        now += chance.expovariate(rate)
        ready = max(now, slots[0]) + service.wait_s
        done = max(ready, cpus[0]) + service.cpu_s
        heapq.heapreplace(cpus, done)
        heapq.heapreplace(slots, done)
        latencies.append(done - now)
    latencies = sorted(latencies[WARMUP:])
    return latencies[min(len(latencies) - 1, int(len(latencies) * percent / 100))]


def capacity(service: Service, target_s: float, seed: int = 0) -> float:
    """Return the highest rate, in requests per second that come at random instants, at which the p99 of the latency is
    within the target; 0 if there is none.
    """
    low, high = 0.0, service.rate_max
    for _ in range(STEPS):
        middle = (low + high) / 2
        if latency_s(service, middle, seed) <= target_s:
            low = middle
        else:
            high = middle
    return low


CORES = (4, 8, 16, 32, 64)
SEEDS = (1, 2, 3)
MEASURING_SPREAD = 0.20
"""Share by which the CPU time of a request may be higher or lower on another processor or another day (0.20: 20 %)."""
ASSUMED = (0.0, 0.01)
"""The range of Gunther's sigma (the share of work for which CPUs queue) that is assumed over cores where it was not
measured.
"""
_FRICTIONS = ((ASSUMED[0], 0.0), (sum(ASSUMED) / 2, 5e-6), (ASSUMED[1], 1e-5))  # sigma, kappa
RATE = re.compile(r"([0-9][0-9_]*(?:\.[0-9]+)?)\s*([kM]?)\s*(?:rps|/s|req/s)?")
UNITS = {"": 1.0, "k": 1e3, "M": 1e6}


@dataclass(frozen=True, slots=True)
class MachineRow:
    """A row of the plan: machines with this number of cores. Rates are in requests per second of one machine."""

    cores: int
    rate: float
    rate_low: float
    rate_high: float
    machines: int
    """Number of machines needed if each handles `rate`, the middle of the three computed rates."""
    few: int
    """Number of machines needed if each handles `rate_high`, the best of the three computed rates."""
    many: int
    """Number of machines needed if each handles `rate_low`, the worst of the three computed rates."""
    memory_bytes: int | None
    """Memory that the server needs on one machine, in bytes; None: unknown."""


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory of a server by the number of cores that it uses, in bytes."""

    shared: int
    """What it takes however many cores it uses."""
    per_core: int

    def at(self, cores: int) -> int:
        return self.shared + self.per_core * cores


def parse_rate(text: str) -> float:
    """Parse --plan, such as "100000rps", "100k" or "2.5k/s"; returns requests per second. Raises UsageError."""
    match = RATE.fullmatch(text.strip())
    rate = float(match[1].replace("_", "")) * UNITS[match[2]] if match else 0.0
    if not rate:
        raise UsageError(f"--plan: {text!r} is not a rate, such as 100000rps or 100k")
    return rate


def plan(
    rate: float, one: Service, target_s: float, law: Usl | None, memory: Memory | None, cores: Sequence[int] = CORES
) -> list[MachineRow]:
    """Compute the machines that `rate` requests per second need, one row for each size of machine in `cores`.

    Args:
        one: the advised candidate, as measured.
        target_s: the latency that 99 % of the requests must not exceed.
        law: Gunther's law over its workers or loops; None: an assumed range is used.
        memory: the server's memory; None: unknown.

    A size that does not meet the target at any rate in the worst case is left out.
    """
    rows = []
    for number in cores:
        cases = sorted(_cases(one, target_s, law, number))
        middle, low, high = cases[len(cases) // 2], cases[0], cases[-1]
        if low <= 0:
            continue
        rows.append(
            MachineRow(
                cores=number,
                rate=middle,
                rate_low=low,
                rate_high=high,
                machines=math.ceil(rate / middle),
                few=math.ceil(rate / high),
                many=math.ceil(rate / low),
                memory_bytes=memory.at(number) if memory is not None else None,
            )
        )
    return rows


def _cases(one: Service, target_s: float, law: Usl | None, cores: int) -> list[float]:
    """Return the highest requests per second at which a machine meets the target, for three assumptions about how fast
    its cores are and how much they slow each other down: the best, the middle and the worst.
    """
    frictions = _FRICTIONS if law is None or not law.trustworthy else ((law.sigma, law.kappa),) * 3
    costs = (1 - MEASURING_SPREAD, 1.0, 1 + MEASURING_SPREAD)
    return [_carries(one, target_s, cores, *each) for each in zip(frictions, costs, SEEDS, strict=True)]


def _carries(one: Service, target_s: float, cores: int, friction: tuple[float, float], cost: float, seed: int) -> float:
    """Return the highest rate, in requests per second, at which a machine with `cores` CPUs meets `target_s` (p99).

    `one` is the server that was measured; each CPU of the machine gets as many slots as each of its CPUs had.
    `friction` is (sigma, kappa) of the Universal Scalability Law over CPUs: how much more CPU time a request takes the
    more CPUs there are. `cost` multiplies that time for all numbers of CPUs; `seed` is that of the simulated arrivals.
    """
    sigma, kappa = friction
    slower = cost * (1 + sigma * (cores - 1) + kappa * cores * (cores - 1))
    slots = max(1, one.slots // one.cpus) * cores
    many = replace(one, cpu_s=one.cpu_s * slower, cpus=cores, slots=slots)
    return capacity(many, target_s, seed)


def basis(law: Usl | None) -> str:
    """Return a part of a sentence, for the text of the plan, that says by which law cores slow each other down, and
    whether it was measured or is assumed.
    """
    if law is not None and law.trustworthy:
        return f"cores slow each other down as measured: sigma {law.sigma:.3g}, kappa {law.kappa:.2g}"
    low, high = ASSUMED
    why = "was not measured" if law is None else f"follows no law (error {law.error:.0%})"
    return f"how cores slow each other down {why}: sigma between {low:g} and {high:g} is assumed"
