"""The workload profile: whether the application waits or computes. It is measured, since imports do not show it.

One user alone shows how long a request takes and how much CPU time the server spends on it; the rest of the time the
request waits for something: a backend, a disk, a lock, a sleep. While it waits another request may run, if there is a
thread or a process (WSGI) or a loop (ASGI) for it. How many requests at once use the CPUs up follows from Little's law.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from septet.lab.advise.trial import Trial, milliseconds

WAITS_SHARE = 0.3
"""An application counts as waiting only if a request waits for more than this share of its time: below it, another
thread would gain little.
"""
WAITS_S = 0.001
"""An application counts as waiting only if a request waits for longer than this many seconds: switches between threads
and the loopback take time as well.
"""
GAIN = 1.5
"""An application counts as waiting only if the rate with several users is more than this many times that with one."""
USERS = 100
"""Simultaneous connections of the search, unless more are needed to use the CPUs up."""
USERS_MAX = 2000


LEAST_SHARE = 0.95
"""If other programs disturbed the run, the time of its fastest answer takes the place of the median as the time of a
request, if the fastest took at most this share of the median. Above that share the difference means nothing, because
the fastest time is known only to 1 % (the width of a bucket of the histogram).
"""


@dataclass(frozen=True, slots=True)
class WorkloadProfile:
    """What one request takes, in seconds, when there is no other: `wall_s` until it is answered (the median), `cpu_s`
    of CPU time.
    """

    asynchronous: bool
    wall_s: float
    cpu_s: float
    gain: float | None = None
    """Rate of answers with several users at once, divided by the rate with one user alone; None: not measured."""

    @property
    def wait_s(self) -> float:
        return max(0.0, self.wall_s - self.cpu_s)

    @property
    def waits(self) -> bool:
        return self.wait_s > max(WAITS_S, WAITS_SHARE * self.wall_s) and (self.gain is None or self.gain > GAIN)

    @property
    def blocks(self) -> bool:
        """True if requests wait and hold a thread meanwhile (WSGI): other requests then need other threads or
        processes.
        """
        return self.waits and not self.asynchronous

    def rate_max(self, cpus: int) -> float:
        """Requests per second at which all CPUs are used up."""
        return cpus / max(self.cpu_s, 1e-6)

    def at_once(self, cpus: int) -> int:
        """Return the number of requests that the application must handle at the same time to use up all CPUs (Little's
        law).
        """
        return math.ceil(self.rate_max(cpus) * self.wall_s)

    def users(self, cpus: int) -> int:
        """Return the number of simultaneous connections with which the search loads a server, enough to use up all
        CPUs."""
        return max(USERS, min(USERS_MAX, self.at_once(cpus) if self.waits else USERS))

    def describe(self) -> str:
        """Return the profile in a sentence."""
        speaks = "ASGI" if self.asynchronous else "WSGI"
        times = f"a request alone takes {milliseconds(self.wall_s)} and computes {milliseconds(self.cpu_s)} of them"
        verdict = "it waits" if self.waits else "it computes, or is quick"
        several = f"; several at once are answered {self.gain:.1f} times as fast" if self.gain is not None else ""
        return f"{speaks}: {times}{several}: {verdict}"


def workload_profile(alone: Trial, asynchronous: bool) -> WorkloadProfile:
    """Compute the profile from `alone`, a trial with a single user in a closed loop.

    Time in which the server waited for a CPU is not counted as waiting. On a busy machine the load generator waits for
    its CPU as well, and that time is not measured; so there the fastest answer is taken as the time of a request.
    """
    wall_s = (alone.p50_s or 0.0) - alone.delay_s
    if alone.is_disturbed and alone.least_s is not None and not 0 < wall_s * LEAST_SHARE < alone.least_s:
        wall_s = alone.least_s
    return WorkloadProfile(asynchronous, max(alone.cpu_s, wall_s), alone.cpu_s)


def profile_with_others(found: WorkloadProfile, alone: Trial, several: Trial) -> WorkloadProfile:
    """Complete the profile `found` with `several`, a trial with several users at once; `alone` had a single one.

    Comparing the two shows whether concurrency raises the rate. The CPU time of a request is the lower one of both
    trials: with several users it is lower, because no thread has to be woken for a request.
    """
    if not several.answers:
        return found
    gain = several.answered_per_s / max(alone.answered_per_s, 1e-9)
    return replace(found, gain=gain, cpu_s=min(found.cpu_s, several.cpu_s))
