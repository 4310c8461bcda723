"""Disturbs this machine on purpose: burns a random half of its CPUs' time, in bursts, until it is ended.

    python benchmarks/disturb.py [--share 0.5] [--burst 2.0] [--seconds 300] [--seed N]

One process for each CPU. Each burns for a random time of up to `--burst` seconds and rests for a random time, so that
it burns `--share` of the time on average; what it burns changes from burst to burst, so that caches suffer as well. It
ends with its terminal, after `--seconds`, or when the process that started it has gone.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import time

WORDS = 1 << 20
"""Of the array that cold bursts walk through: 8 MiB, more than most second-level caches hold."""


def burn(cpu: int, share: float, burst_s: float, end_s: float, chance: random.Random) -> None:
    """Burn this CPU until the time has come."""
    os.sched_setaffinity(0, (cpu,))
    parent, wide = os.getppid(), [0] * WORDS
    while time.monotonic() < end_s and os.getppid() == parent:
        burst = chance.uniform(0, burst_s)
        cold = chance.random() < 0.5
        until = min(end_s, time.monotonic() + burst)
        while time.monotonic() < until:
            sum(wide[chance.randrange(64) :: 64] if cold else range(2000))
        time.sleep(max(0.0, min(burst * (1 - share) / share, end_s - time.monotonic())))


def main() -> None:
    parser = argparse.ArgumentParser(description="Burn a random part of all CPUs in bursts.")
    parser.add_argument("--share", type=float, default=0.5, help="part of the time that each CPU is burnt")
    parser.add_argument("--burst", type=float, default=2.0, metavar="SECONDS", help="longest burst")
    parser.add_argument("--seconds", type=float, default=300.0, help="how long")
    parser.add_argument("--seed", type=int)
    options = parser.parse_args()
    if not 0 < options.share <= 1 or options.burst <= 0:
        parser.error("--share is above 0 and at most 1, --burst above 0")
    end_s = time.monotonic() + options.seconds
    children = []
    for cpu in sorted(os.sched_getaffinity(0)):
        child = os.fork()
        if not child:
            chance = random.Random(None if options.seed is None else f"{options.seed} {cpu}")
            try:
                burn(cpu, options.share, options.burst, end_s, chance)
            except KeyboardInterrupt:
                pass
            os._exit(0)
        children.append(child)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    try:
        while children:
            os.waitpid(children[-1], 0)
            children.pop()
    except KeyboardInterrupt:
        pass
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    main()
