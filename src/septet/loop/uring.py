"""`UringLoop`: asyncio over io_uring."""

import asyncio
import socket
from typing import Any

from septet.loop._readiness import ReadinessLoop
from septet.loop._ring_stream import RingStreamTransport
from septet.loop._stream import StreamTransport
from septet.pollers import Ready
from septet.pollers.ring import Ring
from septet.pollers.ring_poll import RingPoll

SOMETHING: Ready = [(-1, 0)]
"""One completion: what it is, is not known before it is taken."""


class _Entrance(RingPoll):
    """Divides waiting from calling back, for between the two the loop runs what is ready."""

    def wait(self, timeout_s: float | None) -> Ready:
        self.enter(timeout_s)
        return SOMETHING * self.ring.waiting()


class UringLoop(ReadinessLoop):
    """The loop that also completes operations; see `ReadinessLoop` for its interface.

    TCP transports receive through the ring; `watch` and what else asyncio does go through poll requests. `ring` is
    there for code that wants more: its callbacks run in the loop's thread, just before the watched descriptors of the
    same turn, and their exceptions go to the loop's exception handler.

    It belongs to the thread that first runs it, and closing it belongs there too.

    Raises:
        RingUnavailable: an OSError; its text says why io_uring cannot be used here and what to do.
    """

    def __init__(self, ring: Ring | None = None) -> None:
        self.ring = Ring() if ring is None else ring
        self.ring.report = self._report
        self._entrance = _Entrance(self.ring)
        super().__init__(self._entrance)

    def _process_events(self, event_list: Ready) -> None:
        super()._process_events(self._entrance.collect())

    def arm_anew(self) -> None:
        """After an exception that another thread has raised in this one, in the midst of a turn: see that nothing that
        is watched is forgotten."""
        self._entrance.arm_anew()

    def stream(
        self, sock: socket.socket, protocol: asyncio.BaseProtocol, extra: dict[str, Any] | None, server: Any
    ) -> StreamTransport:
        kind = StreamTransport if sock.family == socket.AF_UNIX else RingStreamTransport
        return kind(self, sock, protocol, extra, server)
