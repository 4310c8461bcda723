"""`PollLoop`: asyncio over poll(2)."""

from septet.loop._readiness import ReadinessLoop
from septet.pollers import Poll


class PollLoop(ReadinessLoop):
    """The loop for few descriptors, and the cheapest to make; see `ReadinessLoop` for its interface.

    It has no descriptor of its own until it first waits, and watching costs no system call.
    """

    def __init__(self) -> None:
        super().__init__(Poll())
