"""Socket operations through the ring: multishot accept and receive, and the buffers that receives share.

Provided buffers (IORING_REGISTER_PBUF_RING, Linux 5.19) are memory that all receives of a ring use. The kernel takes a
buffer when data has arrived, not when the receive is submitted, so an idle connection occupies none. The ring of free
buffers is shared memory: entries of 16 bytes, and a tail that advances by one for each buffer that is given back.
"""

import mmap
import socket
from collections.abc import Callable

from septet.pollers import _uring_abi as abi
from septet.pollers._file_operations import Callback

_TAIL = 7
"""Index of the ring's tail among the first entry's eight 16-bit words: the one that the entry's 14 bytes leave free."""


class ProvidedBuffers:
    """`count` buffers of `size` bytes each, registered with a ring as buffer group `group`.

    `fence`, if given, is called between writing an entry and writing the tail that publishes it. It is needed where the
    kernel may read the ring at any time.

    Raises:
        ValueError: `count` is no power of 2, or too large.
        OSError: io_uring_register(2) failed.
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
        # Shared, not private: a private page is copied on write after fork(), and the kernel would keep the old one.
        self._memory = mmap.mmap(-1, count * abi.BUF.size + 2 * count + count * size)
        start = abi.address(self._memory)  # type: ignore[arg-type]  # as writable as a bytearray
        first = count * 16
        self._tails = memoryview(self._memory)[:16].cast("H")
        self._entries = [abi.BUF.pack(start + first + i * size, size, i) for i in range(count)]
        self._numbers = [-1] * count
        """The buffer in each entry of the ring. If buffers come back in the order in which they were taken, as they
        nearly always do, each comes to the entry that has it already.
        """
        self._offsets = [first + i * size for i in range(count)]
        registration = bytearray(abi.BUF_REG.pack(start, count, group, 0))
        abi.register(ring_fd, abi.REGISTER_PBUF_RING, abi.address(registration), 1)
        for i in range(count):
            self.give_back(i)

    def take(self, number: int, length: int) -> bytes:
        """Copy `length` bytes out of buffer `number`, and give the buffer back to the kernel."""
        memory = self._memory
        start = self._offsets[number]
        data = memory[start : start + length]
        # give_back(), inlined: this runs for every receive.
        tail = self._tail
        slot = tail & self._mask
        if self._numbers[slot] != number:
            self._write_entry(slot, number)
        if self._fence is not None:
            self._fence()
        self._tail = tail + 1
        self._tails[_TAIL] = tail + 1 & 0xFFFF
        return data

    def give_back(self, number: int) -> None:
        """Give a buffer to the kernel: write the entry, then the tail that publishes it."""
        self._write_entry(self._tail & self._mask, number)
        if self._fence is not None:
            self._fence()
        self._tail += 1
        self._tails[_TAIL] = self._tail & 0xFFFF

    def _write_entry(self, slot: int, number: int) -> None:
        self._memory[slot << 4 : (slot << 4) + 14] = self._entries[number]
        self._numbers[slot] = number

    def close(self) -> None:
        """Unmap the memory. The ring must be closed already."""
        self._tails.release()
        self._memory.close()


class SocketOperations:
    """The socket operations of `Ring`. Each method prepares an operation and returns its token, by which it can be
    cancelled.
    """

    _accepts: set[int]
    _buffers: ProvidedBuffers | None
    _callbacks: dict[int, Callback]
    _pinned: dict[int, object]
    _prepare: Callable[..., int]
    _provide_buffers: Callable[[], ProvidedBuffers]

    def accept_multishot(self, fd: int, callback: Callback) -> int:
        """Accept connections from a listener until cancelled. For each, the result that `callback` gets is a descriptor
        (non-blocking, close-on-exec).
        """
        flags = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        token = self._prepare(callback, abi.OP_ACCEPT, fd, op_flags=flags, ioprio=abi.ACCEPT_MULTISHOT)
        self._accepts &= self._callbacks.keys()  # without those that have ended
        self._accepts.add(token)
        return token

    def receive_multishot(self, fd: int, callback: Callback) -> int:
        """Receive from a TCP socket until cancelled: `callback` gets what came as data and its length as result; 0 is
        the end of the stream.

        A completion whose `flags` lack `MORE` is the last one. If it is -ENOBUFS (all buffers were in use) or brings
        data, nothing is lost, and the caller may prepare another receive.

        Not for unix sockets, whose end of stream may never be reported. The kernel stops reading when the socket says
        that it is empty, and waits for the next event. A unix socket (since Linux 6.17) says so although its stream has
        ended, so that no event follows. It happens if more than 33 buffers of data and the end of the stream were there
        when the receive was submitted.
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
