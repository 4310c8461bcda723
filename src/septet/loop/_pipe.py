"""The ends of a pipe, socket or terminal under an asyncio Protocol.

The reading end is called directly by the poller. asyncio's own transport needs a Handle for every event, which is a
fifth of the cost of a round trip through a pipe. The writing end is asyncio's, which uses the poller only when the pipe
is full, with a shorter `write`.
"""

import asyncio
import errno
import logging
import os
import stat
import warnings
from asyncio import futures, unix_events
from typing import Any

from septet.loop._connection import TransportLoop
from septet.loop._stream import RECEIVE_SIZE
from septet.pollers import READABLE

log = logging.getLogger("asyncio")

PACKET_SIZE = 256 * 1024
"""Bytes to read from a socket at a time, as in asyncio."""


class ReadPipeTransport(asyncio.ReadTransport):
    """As in asyncio: reading starts after `connection_made`, and the pipe is closed after `connection_lost`.

    Raises:
        ValueError: `pipe` is no pipe, socket or character device; pollers do not support regular files.
    """

    def __init__(
        self,
        loop: TransportLoop,
        pipe: Any,
        protocol: asyncio.BaseProtocol,
        waiter: "asyncio.Future[None] | None" = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__({**(extra or {}), "pipe": pipe})
        self._pipe = None  # until the end of __init__: __del__ warns if a pipe is left open
        self._fd: int = pipe.fileno()
        mode = os.fstat(self._fd).st_mode
        if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)):
            raise ValueError("Pipe transport is for pipes/sockets only.")
        os.set_blocking(self._fd, False)
        # A datagram socket drops what does not fit into the buffer.
        self._receive_size = PACKET_SIZE if stat.S_ISSOCK(mode) else RECEIVE_SIZE
        self._loop = loop
        self._protocol: Any = protocol
        self._paused = self._closing = self._watched = False
        self._pipe = pipe
        loop.call_soon(protocol.connection_made, self)
        loop.call_soon(self._update_watch)
        if waiter is not None:
            loop.call_soon(futures._set_result_unless_cancelled, waiter, None)  # type: ignore[attr-defined]

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """As in asyncio: data that arrives from now on goes to `protocol`."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol that was set last."""
        return self._protocol  # type: ignore[no-any-return]

    # -- reading

    def _update_watch(self) -> None:
        """Have the loop watch the pipe while it is read."""
        wanted = self.is_reading()
        if wanted == self._watched:
            return
        self._watched = wanted
        if wanted:
            self._loop.watch(self._fd, READABLE, self._ready)
        else:
            self._loop.unwatch(self._fd)

    def _ready(self, mask: int) -> None:
        try:
            data = os.read(self._fd, self._receive_size)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as exc:
            self._fatal_error(exc)
            return
        if data:
            self._protocol.data_received(data)
            return
        self._log_debug("was closed by peer")
        self._closing = True
        self._update_watch()
        self._loop.call_soon(self._protocol.eof_received)
        self._loop.call_soon(self._call_connection_lost, None)

    def is_reading(self) -> bool:
        """As in asyncio: False while paused, and from close() on."""
        return not self._paused and not self._closing

    def pause_reading(self) -> None:
        """As in asyncio: data stays in the pipe."""
        if self.is_reading():
            self._paused = True
            self._update_watch()
            self._log_debug("pauses reading")

    def resume_reading(self) -> None:
        """As in asyncio: end a pause."""
        if self._paused and not self._closing:
            self._paused = False
            self._update_watch()
            self._log_debug("resumes reading")

    # -- closing

    def is_closing(self) -> bool:
        """As in asyncio: True from close() or the end of the pipe on."""
        return self._closing

    def close(self) -> None:
        """As in asyncio: stop reading, and close the pipe in the loop's next iteration."""
        if not self._closing:
            self._call_connection_lost_soon(None)

    def _call_connection_lost_soon(self, exc: BaseException | None) -> None:
        self._closing = True
        self._update_watch()
        self._loop.call_soon(self._call_connection_lost, exc)

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        pipe, self._pipe = self._pipe, None
        try:
            self._protocol.connection_lost(exc)
        finally:
            pipe.close()  # type: ignore[union-attr]  # _call_connection_lost is called once
            self._protocol = None

    def _fatal_error(self, exc: OSError) -> None:
        if exc.errno != errno.EIO:  # a terminal whose other side was closed
            message = "Fatal read error on pipe transport"
            self._loop.call_exception_handler(
                {"message": message, "exception": exc, "transport": self, "protocol": self._protocol}
            )
        self._call_connection_lost_soon(exc)

    def _log_debug(self, what: str) -> None:
        if self._loop.get_debug():
            log.debug("%r %s", self, what)

    def __repr__(self) -> str:
        state = "closed" if self._pipe is None else "closing" if self._closing else "open"
        return f"<{type(self).__name__} {state} fd={self._fd} {'polling' if self._watched else 'idle'}>"

    def __del__(self) -> None:
        if self._pipe is not None:
            warnings.warn(f"unclosed transport {self!r}", ResourceWarning, stacklevel=2, source=self)
            self._pipe.close()


class WritePipeTransport(unix_events._UnixWritePipeTransport):  # type: ignore[name-defined,misc]
    """asyncio's own. `bytes` that the pipe takes whole are written without its checks of their type."""

    def write(self, data: Any) -> None:
        """As in asyncio: write at once what the pipe takes, and the rest when it has room."""
        if type(data) is not bytes or not data or self._buffer or self._closing or self._conn_lost:
            super().write(data)
            return
        try:
            written = os.write(self._fileno, data)
        except (BlockingIOError, InterruptedError):
            written = 0
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._conn_lost += 1
            self._fatal_error(exc, "Fatal write error on pipe transport")
            return
        if written < len(data):
            super().write(memoryview(data)[written:])
