"""Provided buffers: memory that receives of one ring share (IORING_REGISTER_PBUF_RING, Linux 5.19).

The kernel takes a buffer when data has come, not when the receive is submitted, so a connection that is
idle occupies none. The ring of free buffers is shared memory: entries of 16 bytes, and a tail that
moves on for every buffer given back.
"""

import mmap
from collections.abc import Callable

from septet.pollers._uring_abi import (
    BUF,
    BUF_REG,
    BUF_STATUS,
    REGISTER_PBUF_RING,
    REGISTER_PBUF_STATUS,
    address,
    register,
)

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
        self._ring_fd = ring_fd
        self._size = size
        self._mask = count - 1
        self._tail = 0
        # Shared, not private: a private page would be copied after fork(), and the kernel keep the old one.
        self._memory = mmap.mmap(-1, count * BUF.size + 2 * count + count * size)
        start = address(self._memory)  # type: ignore[arg-type]  # as writable as a bytearray
        first = count * 16
        self._tails = memoryview(self._memory)[:16].cast("H")
        self._entries = [BUF.pack(start + first + i * size, size, i) for i in range(count)]
        self._offsets = [first + i * size for i in range(count)]
        registration = bytearray(BUF_REG.pack(start, count, group, 0))
        register(ring_fd, REGISTER_PBUF_RING, address(registration), 1)
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

    def taken(self) -> int:
        """How many the kernel has taken from the ring that are not given back: its own count (Linux 6.8), for tests."""
        status = bytearray(BUF_STATUS.pack(self.group, 0))
        register(self._ring_fd, REGISTER_PBUF_STATUS, address(status), 1)
        _, head = BUF_STATUS.unpack(status)
        return len(self._entries) - (self._tail - int(head) & 0xFFFF)

    def close(self) -> None:
        """Unmap the memory; only after the ring has been closed."""
        self._tails.release()
        self._memory.close()
