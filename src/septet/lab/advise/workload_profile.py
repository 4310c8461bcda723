"""Whether the application waits or computes: measured, for what it imports does not tell.

One user alone shows how long a request takes and how much CPU time the server spends on it; the rest of the time the
request waits for something: a backend, a disk, a lock, a sleep. While it waits another may run, if there is a thread
or a process (WSGI) or a loop (ASGI) for it. How many of them are of use follows from Little's law.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from septet.lab.advise.trial import Trial, milliseconds

WAITS_SHARE = 0.3  # of its time that a request waits, from which on it is worth another thread
WAITS_S = 0.001  # and no less than this: a switch between threads, and the loopback, take their time as well
GAIN = 1.5  # several at once must be answered this much faster than one after the other
USERS = 100  # connections at the same time, unless the application needs more
USERS_MAX = 2000


@dataclass(frozen=True, slots=True)
class Nature:
    """One request alone, in seconds: `wall_s` until it is answered (the median), `cpu_s` computing."""

    asynchronous: bool
    wall_s: float
    cpu_s: float
    gain: float | None = None  # the rate of several at once, in units of the rate of one alone; None: not tried

    @property
    def wait_s(self) -> float:
        return max(0.0, self.wall_s - self.cpu_s)

    @property
    def waits(self) -> bool:
        return self.wait_s > max(WAITS_S, WAITS_SHARE * self.wall_s) and (self.gain is None or self.gain > GAIN)

    @property
    def blocks(self) -> bool:
        """While one waits, others can run in other threads or processes only."""
        return self.waits and not self.asynchronous

    def rate_max(self, cpus: int) -> float:
        """Requests per second at which so many CPUs are used up."""
        return cpus / max(self.cpu_s, 1e-6)

    def at_once(self, cpus: int) -> int:
        """How many requests are in the application at the same time when the CPUs are used up (Little's law)."""
        return math.ceil(self.rate_max(cpus) * self.wall_s)

    def users(self, cpus: int) -> int:
        """How many connections it takes to use the CPUs up."""
        return max(USERS, min(USERS_MAX, self.at_once(cpus) if self.waits else USERS))

    def told(self) -> str:
        """In a sentence."""
        speaks = "ASGI" if self.asynchronous else "WSGI"
        times = f"a request alone takes {milliseconds(self.wall_s)} and computes {milliseconds(self.cpu_s)} of them"
        verdict = "it waits" if self.waits else "it computes, or is quick"
        several = f"; several at once are answered {self.gain:.1f} times as fast" if self.gain is not None else ""
        return f"{speaks}: {times}{several}: {verdict}"


def nature(alone: Trial, asynchronous: bool) -> Nature:
    """From a closed loop of one user. That the server was ready and had no CPU is not the application's waiting."""
    wall_s = max(alone.cpu_s, (alone.p50_s or 0.0) - alone.delay_s)
    return Nature(asynchronous, wall_s, alone.cpu_s)


def amid_others(found: Nature, alone: Trial, several: Trial) -> Nature:
    """The same, after several were there at once: whether that gains anything shows what no time of one alone does.

    A request among others costs less CPU time, too: nobody has to be woken for it.
    """
    if not several.answers:
        return found
    gain = several.answered_per_s / max(alone.answered_per_s, 1e-9)
    return replace(found, gain=gain, cpu_s=min(found.cpu_s, several.cpu_s))
