"""`UringLoop`: asyncio over io_uring, and its TCP transport, which receives through a multishot receive.

One multishot receive per connection stays in the kernel, and its completions carry the data. Sending is that of
`StreamTransport`: send(2) at once costs less than an operation through the ring. Receiving differs in one point: it
cannot be stopped at once. Data that the kernel had received before it learned of a pause, or of an upgrade to TLS, is
held, and delivered when reading is resumed.

Unix sockets do not use it: the kernel may never report the end of their stream to a multishot receive
(`receive_multishot`).
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

AT_ONCE = range(64)
"""Counts the completions for which one turn of the loop calls back at most. A client that sends without a pause can
fill all buffers of the ring (2 MiB). Other work, such as the order to stop, must not wait for them all: 64 of them
(256 KiB) take 50 ms if they hold chunks of one byte.
"""

PLACEHOLDERS: Ready = [(-1, 0)] * len(AT_ONCE)
"""Stand for completions in the list that `_SplitRingPoll.wait` returns: the loop counts its entries as events, and
takes the contents of the completions from the ring later.
"""

RETRIABLE = (-errno.ENOBUFS, -errno.ECANCELED)
"""Results of a receive after which it is submitted again when data is wanted: no buffer was free; or the receive was
cancelled during a pause.
"""

Received = bytes | OSError
"""The result of a receive; b"" is the end of the stream."""


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
        """The number by which the ring knows the receive operation of this socket; 0: no receive of this socket is in
        the ring.
        """
        self._cancelled = False
        """True if the receive of this socket was cancelled and its last completion has not come."""
        self._held: deque[Received] = deque()
        """Data, errors and the end of the stream that came while reading was paused; `_deliver_held` delivers them."""
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
        """Send the bytes that wait (the backlog). Called by the loop when the socket is writable, and also when it is
        broken: then send(2) fails and gives the reason.
        """
        if self._backlog:
            self._run(self._send_backlog)

    def _completed(self, res: int, flags: int, data: bytes) -> None:
        """Called by the ring for each completion of the receive.

        Args:
            res: number of bytes received; 0: end of the stream; negative: an error number.
            flags: MORE is set if further completions will follow.
            data: the received bytes.
        """
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
            # The end of the stream comes a turn later, as from a poller: a task that the last data wakes finds the
            # transport still open.
            self._loop.call_soon(self._deliver_held)
        elif self._reading:
            self._deliver_held()

    def resume_reading(self) -> None:
        """As in asyncio. Data that came during the pause goes to the protocol in the loop's next iteration."""
        if self._held and self._paused and not self._closing:
            self._loop.call_soon(self._deliver_held)
        super().resume_reading()

    def _deliver_held(self) -> None:
        """Deliver what came during a pause, until the protocol pauses again; then continue receiving."""
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
        """Copy data into the buffer of a BufferedProtocol, repeatedly if the buffer is small.

        If the protocol pauses meanwhile, the rest is kept for `_deliver_held`.
        """
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
    """A poller over io_uring whose `wait` calls no callbacks: the loop first runs the callbacks that were ready before,
    then has those of the completions called by `collect`.
    """

    def wait(self, timeout_s: float | None) -> Ready:
        self.enter(timeout_s)
        return PLACEHOLDERS[: self.ring.waiting()]


class UringLoop(ReadinessLoop):
    """asyncio over io_uring, which not only waits for descriptors but also carries out operations; see `ReadinessLoop`
    for its interface.

    TCP transports receive through the ring. For `watch` and the rest of asyncio the ring waits for descriptors to
    become ready. Your code may submit operations of its own by `ring`: their callbacks run in the loop's thread, before
    those of watched descriptors in the same iteration, and their exceptions go to the loop's exception handler.

    The loop belongs to the thread that first runs it, and must be closed there.

    Args:
        ring: the ring to use instead of a new one; closing the loop closes it.

    Raises:
        RingUnavailable: an OSError whose text says why io_uring cannot be used here and what to do.
    """

    def __init__(self, ring: Ring | None = None) -> None:
        self.ring = Ring() if ring is None else ring
        self.ring.report = self._report
        self.ring.at_once = AT_ONCE
        self._ring_poll = _SplitRingPoll(self.ring)
        super().__init__(self._ring_poll)

    def _process_events(self, event_list: Ready) -> None:
        super()._process_events(self._ring_poll.collect())

    def arm_anew(self) -> None:
        """Submit every poll request that is missing in the ring, so that all watched descriptors are watched again.

        To be called after an exception that another thread raised in this one in the middle of an iteration, because
        that may have kept requests from being submitted.
        """
        self._ring_poll.arm_anew()

    def stream(
        self, sock: socket.socket, protocol: asyncio.BaseProtocol, extra: dict[str, Any] | None, server: Any
    ) -> StreamTransport:
        kind = StreamTransport if sock.family == socket.AF_UNIX else RingStreamTransport
        return kind(self, sock, protocol, extra, server)
