"""`sock_recv` and the other receiving calls on a socket that no transport uses.

asyncio receives when the poller's event is dispatched, and wakes the task with the data. If the task is cancelled
between the two, the data or the accepted client is lost. Here the task itself receives after it was woken, so a
cancelled call has taken nothing, and the data is there for the next call.
"""

import asyncio
import socket
from asyncio import base_events, futures
from collections.abc import Callable
from typing import Any, TypeVar, cast

from septet.loop._schedule import Schedule

T = TypeVar("T")

check_ssl_socket: Any = base_events._check_ssl_socket  # type: ignore[attr-defined]
set_result_unless_cancelled: Any = futures._set_result_unless_cancelled  # type: ignore[attr-defined]


class SocketCalls(Schedule):
    """The `sock_*` methods that receive or accept. Those that send and connect are asyncio's."""

    async def sock_recv(self, sock: socket.socket, nbytes: int) -> bytes:
        """As in asyncio: at most `nbytes`, b"" at the end of the stream."""
        return await self._when_readable(sock, lambda: sock.recv(nbytes))

    async def sock_recv_into(self, sock: socket.socket, buf: Any) -> int:
        """As in asyncio: the number of bytes received into `buf`."""
        return await self._when_readable(sock, lambda: sock.recv_into(buf))

    async def sock_recvfrom(self, sock: socket.socket, bufsize: int) -> tuple[bytes, Any]:
        """As in asyncio: a datagram, and the address it came from."""
        return await self._when_readable(sock, lambda: sock.recvfrom(bufsize))

    async def sock_recvfrom_into(self, sock: socket.socket, buf: Any, nbytes: int = 0) -> tuple[int, Any]:
        """As in asyncio: the length of a datagram received into `buf`, and the address it came from."""
        size = nbytes or len(buf)
        return await self._when_readable(sock, lambda: sock.recvfrom_into(buf, size))

    async def sock_accept(self, sock: socket.socket) -> tuple[socket.socket, Any]:
        """As in asyncio: a client's socket, non-blocking, and its address."""
        client, address = await self._when_readable(sock, sock.accept)
        client.setblocking(False)
        return client, address

    async def _when_readable(self, sock: socket.socket, receive: Callable[[], T]) -> T:
        check_ssl_socket(sock)
        if self._debug and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")
        while True:
            try:
                return receive()
            except (BlockingIOError, InterruptedError):
                pass
            await self._readable(sock)

    async def _readable(self, sock: socket.socket) -> None:
        fd = sock.fileno()
        asyncio_own = cast(Any, self)
        asyncio_own._ensure_fd_no_transport(sock)
        waiter: asyncio.Future[None] = self.create_future()
        handle = asyncio_own._add_reader(fd, set_result_unless_cancelled, waiter, None)
        try:
            await waiter
        finally:
            if not handle.cancelled():  # cancelled: another call has replaced our reader
                self.remove_reader(fd)
