"""`EpollLoop`: asyncio over epoll(7)."""

from septet.loop._readiness import ReadinessLoop
from septet.pollers import Epoll


class EpollLoop(ReadinessLoop):
    """The loop for many connections; see `ReadinessLoop` for its interface."""

    def __init__(self) -> None:
        super().__init__(Epoll())
