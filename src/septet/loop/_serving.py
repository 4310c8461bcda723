"""Accepts the connections of an asyncio Server's listener when the poller reports it, and makes each client's transport
and protocol.

asyncio starts a Task for every client, which awaits `connection_made`. Here `connection_made` is an ordinary call; only
a TLS handshake is waited for.
"""

import asyncio
import errno
import socket
from asyncio import constants, trsock
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any, Protocol

from septet.loop._connection import TransportLoop, set_nodelay
from septet.loop._stream import StreamTransport
from septet.pollers import READABLE

OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""Errors with which accept(2) fails until something else gives back a descriptor or memory. The listener stays readable
meanwhile, so the acceptor pauses (`StreamAcceptor.pause`) and does not try again at once.
"""

Factory = Callable[[], asyncio.BaseProtocol]


class ServingLoop(TransportLoop, Protocol):
    """The methods of a loop that a listener calls to make a client's transport, plain or with TLS."""

    def stream(
        self, sock: socket.socket, protocol: asyncio.BaseProtocol, extra: dict[str, Any] | None, server: Any
    ) -> StreamTransport:
        """Make the transport of a connected stream socket; the caller must start it with `begin`. `extra`: for
        get_extra_info(). `server`: the asyncio.Server.
        """

    def _make_ssl_transport(self, *args: Any, **kwargs: Any) -> asyncio.Transport:
        """As in asyncio: a TLS transport, whose handshake has begun."""


class StreamAcceptor:
    """Accepts the clients of one listener until the loop stops watching it.

    Args:
        factory: makes the asyncio Protocol of a client.
        server: the asyncio.Server to which the listener belongs.
        backlog: connections to accept at most for each event, as in asyncio.
        tls: asyncio's keyword arguments for a TLS transport, or None.
    """

    def __init__(
        self,
        loop: ServingLoop,
        listener: socket.socket,
        factory: Factory,
        server: Any,
        backlog: int,
        tls: dict[str, Any] | None,
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._socket_arguments = int(listener.family), int(listener.type), listener.proto
        self._factory = factory
        self._server = server
        self._backlog = backlog
        self._tls = tls
        self._context = copy_context()

    def start(self) -> None:
        """Make the loop watch the listener, unless the listener was closed during a `pause`."""
        if self._listener.fileno() >= 0:
            set_nodelay(self._listener)
            self._loop.watch(self._listener.fileno(), READABLE, self._ready)

    def _ready(self, mask: int) -> None:
        for _ in range(self._backlog):
            try:
                # socket.accept() without its conversions to enums, which take as long as the call itself.
                fd, address = self._listener._accept()  # type: ignore[attr-defined]
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as exc:
                if exc.errno not in OUT_OF_RESOURCES:
                    raise
                self.pause(exc)
                return
            sock = socket.socket(*self._socket_arguments, fd)
            sock.setblocking(False)
            self.accept_client(sock, address)

    def pause(self, exc: OSError) -> None:
        """Report that resources are lacking, and stop watching the listener for a second, as asyncio does.

        Without the pause the loop would be busy with calls of accept(2) that fail.
        """
        message = "socket.accept() out of system resource"
        listener = trsock.TransportSocket(self._listener)
        self._loop.call_exception_handler({"message": message, "exception": exc, "socket": listener})
        self._loop.unwatch(self._listener.fileno())
        self._loop.call_later(constants.ACCEPT_RETRY_DELAY, self.start)

    def accept_client(self, sock: socket.socket, address: Any) -> None:
        """Make a client's protocol and transport in a new context. A failure closes the client, not the server."""
        try:
            self._context.copy().run(self._make_transport, sock, {"peername": address})
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            sock.close()
            self._report(exc)

    def _make_transport(self, sock: socket.socket, extra: dict[str, Any]) -> None:
        protocol = self._factory()
        if self._tls is None:
            transport = self._loop.stream(sock, protocol, extra, self._server)
            transport._run(transport.begin)
            return
        waiter = self._loop.create_future()
        encrypted = self._loop._make_ssl_transport(
            sock, protocol, waiter=waiter, extra=extra, server=self._server, **self._tls
        )
        waiter.add_done_callback(partial(self._handshake_done, encrypted))

    def _handshake_done(self, transport: asyncio.Transport, waiter: "asyncio.Future[None]") -> None:
        """Called when the TLS handshake has ended. Failures are common, and reported in debug mode only."""
        exc = None if waiter.cancelled() else waiter.exception()
        if exc is not None:
            transport.close()
            if self._loop.get_debug():
                self._report(exc)

    def _report(self, exc: BaseException) -> None:
        message = "Error on transport creation for incoming connection"
        self._loop.call_exception_handler({"message": message, "exception": exc})
