"""A connected stream socket under an asyncio Protocol, called directly by the poller.

    poller ──> ready ──> recv(2) ──> protocol.data_received
    protocol ──> write ──> send(2) at once; what does not fit waits in the backlog for the next `ready`

Reading starts after `connection_made`, as in asyncio. All callbacks of one connection run in one context, a copy of the
one in which the connection was made, as in uvloop.

`write` sends at once. uvloop queues first and sends in the loop's next turn, which combines small writes but delays
every answer until a busy application has returned to the loop.
"""

import asyncio
import logging
import socket
from asyncio import constants, futures
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Any

from septet.loop._connection import Buffer, StreamConnection
from septet.pollers import READABLE, WRITABLE

log = logging.getLogger("asyncio")

RECEIVE_SIZE = 64 * 1024
"""Bytes to receive at a time; asyncio receives 256 KiB. From 128 KiB on, glibc maps and unmaps such a block on every
call (M_MMAP_THRESHOLD in mallopt(3)), which costs more than the rest of the loop. Receiving into a buffer of our own
and copying from it was no cheaper."""

MAX_PIECES = 1024
"""IOV_MAX of Linux: the number of pieces that one sendmsg(2) accepts."""

DATA_RECEIVED_FAILED = "Fatal error: protocol.data_received() call failed."


class StreamTransport(StreamConnection):
    """The transport of a connected TCP or unix stream socket, with the interface of asyncio.Transport.

    All methods are for the thread of its loop.
    """

    __slots__ = ()

    def begin(self, waiter: "asyncio.Future[None] | None" = None) -> None:
        """Call connection_made, and start reading. To be called once, in the transport's context. `waiter`, if given,
        gets its result when reading has started.
        """
        try:
            self._protocol.connection_made(self)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._report(exc, "protocol.connection_made() failed")
        if not self._paused and not self._closing:
            self._reading = True
            self._update_watch()
        if waiter is not None:
            futures._set_result_unless_cancelled(waiter, None)  # type: ignore[attr-defined]

    def begin_soon(self, waiter: "asyncio.Future[None] | None") -> None:
        """Call `begin` in the loop's next iteration, as asyncio does for connections that are awaited. `waiter` gets
        its result when reading has started.
        """
        self._loop.call_soon(self.begin, waiter, context=self._context)

    # -- the poller

    def _update_watch(self) -> None:
        """Make the loop watch the socket for reading if data is wanted, and for writing if there is a backlog."""
        mask = READABLE if self._reading else 0
        if self._backlog:
            mask |= WRITABLE
        old = self._mask
        if mask == old:
            return
        self._mask = mask
        if not mask:
            self._loop.unwatch(self._sock_fd)
        elif old:
            self._loop.rewatch(self._sock_fd, mask)
        else:
            self._loop.watch(self._sock_fd, mask, self.ready)

    def ready(self, mask: int) -> None:
        """Receive or send, as `mask` (READABLE, WRITABLE, ERROR, HANGUP) says. Called by the loop. On a broken socket,
        recv(2) or send(2) fails and gives the reason.
        """
        if mask != READABLE and self._backlog:
            self._receive_and_send(mask)
            return
        if mask == WRITABLE or not self._reading:
            return
        if self._buffered:
            self._receive_into()
            return
        try:
            data = self._sock.recv(RECEIVE_SIZE)  # type: ignore[union-attr]
        except (BlockingIOError, InterruptedError):
            return
        except BaseException as exc:
            self._fatal_error(exc, "Fatal read error on socket transport")
            return
        try:
            self._run(self._protocol.data_received if data else self._end_of_stream, data)
        except BaseException as exc:
            self._fatal_error(exc, DATA_RECEIVED_FAILED)

    def _receive_and_send(self, mask: int) -> None:
        """Receive first, then send, as asyncio does: if the peer has closed, sending fails and ends the connection."""
        if mask != WRITABLE:
            self.ready(READABLE)
        if self._backlog:
            self._run(self._send_backlog)

    # -- receiving

    def _receive_into(self) -> None:
        """Receive into the buffer of a BufferedProtocol."""
        try:
            buffer = self._run(self._protocol.get_buffer, -1)
            if not len(buffer):
                raise RuntimeError("get_buffer() returned an empty buffer")
        except BaseException as exc:
            self._fatal_error(exc, "Fatal error: protocol.get_buffer() call failed.")
            return
        try:
            length = self._sock.recv_into(buffer)  # type: ignore[union-attr]
        except (BlockingIOError, InterruptedError):
            return
        except BaseException as exc:
            self._fatal_error(exc, "Fatal read error on socket transport")
            return
        try:
            self._run(self._protocol.buffer_updated if length else self._end_of_stream, length)
        except BaseException as exc:
            self._fatal_error(exc, "Fatal error: protocol.buffer_updated() call failed.")

    def _end_of_stream(self, _nothing: bytes | int) -> None:
        if self._loop.get_debug():
            log.debug("%r received EOF", self)
        try:
            keep_open = self._protocol.eof_received()
        except BaseException as exc:
            self._fatal_error(exc, "Fatal error: protocol.eof_received() call failed.")
            return
        if keep_open:
            self._reading = False  # nothing more to receive, but the protocol may still send
            self._update_watch()
        else:
            self.close()

    def is_reading(self) -> bool:
        """As in asyncio: False while paused, and from close() on."""
        return not self._paused and not self._closing

    def pause_reading(self) -> None:
        """As in asyncio: received data stays in the kernel."""
        if self.is_reading():
            self._paused = True
            self._reading = False
            self._update_watch()
            self._log_debug("pauses reading")

    def resume_reading(self) -> None:
        """As in asyncio: end a pause; data that waits in the kernel is received from the next iteration on."""
        if self._paused and not self._closing:
            self._paused = False
            self._reading = True
            self._update_watch()
            self._log_debug("resumes reading")

    # -- sending

    def write(self, data: Buffer) -> None:
        """As in asyncio: send at once what the kernel accepts, and the rest when it has room.

        `bytearray` and `memoryview` are copied, so that the caller may change them afterwards.

        Raises:
            TypeError: `data` is not bytes-like.
            RuntimeError: after write_eof(), or during sendfile.
        """
        if not self._may_send or type(data) is not bytes:
            self._write_checked(data)
            return
        try:
            sent = self._sock.send(data)  # type: ignore[union-attr]
        except (BlockingIOError, InterruptedError):
            sent = 0
        except BaseException as exc:
            self._fatal_error(exc, "Fatal write error on socket transport")
            return
        if sent < len(data):
            self._add_to_backlog(memoryview(data)[sent:] if sent else data)

    def _write_checked(self, data: Buffer) -> None:
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        if self._eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._empty_waiter is not None:
            raise RuntimeError("unable to write; sendfile is in progress")
        if not data:
            return
        if self._conn_lost:
            if self._conn_lost >= constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES:
                log.warning("socket.send() raised exception.")
            self._conn_lost += 1
        elif self._may_send:
            self.write(bytes(data))
        else:
            self._add_to_backlog(bytes(data))

    def _add_to_backlog(self, data: Buffer) -> None:
        self._may_send = False
        backlog = self._backlog
        if isinstance(backlog, tuple):
            backlog = self._backlog = deque()
        backlog.append(data)
        self._backlog_size += len(data)
        self._update_watch()
        if self._backlog_size > self._high_water:  # type: ignore[attr-defined]
            self._maybe_pause_protocol()  # type: ignore[attr-defined]

    def _send_backlog(self) -> None:
        try:
            sent = self._sock.sendmsg(islice(self._backlog, MAX_PIECES))  # type: ignore[union-attr]
        except (BlockingIOError, InterruptedError):
            return
        except BaseException as exc:
            self._fatal_error(exc, "Fatal write error on socket transport")
            return
        self._drop_sent(sent)
        self._maybe_resume_protocol()  # type: ignore[attr-defined]  # the protocol may write
        if self._backlog or self._conn_lost:
            return
        self._may_send = not (self._closing or self._eof or self._empty_waiter)
        self._update_watch()
        if self._empty_waiter is not None and not self._empty_waiter.done():
            self._empty_waiter.set_result(None)
        if self._closing:
            self._conn_lost += 1  # write() and abort() do nothing from now on: the descriptor will be closed
            self._may_send = False
            self._call_connection_lost(None)
        elif self._eof:
            self._shut_down()

    def _drop_sent(self, sent: int) -> None:
        backlog: Any = self._backlog  # a deque, because there was something to send
        self._backlog_size -= sent
        while sent:
            piece = backlog.popleft()
            if len(piece) > sent:
                backlog.appendleft(memoryview(piece)[sent:])
                return
            sent -= len(piece)

    def writelines(self, list_of_data: Iterable[Buffer]) -> None:
        """As in asyncio. The pieces are joined: a copy costs less than another system call."""
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        """As in asyncio: shut down the sending side when the backlog is sent."""
        if self._closing or self._eof:
            return
        self._eof = True
        self._may_send = False
        if not self._backlog:
            self._shut_down()

    def _shut_down(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)  # type: ignore[union-attr]
        except OSError as exc:  # the peer has reset the connection
            self._fatal_error(exc, "Fatal error on socket transport")

    def can_write_eof(self) -> bool:
        """True, as for every stream socket."""
        return True

    def _make_empty_waiter(self) -> "asyncio.Future[None]":
        """Called by asyncio's sendfile: returns a future that is done when the backlog is empty.

        write() raises RuntimeError until `_reset_empty_waiter` is called.
        """
        if self._empty_waiter is not None:
            raise RuntimeError("Empty waiter is already set")
        self._empty_waiter = self._loop.create_future()
        self._may_send = False
        if not self._backlog:
            self._empty_waiter.set_result(None)
        return self._empty_waiter

    def _reset_empty_waiter(self) -> None:
        self._empty_waiter = None
        self._may_send = not (self._closing or self._eof or self._backlog)
