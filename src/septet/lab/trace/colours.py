"""The colour and the height of each state in pictures; the height also tells readers who cannot tell colours apart.

The colours are those of Okabe and Ito (2008), one of Tol's, and a violet that lies far from all of them. A running
thread fills its row; one that is kept from running (no CPU, no GIL, a lock) fills half of it; one that waits for
something outside is a band; an idle one is a thin grey line.
"""

from __future__ import annotations

from dataclasses import dataclass

from septet.lab.threads.states import State

FULL, HALF, BAND, LINE = 0.78, 0.46, 0.26, 0.08
"""Heights of states, as shares of the height of a row: of a running thread; of one that is kept from running; of one
that waits for something outside; of an idle one.
"""


@dataclass(frozen=True, slots=True)
class Look:
    colour: str
    height: float


_GREY = "#a6a6a6"

LOOKS = {
    State.RUNNING: Look("#009E73", FULL),
    State.RUNNABLE: Look("#E69F00", HALF),
    State.GIL: Look("#D55E00", HALF),
    State.LOCK: Look("#882255", HALF),
    State.BACKEND: Look("#0072B2", BAND),
    State.DISK: Look("#56B4E9", BAND),
    State.SLEEP: Look("#9A3DF0", BAND),
    State.CHILD: Look("#999933", BAND),
    State.CLIENT: Look(_GREY, LINE),
    State.ACCEPT: Look(_GREY, LINE),
    State.EVENTS: Look(_GREY, LINE),
    State.RING: Look(_GREY, LINE),
    State.OTHER: Look("#777777", BAND),
    State.UNKNOWN: Look("#222222", BAND),
    State.APPLICATION: Look("#66a182", HALF),
    State.QUEUED: Look("#CC79A7", BAND),
    State.SUSPENDED: Look("#8da0b5", BAND),
    State.RETURNING: Look(_GREY, LINE),
}
