"""Sockets through the ring: what is asked for once and completes again and again, and sends."""

import socket
from collections.abc import Callable

from septet.pollers import _uring_abi as abi
from septet.pollers._file_operations import Callback
from septet.pollers._provided import ProvidedBuffers


class SocketOperations:
    """The part of `Ring` that deals with sockets. Each method prepares an operation and returns its token."""

    _accepts: set[int]
    _buffers: ProvidedBuffers | None
    _callbacks: dict[int, Callback]
    _kept: dict[int, object]
    _prepare: Callable[..., int]
    _provide_buffers: Callable[[], ProvidedBuffers]

    def accept_multishot(self, fd: int, callback: Callback) -> int:
        """Accept connections from a listener; `res` is each one's descriptor (non-blocking, close-on-exec)."""
        flags = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        token = self._prepare(callback, abi.OP_ACCEPT, fd, op_flags=flags, ioprio=abi.ACCEPT_MULTISHOT)
        self._accepts &= self._callbacks.keys()  # those that ended meanwhile are of no interest
        self._accepts.add(token)
        return token

    def receive_multishot(self, fd: int, callback: Callback) -> int:
        """Receive from a socket again and again: `data` is what came, `res` its length, 0 the end of stream.

        When `flags` lack `MORE` it has ended. With -ENOBUFS (all buffers were in use) or with data in hand, no
        data is lost and the caller may prepare another one.

        For TCP. Of a unix socket the end of the stream may never come. The kernel stops to ask for more when the socket
        says that it is empty, and waits for the next event. TCP says so only if its stream has not ended; a unix socket
        (which has told it since Linux 6.17) says so before its end as well, and that event may have been already: if
        more than 33 buffers' worth and the end were there when the receive was submitted.
        """
        buffers = self._buffers or self._provide_buffers()
        return self._prepare(
            callback,
            abi.OP_RECV,
            fd,
            ioprio=abi.RECV_MULTISHOT,
            sqe_flags=abi.SQE_BUFFER_SELECT,
            group=buffers.group,
        )

    def buffers_taken(self) -> int:
        """How many of the buffers that receives share hold data which has not been called back yet.

        Raises:
            OSError: EINVAL, the kernel is older than Linux 6.8 and does not tell.
        """
        return 0 if self._buffers is None else self._buffers.taken()

    def send(self, fd: int, data: bytes, callback: Callback, flags: int = socket.MSG_NOSIGNAL) -> int:
        """send(2); `res` is how much went, which may be less than all unless `flags` has MSG_WAITALL."""
        token = self._prepare(callback, abi.OP_SEND, fd, abi.address_of_bytes(data), len(data), op_flags=flags)
        self._kept[token] = data
        return token

    def send_zerocopy(self, fd: int, data: bytes, callback: Callback) -> int:
        """send(2) of the caller's own pages, which pays from some ten KiB on (IORING_OP_SEND_ZC).

        Completes twice, unless it fails at once: with `res` and MORE when it is sent, and with 0 and `NOTIFICATION`
        when the network has let go of the pages.
        """
        address = abi.address_of_bytes(data)
        token = self._prepare(callback, abi.OP_SEND_ZC, fd, address, len(data), op_flags=socket.MSG_NOSIGNAL)
        self._kept[token] = data
        return token
