"""How far another machine's clock is from ours, from messages there and back (Cristian 1989).

The other clock was read at some instant between sending and receiving. The quickest of many round trips leaves the
least doubt about which: its middle is wrong by no more than half of it, however unequal the two ways are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

PINGS = 20


class Ping(NamedTuple):
    """One round trip, in nanoseconds of the monotonic clocks."""

    sent_ns: int  # ours
    there_ns: int  # theirs
    received_ns: int  # ours


class Offset(NamedTuple):
    """Their clock minus ours, and by how much that may be wrong."""

    ahead_ns: int
    uncertainty_ns: int


def offset(pings: Iterable[Ping]) -> Offset:
    """From the ping with the least round trip. Raises ValueError without any."""
    best = min(pings, key=lambda ping: ping.received_ns - ping.sent_ns)
    round_trip_ns = best.received_ns - best.sent_ns
    return Offset(best.there_ns - best.sent_ns - round_trip_ns // 2, (round_trip_ns + 1) // 2)
