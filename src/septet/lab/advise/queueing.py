"""A server as a queue: so many threads, so many CPUs, and requests that come at random.

The load generator asks at even intervals, so that two runs are alike. Users come at random (a Poisson process), in
clusters, and wait for each other at rates that an even stream passes through. This small simulation says how much less
that leaves; nothing in it is measured but what goes in.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass

REQUESTS = 10_000
WARMUP = 1_000  # of them, which find an empty server
STEPS = 9  # of the bisection: 1 part in 500
PERCENT = 99


@dataclass(frozen=True, slots=True)
class Service:
    """What one request takes, in seconds, and what there is for all of them."""

    cpu_s: float
    wait_s: float
    cpus: int
    slots: int  # requests that may be in the application at one time

    @property
    def rate_max(self) -> float:
        """Requests per second beyond which the queue grows for ever."""
        return min(self.cpus / self.cpu_s, self.slots / (self.cpu_s + self.wait_s))


def latency_s(service: Service, rate: float, seed: int = 0, percent: float = PERCENT) -> float:
    """The percentile of the latency when requests come at random, `rate` of them a second.

    A request takes a thread, waits for the backend, then computes; threads and CPUs are had in the order of arrival.
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
    """The highest rate of random arrivals that holds the target, in requests per second; 0 if none does."""
    low, high = 0.0, service.rate_max
    for _ in range(STEPS):
        middle = (low + high) / 2
        if latency_s(service, middle, seed) <= target_s:
            low = middle
        else:
            high = middle
    return low
