"""`UringLoop`: asyncio over io_uring."""

from septet.loop._readiness import ReadinessLoop
from septet.pollers.ring import Ring
from septet.pollers.ring_poll import RingPoll


class UringLoop(ReadinessLoop):
    """The loop that also completes operations; see `ReadinessLoop` for its interface.

    asyncio's transports and `watch` go through poll requests. `ring` is there for code that wants more
    than readiness, as multishot accept and receive: its callbacks run in the loop's thread, just before the
    watched descriptors of the same round, and their exceptions go to the loop's exception handler.

    It belongs to the thread that first runs it, and closing it belongs there too.

    Raises:
        RingUnavailable: an OSError; its text says why io_uring cannot be used here and what to do.
    """

    def __init__(self, ring: Ring | None = None) -> None:
        self.ring = Ring() if ring is None else ring
        self.ring.report = self._report
        super().__init__(RingPoll(self.ring))
