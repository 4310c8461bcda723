"""A connected stream socket under an asyncio Protocol, driven straight from the poller.

    poller ──> ready ──> recv(2) ──> protocol.data_received
    protocol ──> write ──> send(2) at once; what does not fit waits in the backlog for the next `ready`

The contract is that of asyncio's transport: reading starts when `connection_made` has returned, `connection_lost` is
called last and once, `close` sends what is left and `abort` does not. All callbacks of one connection run in one
context of its own, a copy of the one in which the connection was made, as in uvloop.
"""

import asyncio
import logging
import socket
import sys
import warnings
from asyncio import constants, futures, trsock
from collections import deque
from collections.abc import Iterable
from contextvars import copy_context
from itertools import islice
from typing import TYPE_CHECKING, Any

from septet.pollers import READABLE, WRITABLE

if TYPE_CHECKING:
    from septet.loop._readiness import ReadinessLoop

log = logging.getLogger("asyncio")

# asyncio receives 256 KiB at a time. From 128 KiB glibc maps and unmaps such a block on every call
# (M_MMAP_THRESHOLD in mallopt(3)), which costs more than the rest of the loop.
RECEIVE_SIZE = 64 * 1024

RECEIVER_FAILED = "Fatal error: protocol.data_received() call failed."

SEND_PIECES = 1024
"""IOV_MAX of Linux: as many pieces go with one sendmsg(2)."""

Buffer = bytes | bytearray | memoryview


class StreamTransport(asyncio.transports._FlowControlMixin):  # asyncio's sendfile and TLS accept no other
    """A TCP or unix stream socket. Belongs to its loop's thread."""

    __slots__ = (
        "__weakref__",
        "_backlog",
        "_backlog_size",
        "_buffered",
        "_closing",
        "_conn_lost",
        "_context",
        "_empty_waiter",
        "_eof",
        "_mask",
        "_paused",
        "_protocol",
        "_reading",
        "_run",
        "_server",
        "_sock",
        "_sock_fd",
        "_straight",
    )

    # asyncio asks for these by name.
    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.TRY_NATIVE

    _extra: dict[str, Any]
    _loop: "ReadinessLoop"
    _sock: socket.socket | None

    def __init__(
        self,
        loop: "ReadinessLoop",
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        extra: dict[str, Any] | None = None,
        server: Any = None,
    ) -> None:
        self._sock = None  # until nothing can fail any more: __del__ warns of one that is left open
        super().__init__(extra, loop)
        self._describe(sock)
        self._sock_fd = sock.fileno()
        self._mask = 0
        """What the poller watches for now."""
        self._reading = False
        """We want what the peer sends."""
        self._straight = True
        """write() may send: there is no backlog, nor a reason to refuse."""
        self._paused = self._closing = self._eof = False
        self._conn_lost = 0
        self._backlog: deque[Buffer] = deque()
        self._backlog_size = 0
        self._empty_waiter: asyncio.Future[None] | None = None
        self._context = copy_context()
        self._run = self._context.run
        self.set_protocol(protocol)
        self._server = server
        if server is not None:
            server._attach(*self._to_server)
        loop._transports[self._sock_fd] = self
        self._sock = sock

    def _describe(self, sock: socket.socket) -> None:
        extra = self._extra
        extra["socket"] = trsock.TransportSocket(sock)
        for name, ask in (("sockname", sock.getsockname), ("peername", sock.getpeername)):
            if name not in extra:
                try:
                    extra[name] = ask()
                except OSError:
                    extra[name] = None

    @property
    def _to_server(self) -> tuple["StreamTransport", ...]:
        """Since Python 3.13 a Server knows its transports; before, it counted them."""
        return (self,) if sys.version_info >= (3, 13) else ()

    def begin(self, waiter: "asyncio.Future[None] | None" = None) -> None:
        """Tell the protocol of the connection, and start to read. To be called once, in the transport's context."""
        try:
            self._protocol.connection_made(self)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._report(exc, "protocol.connection_made() failed")
        if not self._paused and not self._closing:
            self._reading = True
            self._attend()
        if waiter is not None:
            futures._set_result_unless_cancelled(waiter, None)  # type: ignore[attr-defined]

    def begin_soon(self, waiter: "asyncio.Future[None] | None") -> None:
        """`begin` in the loop's next turn, as asyncio does for connections that somebody awaits."""
        self._loop.call_soon(self.begin, waiter, context=self._context)

    # -- the poller

    def _attend(self) -> None:
        """Have the loop watch for what is wanted now."""
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
        """The loop's call: the socket is ready, or broken, which trying will show."""
        if mask != READABLE and self._backlog:
            self._run(self._send_backlog)
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
            self._fatal_error(exc, RECEIVER_FAILED)

    # -- receiving

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """As in asyncio: what comes from now on goes to `protocol`."""
        self._protocol: Any = protocol
        self._buffered = isinstance(protocol, asyncio.BufferedProtocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The protocol that was set last."""
        return self._protocol  # type: ignore[no-any-return]

    def _receive_into(self) -> None:
        """The protocol has a buffer of its own."""
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
            self._reading = False  # there is nothing more to receive, but perhaps something to send
            self._attend()
        else:
            self.close()

    def is_reading(self) -> bool:
        """As in asyncio: False while paused, and from close() on."""
        return not self._paused and not self._closing

    def pause_reading(self) -> None:
        """As in asyncio: what the peer sends stays in the kernel."""
        if self.is_reading():
            self._paused = True
            self._reading = False
            self._attend()
            self._tell("pauses reading")

    def resume_reading(self) -> None:
        """As in asyncio."""
        if self._paused and not self._closing:
            self._paused = False
            self._reading = True
            self._attend()
            self._tell("resumes reading")

    # -- sending

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

    def get_write_buffer_size(self) -> int:
        """Bytes in the backlog."""
        return self._backlog_size

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

    # -- the end

    def is_closing(self) -> bool:
        """As in asyncio."""
        return self._closing

    def close(self) -> None:
        """As in asyncio: send the backlog, then close."""
        if self._closing:
            return
        self._closing = True
        self._reading = False
        self._attend()
        if not self._backlog:
            self._end_soon(None)

    def abort(self) -> None:
        """As in asyncio: close at once; the backlog is lost."""
        self._force_close(None)

    def _force_close(self, exc: BaseException | None) -> None:
        if self._conn_lost:
            return
        self._backlog.clear()
        self._backlog_size = 0
        self._closing = True
        self._reading = False
        self._attend()
        self._end_soon(exc)

    def _end_soon(self, exc: BaseException | None) -> None:
        self._conn_lost += 1
        self._straight = False
        self._loop.call_soon(self._end, exc, context=self._context)

    def _end(self, exc: BaseException | None) -> None:
        try:
            self._protocol.connection_lost(exc)
        finally:
            sock, self._sock = self._sock, None
            if sock is not None:
                self._let_go(sock)
            self._protocol = None
            if self._empty_waiter is not None and not self._empty_waiter.done():
                self._empty_waiter.set_exception(ConnectionError("Connection is closed by peer"))
            server, self._server = self._server, None
            if server is not None:
                server._detach(*self._to_server)

    def _let_go(self, sock: socket.socket) -> None:
        sock.close()

    def _fatal_error(self, exc: BaseException, message: str = "Fatal error on transport") -> None:
        if isinstance(exc, SystemExit | KeyboardInterrupt):
            raise exc
        if not isinstance(exc, OSError):
            self._report(exc, message)
        elif self._loop.get_debug():
            log.debug("%r: %s", self, message, exc_info=True)
        self._force_close(exc)

    def _report(self, exc: BaseException, message: str) -> None:
        self._loop.call_exception_handler(
            {"message": message, "exception": exc, "transport": self, "protocol": self._protocol}
        )

    def _tell(self, what: str) -> None:
        if self._loop.get_debug():
            log.debug("%r %s", self, what)

    def __repr__(self) -> str:
        state = "closed" if self._sock is None else "closing" if self._closing else "open"
        reading = "polling" if self._reading else "idle"
        writing = "polling" if self._backlog else "idle"
        name = type(self).__name__
        return f"<{name} {state} fd={self._sock_fd} read={reading} write=<{writing}, bufsize={self._backlog_size}>>"

    def __del__(self) -> None:
        if self._sock is not None:
            warnings.warn(f"unclosed transport {self!r}", ResourceWarning, stacklevel=2, source=self)
            self._sock.close()
            if self._server is not None:
                self._server._detach(*self._to_server)
