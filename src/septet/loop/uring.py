"""`UringLoop`: asyncio over io_uring, and its transport.

A connected stream socket whose bytes come as completions: one multishot receive stands in the kernel for it.

Sending is that of `StreamTransport`: send(2) at once costs less than a trip through the ring. Receiving differs in one
thing, that it cannot be stopped at once. What the kernel had received before it heard of a pause, or of a protocol's
upgrade to TLS, is held and given out when reading is resumed; nothing is lost.

For TCP only: see `receive_multishot` for what unix sockets would miss.
"""

import asyncio
import errno
import os
import socket
from collections import deque
from typing import Any

from septet.loop._readiness import ReadinessLoop
from septet.loop._stream import DATA_RECEIVED_FAILED, StreamTransport
from septet.pollers import WRITABLE, Ready
from septet.pollers.ring import MORE, Ring
from septet.pollers.ring_poll import RingPoll

PLACEHOLDER: Ready = [(-1, 0)]
"""One completion: what it is, is not known before it is taken."""

RETRIABLE = (-errno.ENOBUFS, -errno.ECANCELED)
"""There was no buffer, or we had cancelled the receive: it is prepared again when it is wanted."""

Received = bytes | OSError
"""What a receive has brought; b"" is the end of the stream."""


class RingStreamTransport(StreamTransport):
    """A TCP socket on a `UringLoop`."""

    __slots__ = ("_cancelled", "_held", "_ring", "_token")

    def __init__(
        self,
        loop: "UringLoop",
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        extra: dict[str, Any] | None = None,
        server: Any = None,
    ) -> None:
        self._ring = loop.ring
        self._token = 0
        """Of the receive in the ring; 0: there is none."""
        self._cancelled = False
        self._held: deque[Received] = deque()
        super().__init__(loop, sock, protocol, extra, server)

    def _update_watch(self) -> None:
        if self._reading:
            if not self._token and not self._held:
                self._token = self._ring.receive_multishot(self._sock_fd, self._completed)
        elif self._token and not self._cancelled:
            self._cancelled = True
            self._ring.cancel(self._token)
        mask = WRITABLE if self._backlog else 0
        if mask != self._mask:
            self._mask = mask
            if mask:
                self._loop.watch(self._sock_fd, mask, self.ready)
            else:
                self._loop.unwatch(self._sock_fd)

    def ready(self, mask: int) -> None:
        """The loop's call: there is room to send, or trying will show why not."""
        if self._backlog:
            self._run(self._send_backlog)

    def _completed(self, res: int, flags: int, data: bytes) -> None:
        """The ring's call."""
        if flags & MORE and self._reading and not self._buffered and not self._held:  # nearly always
            try:
                self._run(self._protocol.data_received, data)
            except BaseException as exc:
                self._fatal_error(exc, DATA_RECEIVED_FAILED)
            return
        if not flags & MORE:
            self._token = 0
            self._cancelled = False
        if self._closing:
            return
        if res not in RETRIABLE:
            self._held.append(data if res >= 0 else OSError(-res, os.strerror(-res)))
        if res <= 0 and self._held:
            # The end has a turn of its own, as from a poller: who awaits the last data finds the transport open still.
            self._loop.call_soon(self._deliver_held)
        elif self._reading:
            self._deliver_held()

    def resume_reading(self) -> None:
        """As in asyncio; what is held goes to the protocol in the loop's next turn."""
        if self._held and self._paused and not self._closing:
            self._loop.call_soon(self._deliver_held)
        super().resume_reading()

    def _deliver_held(self) -> None:
        """Give the protocol what is held, until it pauses; then receive on."""
        while self._held and self._reading:
            self._deliver(self._held.popleft())
        if self._reading:
            self._update_watch()

    def _deliver(self, received: Received) -> None:
        if isinstance(received, OSError):
            self._fatal_error(received, "Fatal read error on socket transport")
            return
        receive = (
            self._end_of_stream
            if not received
            else self._deliver_to_buffer
            if self._buffered
            else self._protocol.data_received
        )
        try:
            self._run(receive, received)
        except BaseException as exc:
            self._fatal_error(exc, DATA_RECEIVED_FAILED)

    def _deliver_to_buffer(self, data: bytes) -> None:
        """Copy into the protocol's own buffer, as often as it takes; the rest is held if it pauses."""
        rest = memoryview(data)
        while rest and self._reading and self._buffered:
            buffer = memoryview(self._protocol.get_buffer(len(rest))).cast("B")
            if not buffer:
                raise RuntimeError("get_buffer() returned an empty buffer")
            length = min(len(buffer), len(rest))
            buffer[:length] = rest[:length]
            self._protocol.buffer_updated(length)
            rest = rest[length:]
        if rest and not self._closing:
            self._held.appendleft(bytes(rest))


class _SplitRingPoll(RingPoll):
    """Divides waiting from calling back, for between the two the loop runs what is ready."""

    def wait(self, timeout_s: float | None) -> Ready:
        self.enter(timeout_s)
        return PLACEHOLDER * self.ring.waiting()


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
        self._ring_poll = _SplitRingPoll(self.ring)
        super().__init__(self._ring_poll)

    def _process_events(self, event_list: Ready) -> None:
        super()._process_events(self._ring_poll.collect())

    def stream(
        self, sock: socket.socket, protocol: asyncio.BaseProtocol, extra: dict[str, Any] | None, server: Any
    ) -> StreamTransport:
        kind = StreamTransport if sock.family == socket.AF_UNIX else RingStreamTransport
        return kind(self, sock, protocol, extra, server)
