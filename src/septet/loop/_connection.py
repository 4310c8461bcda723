"""A stream connection of a loop: socket, protocol, and how both end. `_stream.py` adds sending and receiving.

The contract is that of asyncio's transports: `connection_lost` is called once and last, `close` sends the backlog
first, and `abort` discards it.
"""

import asyncio
import logging
import socket
import sys
import warnings
from asyncio import constants, trsock
from collections import deque
from collections.abc import Callable, MutableMapping
from contextvars import Context, copy_context
from typing import Any, Protocol, TypeVarTuple, cast
from weakref import ref

Ts = TypeVarTuple("Ts")

log = logging.getLogger("asyncio")

Buffer = bytes | bytearray | memoryview

SERVER_COUNTS_TRANSPORTS = sys.version_info >= (3, 13)
"""True if `_attach` and `_detach` of asyncio's Server take the transport; before, they take nothing."""


class TransportLoop(Protocol):
    """The methods of a loop that transports call: `watch`, `rewatch`, `unwatch`, and part of asyncio's interface.

    Transports and listeners import this instead of the loop, because the loop imports them.
    """

    _transports: MutableMapping[int, Any]
    """Transports by descriptor. asyncio's `add_reader` and `sock_*` methods refuse these descriptors."""

    def watch(self, fd: int, mask: int, callback: Callable[[int], object]) -> None:
        """Call `callback(ready)` whenever `fd` is ready for `mask`; see `ReadinessLoop.watch`."""

    def rewatch(self, fd: int, mask: int) -> None:
        """Replace the events for which a watched `fd` is watched."""

    def unwatch(self, fd: int) -> bool:
        """Stop watching `fd`; False if it was not watched."""

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """As in asyncio: call `callback` in the loop's next iteration."""

    def call_later(self, delay: float, callback: Callable[[*Ts], object], *args: *Ts) -> asyncio.TimerHandle:
        """As in asyncio: call `callback` after `delay` seconds."""

    def call_exception_handler(self, context: Any) -> None:
        """As in asyncio: report an error; `context` has its message and exception."""

    def create_future(self) -> asyncio.Future[Any]:
        """As in asyncio: a new future of this loop."""

    def get_debug(self) -> bool:
        """As in asyncio: True in debug mode."""


def set_nodelay(sock: socket.socket) -> None:
    """Set TCP_NODELAY, as asyncio does. On Linux, accepted sockets inherit it from the listener."""
    if sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            pass  # a stream socket of another protocol, such as SCTP


class TransportsByDescriptor(dict[int, Any]):
    """Transports by descriptor, to which it holds weak references only: what asyncio has as a WeakValueDictionary,
    whose entries take three times as long to make.

    A transport removes its entry when its connection has ended. One that is collected before leaves an entry that is
    found missing, until another transport has its descriptor.
    """

    __slots__ = ()

    def __setitem__(self, fd: int, transport: Any) -> None:
        super().__setitem__(fd, ref(transport))

    def __getitem__(self, fd: int) -> Any:
        transport = super().__getitem__(fd)()
        if transport is None:
            raise KeyError(fd)
        return transport

    def get(self, fd: int, default: Any = None) -> Any:
        """As a dict's: the transport, or `default`."""
        try:
            return self[fd]
        except KeyError:
            return default


class StreamConnection(asyncio.transports._FlowControlMixin):  # which asyncio's sendfile and TLS require
    """A connected stream socket and its asyncio Protocol. All callbacks of the protocol run in one `contextvars`
    context.

    Its methods may be called only in the thread of its loop.
    """

    __slots__ = (
        "__dict__",  # as asyncio's transports: users set attributes, and test suites replace `write`
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
        "_may_send",
        "_paused",
        "_protocol",
        "_reading",
        "_run",
        "_server",
        "_sock",
        "_sock_fd",
    )

    # asyncio reads these.
    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.TRY_NATIVE

    _extra: dict[str, Any]
    _loop: TransportLoop
    _sock: socket.socket | None

    def __init__(
        self,
        loop: TransportLoop,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        extra: dict[str, Any] | None = None,
        server: Any = None,
    ) -> None:
        self._sock = None  # until the end of __init__: __del__ warns if a socket is left open
        super().__init__(extra, cast(asyncio.AbstractEventLoop, loop))
        extra = self._extra
        extra["socket"] = trsock.TransportSocket(sock)
        if "peername" not in extra:  # at once, because a socket whose peer has gone does not know it any more
            try:
                extra["peername"] = sock.getpeername()
            except OSError:
                extra["peername"] = None
        self._sock_fd = sock.fileno()
        self._mask = 0
        """The events (READABLE, WRITABLE) for which the loop watches the socket now; 0: it does not watch it."""
        self._reading = False
        """True if received data is wanted: neither paused, nor closing, nor at the end of the stream."""
        self._may_send = True
        """True if write() may call send(2) at once: no earlier data waits, and neither write_eof(), sendfile nor the
        end of the connection forbids it.
        """
        self._paused = self._closing = self._eof = False
        self._conn_lost = 0
        self._backlog: deque[Buffer] | tuple[()] = ()
        """A deque from the first time that the kernel does not accept all: an empty one takes 600 bytes."""
        self._backlog_size = 0
        self._empty_waiter: asyncio.Future[None] | None = None
        self._context = copy_context()
        self._run = self._context.run
        self._protocol: Any = protocol
        self._buffered = isinstance(protocol, asyncio.BufferedProtocol)
        self._server = server
        if server is not None:
            if SERVER_COUNTS_TRANSPORTS:
                server._attach(self)
            else:
                server._attach()
        loop._transports[self._sock_fd] = self
        self._sock = sock

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As in asyncio, but "sockname" is asked of the kernel when it is first wanted; after `connection_lost` it is
        None if it never was.
        """
        if name == "sockname" and name not in self._extra:
            try:
                self._extra[name] = None if self._sock is None else self._sock.getsockname()
            except OSError:
                self._extra[name] = None
        return self._extra.get(name, default)

    def _detach_from_server(self) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        if SERVER_COUNTS_TRANSPORTS:
            server._detach(self)
        else:
            server._detach()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """As in asyncio: data that arrives from now on goes to `protocol`."""
        self._protocol = protocol
        self._buffered = isinstance(protocol, asyncio.BufferedProtocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol that was set last."""
        return self._protocol  # type: ignore[no-any-return]

    def _update_watch(self) -> None:
        """Make the loop watch the socket for the events that are needed now. Subclasses implement it."""
        raise NotImplementedError

    def get_write_buffer_size(self) -> int:
        """As in asyncio: the number of bytes given to write() that the kernel has not accepted yet."""
        return self._backlog_size

    # -- closing

    def is_closing(self) -> bool:
        """As in asyncio: True from close(), abort() or the end of the connection on."""
        return self._closing

    def close(self) -> None:
        """As in asyncio: send the backlog, then close."""
        if self._closing:
            return
        self._closing = True
        self._reading = False
        self._update_watch()
        if not self._backlog:
            self._call_connection_lost_soon(None)

    def abort(self) -> None:
        """As in asyncio: close without sending the backlog."""
        self._force_close(None)

    def _force_close(self, exc: BaseException | None) -> None:
        if self._conn_lost:
            return
        self._backlog = ()
        self._backlog_size = 0
        self._closing = True
        self._reading = False
        self._update_watch()
        self._call_connection_lost_soon(exc)

    def _call_connection_lost_soon(self, exc: BaseException | None) -> None:
        self._conn_lost += 1
        self._may_send = False
        self._loop.call_soon(self._call_connection_lost, exc, context=self._context)

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        try:
            self._protocol.connection_lost(exc)
        finally:
            sock, self._sock = self._sock, None
            self._loop._transports.pop(self._sock_fd, None)
            if sock is not None:
                sock.close()
            self._protocol = None
            if self._empty_waiter is not None and not self._empty_waiter.done():
                self._empty_waiter.set_exception(ConnectionError("StreamConnection is closed by peer"))
            self._detach_from_server()

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

    def _log_debug(self, what: str) -> None:
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
            self._detach_from_server()
