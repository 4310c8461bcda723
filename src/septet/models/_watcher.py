"""Watches how long the leader's calls of the application last, and has a follower lead when a call lasts too long.

For `_leaders.Leaders`, in the main thread, or in the thread of one of several loops (`_loops`).
"""

import os
from typing import Protocol

from septet import forked
from septet.models._member import Member, Promotion
from septet.pollers import READABLE, Poll
from septet.processes.orders import Stop

TICK_S = 0.002
"""Seconds between two looks of the watcher at the thread that runs the loop, while answers are made. A call of the
application that it sees twice has lasted 2 to 4 ms.
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
        """Give `promotion`, the order to lead, to a follower. Returns False if there is no follower, and the system
        gives no thread for another.
        """


class Watcher:
    """Looks every TICK_S at the leader, the thread that runs the loop, and sleeps while no answers are made. `run` is
    for the thread of `Leaders.run`, `wake` for any.
    """

    def __init__(self, leaders: WatchedLeaders, stop: Stop) -> None:
        self._leaders = leaders
        self._stop = stop
        self.sleeps = False
        """True if the watcher waits without a time-out: a leader that calls the application has to `wake` it."""
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
        """Watch the leader until `leaders.ended`. Raises MemoryError, OSError, and what a signal handler raises; it may
        be called again then.
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
