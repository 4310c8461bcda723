"""The load generator: N users, each of whom sends his next request when the answer to his last one has come.

A package of the standard library alone, which imports nothing from outside itself: copied to any host, it runs there
as `python3 -m load URL`. It speaks to epoll(7) directly: a generator on asyncio takes four times the CPU of wrk for a
request and would measure itself; this one stays beside wrk, because most of a loopback request's cost is the kernel's.

A *closed loop* says what N users at a time get. It cannot say what happens to users who keep coming while the server
stalls, for a stalled server stalls the loop too: read its highest percentiles with that in mind.
"""

from __future__ import annotations

from .generator import Notify, run
from .histogram import Histogram
from .plan import ANY_LENGTH, MODES, LoadError, Plan, check_limits

__all__ = ["ANY_LENGTH", "MODES", "Histogram", "LoadError", "Notify", "Plan", "check_limits", "run"]
