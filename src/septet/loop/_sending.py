"""The sending half of a stream transport: send(2) at once, and a backlog for what the kernel does not take.

To queue first and send in the loop's next turn, as uvloop does, groups small writes, and makes every answer of an
application that is busy wait for it.
"""

import asyncio
import logging
import socket
from asyncio import constants
from collections.abc import Iterable
from itertools import islice

from septet.loop._connection import Buffer, Connection

log = logging.getLogger("asyncio")

SEND_PIECES = 1024
"""IOV_MAX of Linux: as many pieces go with one sendmsg(2)."""


class SendingTransport(Connection):
    """What is sent is that of asyncio: bytes in order, flow control by two marks, the end of the stream on demand."""

    __slots__ = ()

    def write(self, data: Buffer) -> None:
        """As in asyncio: send now what the kernel takes, and the rest when it has room.

        The rest of anything but `bytes` is copied, so that the caller may change it afterwards.
        """
        if not self._straight or type(data) is not bytes:
            self._write_carefully(data)
            return
        try:
            sent = self._sock.send(data)  # type: ignore[union-attr]
        except (BlockingIOError, InterruptedError):
            sent = 0
        except BaseException as exc:
            self._fatal_error(exc, "Fatal write error on socket transport")
            return
        if sent < len(data):
            self._queue(memoryview(data)[sent:] if sent else data)

    def _write_carefully(self, data: Buffer) -> None:
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
        elif self._straight:
            self.write(bytes(data))
        else:
            self._queue(bytes(data))

    def _queue(self, data: Buffer) -> None:
        self._straight = False
        self._backlog.append(data)
        self._backlog_size += len(data)
        self._attend()
        if self._backlog_size > self._high_water:  # type: ignore[attr-defined]
            self._maybe_pause_protocol()  # type: ignore[attr-defined]

    def _send_backlog(self) -> None:
        try:
            sent = self._sock.sendmsg(islice(self._backlog, SEND_PIECES))  # type: ignore[union-attr]
        except (BlockingIOError, InterruptedError):
            return
        except BaseException as exc:
            self._fatal_error(exc, "Fatal write error on socket transport")
            return
        self._forget_sent(sent)
        self._maybe_resume_protocol()  # type: ignore[attr-defined]  # it may write
        if self._backlog or self._conn_lost:
            return
        self._straight = not (self._closing or self._eof or self._empty_waiter)
        self._attend()
        if self._empty_waiter is not None and not self._empty_waiter.done():
            self._empty_waiter.set_result(None)
        if self._closing:
            self._conn_lost += 1  # from here on write() and abort() do nothing: the descriptor is about to go
            self._straight = False
            self._end(None)
        elif self._eof:
            self._shut_down()

    def _forget_sent(self, sent: int) -> None:
        backlog = self._backlog
        self._backlog_size -= sent
        while sent:
            piece = backlog.popleft()
            if len(piece) > sent:
                backlog.appendleft(memoryview(piece)[sent:])
                return
            sent -= len(piece)

    def writelines(self, list_of_data: Iterable[Buffer]) -> None:
        """As in asyncio; joined, for a copy costs less than another system call."""
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        """As in asyncio: shut down the sending side when all is sent."""
        if self._closing or self._eof:
            return
        self._eof = True
        self._straight = False
        if not self._backlog:
            self._shut_down()

    def _shut_down(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)  # type: ignore[union-attr]
        except OSError as exc:  # the peer has reset the connection meanwhile
            self._fatal_error(exc, "Fatal error on socket transport")

    def can_write_eof(self) -> bool:
        """True: sockets can."""
        return True

    def _make_empty_waiter(self) -> "asyncio.Future[None]":
        """For asyncio's sendfile, which sends beside us when the backlog is empty."""
        if self._empty_waiter is not None:
            raise RuntimeError("Empty waiter is already set")
        self._empty_waiter = self._loop.create_future()
        self._straight = False
        if not self._backlog:
            self._empty_waiter.set_result(None)
        return self._empty_waiter

    def _reset_empty_waiter(self) -> None:
        self._empty_waiter = None
        self._straight = not (self._closing or self._eof or self._backlog)
