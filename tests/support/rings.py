"""What tests need of a `Ring`: noting completions, an operation that does nothing, and what is in flight."""

import socket
import time

from septet.pollers import _uring_abi as abi
from septet.pollers.ring import Callback, Ring

Pair = tuple[socket.socket, socket.socket]
Seen = list[tuple[int, int, bytes]]

OP_NOP = 0
REGISTER_PBUF_STATUS = 26  # Linux 6.8


def nop(ring: Ring, callback: Callback) -> int:
    """Prepare an operation that completes at once with 0."""
    return ring._prepare(callback, OP_NOP, -1)


def in_flight(ring: Ring) -> int:
    """The number of operations with a completion to come."""
    return len(ring._callbacks)


def buffers_taken(ring: Ring) -> int:
    """The number of provided buffers that hold data which no callback has been given yet, by the kernel's own count.

    Raises:
        OSError: EINVAL, the kernel is older than Linux 6.8 and does not tell.
    """
    buffers = ring._buffers
    if buffers is None:
        return 0
    status = bytearray(40)  # struct io_uring_buf_status: buf_group, head, reserved
    status[:4] = buffers.group.to_bytes(4, "little")
    abi.register(ring._fd, REGISTER_PBUF_STATUS, abi.address(status), 1)
    head = int.from_bytes(status[4:8], "little")
    return len(buffers._entries) - (buffers._tail - head & 0xFFFF)


def collect(into: Seen) -> Callback:
    """A callback that notes its completions."""

    def callback(res: int, flags: int, data: bytes) -> None:
        into.append((res, flags, data))

    return callback


def wait_for(ring: Ring, seen: Seen, count: int) -> Seen:
    """Wait until `count` completions have been noted."""
    deadline = time.monotonic() + 10
    while len(seen) < count:
        assert time.monotonic() < deadline, f"only {seen} came"
        ring.wait(1)
    return seen


def received(seen: Seen) -> bytes:
    return b"".join(data for _, _, data in seen)
