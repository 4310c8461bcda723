"""Watches how long calls of the application keep the leader, the thread that runs the loop; when a call lasts
too long, has another thread, a follower, take over the loop.

Belongs to `_leaders.Leaders`. The watcher runs in the main thread, or in the thread of one of several loops
(`_loops`).
"""

import os
from typing import Protocol

from septet import forked
from septet.models._member import Member, Promotion
from septet.pollers import READABLE, Poll
from septet.processes.orders import Stop

TICK_S = 0.002
"""Seconds between two looks of the watcher at the thread that runs the loop, while answers are made. If two
looks in a row see the same answer, a call of the application lasts too long (2 to 4 ms), and another thread
takes over the loop.
"""

IDLE_TICKS = 5
"""After this many looks at which no answer was being made, the watcher sleeps until the next answer begins."""


class WatchedLeaders(Protocol):
    """The part of `_leaders.Leaders` that the watcher uses."""

    leader: Member | None
    """The thread that runs the loop; None before the first has begun."""
    ended: bool
    """True once the watcher must return."""
    promoting: bool
    """True if a follower has been told to run the loop from now on, and has not begun yet."""

    def assign_promotion(self, promotion: Promotion) -> bool:
        """Give `promotion`, the order to run the loop from now on, to a thread that does not run it. Returns False if
        there is no such thread, and the system gives no new one.
        """


class Watcher:
    """Looks every TICK_S seconds at the leader, the thread that runs the loop, and sleeps while no answers are
    made. `run` is called by the thread that has called `Leaders.run`, `wake` by any thread.
    """

    def __init__(self, leaders: WatchedLeaders, stop: Stop) -> None:
        self._leaders = leaders
        self._stop = stop
        self.sleeps = False
        """True if the watcher waits without a time-out, because no answers are made. Then the leader, the thread that
        runs the loop, has to call `wake` when it calls the application.
        """
        self._wakeup = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def wake(self) -> None:
        """Have the watcher look at the leader now, and every TICK_S from now on. May be called by any thread."""
        self.sleeps = False
        os.eventfd_write(self._wakeup, 1)

    def close(self) -> None:
        if self._wakeup >= 0:
            os.close(self._wakeup)
            self._wakeup = -1

    def run(self) -> None:
        """Watch the leader, the thread that runs the loop, until `leaders.ended` is true. Raises MemoryError, OSError,
        or whatever a signal handler raises; after such an exception it may be called again.
        """
        leaders = self._leaders
        leaders.promoting = (
            False  # an exception may have come before the promotion was assigned; a second one is harmless
        )
        poller = Poll()
        poller.add(self._stop.fileno_here(), READABLE)
        poller.add(self._wakeup, READABLE)
        seen: tuple[Member | None, int] = None, 0
        seen_cpu_s, idle_ticks = 0.0, 0
        while not leaders.ended:
            for descriptor, _ in poller.wait(None if self.sleeps else TICK_S):
                self._handle_event(poller, descriptor)
            if forked.by_application:  # a signal handler of the application's has forked, and returned
                forked.exit_child()
            member = leaders.leader
            if member is None or not member.lead_offer:
                idle_ticks += 1
                if idle_ticks >= IDLE_TICKS:
                    self._sleep()
                continue
            idle_ticks = 0
            cpu_s = member.wanted_cpu_s()
            if seen == (member, member.serial) and not leaders.promoting:
                waits = cpu_s - seen_cpu_s < TICK_S / 2
                leaders.promoting = True
                if not leaders.assign_promotion(Promotion(member, member.serial, waits)):
                    leaders.promoting = False
            seen, seen_cpu_s = (member, member.serial), cpu_s

    def _sleep(self) -> None:
        self.sleeps = True
        member = self._leaders.leader
        if member is not None and member.lead_offer:  # its call has begun before it could see that the watcher sleeps
            self.sleeps = False

    def _handle_event(self, poller: Poll, descriptor: int) -> None:
        if descriptor == self._wakeup:
            os.eventfd_read(self._wakeup)
            self.sleeps = False
        elif self._stop.drain_and_check():
            poller.remove(descriptor)
