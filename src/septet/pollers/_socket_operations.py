"""Sockets through the ring: what is asked for once and completes again and again.

Provided buffers: memory that receives of one ring share (IORING_REGISTER_PBUF_RING, Linux 5.19).

The kernel takes a buffer when data has come, not when the receive is submitted, so a connection that is
idle occupies none. The ring of free buffers is shared memory: entries of 16 bytes, and a tail that
moves on for every buffer given back.
"""

import mmap
import socket
from collections.abc import Callable

from septet.pollers import _uring_abi as abi
from septet.pollers._file_operations import Callback

_TAIL = 7  # of the first entry's 8 half words, the one its own 14 bytes leave free


class ProvidedBuffers:
    """`count` buffers of `size` bytes each, registered with a ring as buffer group `group`.

    `fence` is called between an entry and the tail that makes it visible, where the kernel may look at any time.

    Raises:
        OSError: io_uring_register(2) refused.
    """

    def __init__(
        self, ring_fd: int, group: int, count: int, size: int, fence: Callable[[], None] | None = None
    ) -> None:
        if count & (count - 1) or not 0 < count <= 1 << 15:
            raise ValueError(f"the number of provided buffers is a power of 2 up to 32768, not {count}")
        self.group = group
        self._fence = fence
        self._size = size
        self._mask = count - 1
        self._tail = 0
        # Shared, not private: a private page would be copied after fork(), and the kernel keep the old one.
        self._memory = mmap.mmap(-1, count * abi.BUF.size + 2 * count + count * size)
        start = abi.address(self._memory)  # type: ignore[arg-type]  # as writable as a bytearray
        first = count * 16
        self._tails = memoryview(self._memory)[:16].cast("H")
        self._entries = [abi.BUF.pack(start + first + i * size, size, i) for i in range(count)]
        self._offsets = [first + i * size for i in range(count)]
        registration = bytearray(abi.BUF_REG.pack(start, count, group, 0))
        abi.register(ring_fd, abi.REGISTER_PBUF_RING, abi.address(registration), 1)
        for i in range(count):
            self.give_back(i)

    def take(self, number: int, length: int) -> bytes:
        """A copy of what the kernel put into a buffer, which goes back to the kernel at once."""
        memory = self._memory
        start = self._offsets[number]
        data = memory[start : start + length]
        # give_back, here once more: this runs for every receive.
        tail = self._tail
        at = (tail & self._mask) << 4
        memory[at : at + 14] = self._entries[number]
        if self._fence is not None:
            self._fence()
        self._tail = tail + 1
        self._tails[_TAIL] = tail + 1 & 0xFFFF
        return data

    def give_back(self, number: int) -> None:
        """Hand a buffer to the kernel: first the entry, then the tail that makes it visible."""
        at = (self._tail & self._mask) << 4
        self._memory[at : at + 14] = self._entries[number]
        if self._fence is not None:
            self._fence()
        self._tail += 1
        self._tails[_TAIL] = self._tail & 0xFFFF

    def close(self) -> None:
        """Unmap the memory; only after the ring has been closed."""
        self._tails.release()
        self._memory.close()


class SocketOperations:
    """The part of `Ring` that deals with sockets. Each method prepares an operation and returns its token."""

    _accepts: set[int]
    _buffers: ProvidedBuffers | None
    _callbacks: dict[int, Callback]
    _pinned: dict[int, object]
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
